"""What an agent can do: four kinds of action, each at a time after the one before.

Coordinates are integers in the extent of the `ActionSpec` they belong to: pixels of the captured frame inside games and
datasets, 0-999 (or pixels of the resized image) in front of a model. `actions.space` converts between the two; nothing
else does. With a relative pointer CLICK and SCROLL have no point: their x and y are 0. These types know no JSON (see
`actions.codecs`) and no device (see `actions.events`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PressState = Literal["down", "up"]
"""Half of a press: `down` without its release, or `up` alone. `None` in its place means a full press."""

Button = Literal["left", "right", "middle", "x1", "x2"]


@dataclass(frozen=True, slots=True)
class Click:
    """Press a mouse button at a point."""

    dt_ms: int
    """Milliseconds since the previous action (the first: since the window's start)."""
    x: int
    """Column, 0 <= x < extent_width."""
    y: int
    """Row, 0 <= y < extent_height."""
    button: str = "left"
    """One of the spec's buttons."""
    state: PressState | None = None
    """`None`: press and release; otherwise that half only."""


@dataclass(frozen=True, slots=True)
class Key:
    """Press a key."""

    dt_ms: int
    """Milliseconds since the previous action."""
    key: str
    """One of the spec's keys, in canonical lower-case names (`space`, `escape`, `left`, `a`)."""
    state: PressState | None = None
    """`None`: press and release; otherwise that half only."""


@dataclass(frozen=True, slots=True)
class Scroll:
    """Turn the wheel at a point."""

    dt_ms: int
    """Milliseconds since the previous action."""
    x: int
    """Column, 0 <= x < extent_width."""
    y: int
    """Row, 0 <= y < extent_height."""
    dy: int
    """Notches, up positive, never 0, |dy| <= spec.max_scroll."""


@dataclass(frozen=True, slots=True)
class Move:
    """Bring the pointer to a point (absolute), or by an offset where the spec's pointer is relative."""

    dt_ms: int
    """Milliseconds since the previous action; the pointer arrives at this moment."""
    x: int
    """Column; with a relative pointer the horizontal offset, |x| <= spec.max_offset."""
    y: int
    """Row; with a relative pointer the vertical offset."""


Action = Click | Key | Scroll | Move


@dataclass(frozen=True, slots=True)
class ActionChunk:
    """All actions of one horizon, in order; empty means do nothing for this horizon."""

    actions: tuple[Action, ...] = ()
    """The sum of their `dt_ms` never passes the spec's horizon."""
    done: bool = False
    """True says the goal is reached; then there are no actions."""

    @property
    def duration_ms(self) -> int:
        """Time of the last action after the window's start."""
        return sum(action.dt_ms for action in self.actions)
