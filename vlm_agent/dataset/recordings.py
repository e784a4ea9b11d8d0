"""What cutting, labeling and building need to know of a recorded session, and the action spec that sessions share."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vlm_agent.actions.events import ButtonChanged, InputEvent, KeyChanged
from vlm_agent.actions.spec import ActionSpec
from vlm_agent.clips import CutConfig, LabeledClip, cut_session, tick_times
from vlm_agent.dataset.marks import MarkMaker, Marks
from vlm_agent.errors import ConfigError, DataError
from vlm_agent.sessions.limits import check_span
from vlm_agent.sessions.types import Goal

SPEC_KEY = "action_spec"
"""Where a session's `meta` keeps the ActionSpec of its game, in frame pixels."""
_BUTTONS = ("left", "right", "middle", "x1", "x2")


@dataclass(frozen=True)
class Recording:
    """What cutting, labeling and building need to know of a session; read once."""

    session: str
    """Identifier: the file's name without suffix."""
    path: Path
    """The `.mcap` file."""
    start_ns: int
    """First moment."""
    stop_ns: int
    """First moment after it."""
    width_px: int
    """Width of its frames."""
    height_px: int
    """Height of its frames."""
    first_frame_ns: int
    """Time of its first frame."""
    ticks_ns: tuple[int, ...]
    """Decision times."""
    input_times_ns: array[int]
    """Times of all input events."""
    keys: frozenset[str]
    """Keys that were pressed."""
    buttons: frozenset[str]
    """Mouse buttons that were pressed."""
    goals: tuple[Goal, ...]
    """Goals told by a human or the game."""
    spec: ActionSpec | None
    """What its game allows, if the recorder said so."""
    excluded_ns: tuple[tuple[int, int], ...] = ()
    """Spans that do not belong to it."""
    sha256: str = ""
    """Fingerprint of the file."""
    marks: Marks = field(default_factory=Marks)
    """What its play is known by in another file."""

    def read_events(self) -> Iterator[InputEvent]:
        """Yield all input in order of time, read again from the file."""
        from vlm_agent.sessions.reader import SessionReader

        return SessionReader(self.path).events()

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return (self.stop_ns - self.start_ns) / 1e9


def read_recording(path: Path, horizon_ms: int) -> Recording:
    """Read what is needed of a session but its pictures and game states.

    Args:
        path: the `.mcap` file.
        horizon_ms: distance of decision times where the session has no game states and its game does not say.

    Raises:
        DataError: the session is damaged or has no frames.
    """
    # Imported here because it brings the video library along, and settings must be cheap to import.
    from vlm_agent.sessions.reader import SessionReader

    reader = SessionReader(path)
    info = reader.info()
    if info.width_px is None or info.height_px is None or info.first_frame_ns is None:
        raise DataError(f"{path} has no frames: expected a recording with a screen")
    try:
        check_span(info.start_ns, info.end_ns)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    spec = _stored_spec(path, reader.meta.get(SPEC_KEY))
    stop_ns = info.end_ns + 1
    state_times_ns = (t_ns for t_ns, _ in reader.game_states())
    input_times_ns: array[int] = array("q")
    maker = MarkMaker()
    pressed: dict[type[InputEvent], set[str]] = {KeyChanged: set(), ButtonChanged: set()}
    for event in reader.events():
        if not info.start_ns <= event.t_ns < stop_ns:
            raise DataError(f"{path}: its statistics tell of another span of time than its messages; import it again")
        input_times_ns.append(event.t_ns)
        maker.add(event)
        if isinstance(event, KeyChanged):
            pressed[KeyChanged].add(event.key)
        elif isinstance(event, ButtonChanged):
            pressed[ButtonChanged].add(event.button)
    return Recording(
        session=path.stem,
        path=path,
        start_ns=info.start_ns,
        stop_ns=stop_ns,
        width_px=info.width_px,
        height_px=info.height_px,
        first_frame_ns=info.first_frame_ns,
        ticks_ns=tuple(tick_times(state_times_ns, info.start_ns, stop_ns, spec.horizon_ms if spec else horizon_ms)),
        input_times_ns=input_times_ns,
        keys=frozenset(pressed[KeyChanged]),
        buttons=frozenset(pressed[ButtonChanged]),
        goals=tuple(reader.goals()),
        spec=spec,
        excluded_ns=tuple((span.start_ns, span.stop_ns) for span in reader.excluded),
        sha256=_hash_file(path),
        marks=maker.marks,
    )


def cut_recording(recording: Recording, config: CutConfig) -> list[LabeledClip]:
    """Return the clips of a session; those that are dropped carry the reason, none has a goal yet."""
    clips = cut_session(
        recording.start_ns,
        recording.stop_ns,
        ticks_ns=recording.ticks_ns,
        goals=recording.goals,
        input_times_ns=recording.input_times_ns,
        excluded_ns=recording.excluded_ns,
        config=config,
    )
    return [LabeledClip(clip, dropped=clip.dropped) for clip in clips]


def choose_spec(recordings: Sequence[Recording], horizon_ms: int) -> ActionSpec:
    """Return the one spec of a dataset: the games' own, else what was seen to be pressed.

    The extent is that of the largest frame; windows carry their own frame's size.

    Raises:
        DataError: the sessions' games have different specs, or only some have one.
    """
    width_px = max(recording.width_px for recording in recordings)
    height_px = max(recording.height_px for recording in recordings)
    stored = {recording.spec.with_extent(width_px, height_px) for recording in recordings if recording.spec}
    if len(stored) > 1 or (stored and any(recording.spec is None for recording in recordings)):
        raise DataError("the sessions are of games with different action specs: build one dataset for each game")
    if stored:
        return stored.pop()
    keys = {key for recording in recordings for key in recording.keys}
    buttons = {button for recording in recordings for button in recording.buttons} | {"left"}
    return ActionSpec(
        width_px,
        height_px,
        keys=tuple(sorted(keys)),
        buttons=tuple(button for button in _BUTTONS if button in buttons),
        horizon_ms=horizon_ms,
    )


def _hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _stored_spec(path: Path, value: Any) -> ActionSpec | None:
    if value is None:
        return None
    try:
        return ActionSpec.from_json(value)
    except (ConfigError, TypeError) as error:
        raise DataError(f"{path}: {error}") from error
