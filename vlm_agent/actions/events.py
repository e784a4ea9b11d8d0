"""Raw device events: what a recorder hears and an executor sends. Positions are pixels of the captured frame."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PointerMoved:
    """The pointer is now at a point."""

    t_ns: int
    """Time on the session's clock, nanoseconds."""
    x: int
    """Column in frame pixels; may lie outside the frame."""
    y: int
    """Row in frame pixels."""


@dataclass(frozen=True, slots=True)
class ButtonChanged:
    """A mouse button went down or up at a point."""

    t_ns: int
    """Time on the session's clock, nanoseconds."""
    x: int
    """Column in frame pixels."""
    y: int
    """Row in frame pixels."""
    button: str
    """`left`, `right`, `middle`, `x1` or `x2`; `unknown` for others."""
    pressed: bool
    """True when it went down."""


@dataclass(frozen=True, slots=True)
class WheelTurned:
    """The wheel was turned at a point."""

    t_ns: int
    """Time on the session's clock, nanoseconds."""
    x: int
    """Column in frame pixels."""
    y: int
    """Row in frame pixels."""
    dx: int
    """Horizontal notches, right positive."""
    dy: int
    """Vertical notches, up positive."""


@dataclass(frozen=True, slots=True)
class KeyChanged:
    """A key went down or up."""

    t_ns: int
    """Time on the session's clock, nanoseconds."""
    key: str
    """Canonical lower-case name: `a`, `1`, `space`, `escape`, `left`, `shift`, `enter`, `f1`."""
    pressed: bool
    """True when it went down."""


InputEvent = PointerMoved | ButtonChanged | WheelTurned | KeyChanged
