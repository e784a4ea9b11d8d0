"""What a session holds, besides raw input events: frames, goals, who acts, what a policy decided.

Times are integer nanoseconds on the session's one clock (UTC for a recorded desktop, from 0 for a simulated game).
These types know no file format and no video library.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

GoalLevel = Literal["long", "short"]
GoalSource = Literal["human", "model", "game"]
Controller = Literal["human", "agent"]


class Frame(NamedTuple):
    """One captured image."""

    t_ns: int
    """When it was captured."""
    rgb: NDArray[np.uint8]
    """The picture, (height, width, 3) uint8, read-only."""


@dataclass(frozen=True, slots=True)
class Goal:
    """What the player is after; holds until the next goal of the same level."""

    t_ns: int
    """From when it holds."""
    text: str
    """A short instruction, such as `craft sapphire rings`."""
    level: GoalLevel
    """`long`: the purpose of the whole play; `short`: the present step."""
    source: GoalSource
    """Who said so."""
    confidence: float = 1.0
    """How sure the source is, 0 to 1."""


@dataclass(frozen=True, slots=True)
class RawMotion:
    """Relative motion of the mouse itself, before acceleration and clamping at the screen's edge."""

    t_ns: int
    """When it was reported."""
    dx: int
    """Counts to the right."""
    dy: int
    """Counts downwards."""


class Excluded(NamedTuple):
    """A span that does not belong to the session, start <= t < stop: whatever the file holds in it is left out."""

    start_ns: int
    """First moment."""
    stop_ns: int
    """First moment after it."""
    reason: str
    """`discarded` by the player, `paused`, `hidden` (the recorded window could not be seen), `off_screen` (no part
    of it was on the screen), or `elsewhere`: another was active."""


@dataclass(frozen=True)
class SessionInfo:
    """What a session holds, counted."""

    path: str
    """The `.mcap` file."""
    library: str
    """The program that wrote it, as it names itself."""
    start_ns: int
    """Time of the first message."""
    end_ns: int
    """Time of the last message."""
    topics: dict[str, int]
    """Topic -> number of messages."""
    frames: int
    """Number of captured frames."""
    first_frame_ns: int | None
    """Time of the first frame; None without frames."""
    last_frame_ns: int | None
    """Time of the last frame; None without frames."""
    width_px: int | None
    """Width of the frames; None without frames."""
    height_px: int | None
    """Height of the frames; None without frames."""
    video: str | None
    """Name of the video file beside the `.mcap`; None where frames are elsewhere or there are none."""

    @property
    def duration_s(self) -> float:
        """Seconds from the first message to the last."""
        return (self.end_ns - self.start_ns) / 1e9

    def to_json(self) -> dict[str, Any]:
        """Return the plain-data form, `duration_s` included."""
        return {"duration_s": self.duration_s, **asdict(self)}


@dataclass(frozen=True)
class RepairReport:
    """What `repair` could save of a session, and what not."""

    source: str
    """The damaged `.mcap` (or `.mcap.part`) file."""
    out: str | None
    """The repaired `.mcap`; None where the session was sound and nothing was written."""
    messages: int
    """Messages recovered."""
    chunks: int
    """Complete chunks recovered, each checked against its checksum."""
    frames: int
    """Frames recovered, each with its message and every video block it depends on."""
    messages_dropped: int
    """Intact `screen` messages dropped because their frame is lost."""
    bytes_lost: int
    """Bytes of the `.mcap` that belong to no intact record."""
    video_bytes_lost: int
    """Bytes of the video that belong to no intact cluster, or follow a lost one they depend on."""
    reason: str
    """One line: what was wrong."""

    def to_json(self) -> dict[str, Any]:
        """Return the plain-data form."""
        return asdict(self)
