"""X11 events of windows and raw motion as bytes, and what they mean to a recorder.

XRecord and XInput2 hand over events as the server sends them, and python-xlib does not parse raw motion at all.
Layouts: X11 protocol, appendix B; XI2proto.h, `xXIRawEvent`.
"""

from __future__ import annotations

import struct
import sys
from typing import NamedTuple

from Xlib import X

from vlm_agent.actions.placement import Rect
from vlm_agent.desktop.x11_record import SENT, kind_of
from vlm_agent.recording.stream import Focus

_CONFIGURE = struct.Struct("=BxHIIIhhHHHB5x")
_FOCUS = struct.Struct("=BBHIB23x")
_ABOUT_WINDOW = struct.Struct("=BxHII20x")
_RAW = struct.Struct("=HIIHHI4x")
_FIXED = struct.Struct("=iI")

WHILE_GRABBED = 3
"""Mode of a focus change behind a grab: keys go on going to whoever has grabbed them."""
_LEAVES = (X.NotifyAncestor, X.NotifyVirtual, X.NotifyNonlinear, X.NotifyNonlinearVirtual)
"""Details with which a window is told that the focus goes out of it, or comes in from outside."""


class Configured(NamedTuple):
    """A window's new place."""

    rect: Rect
    """Client area, relative to its parent, or to the screen where `is_sent`."""
    is_sent: bool
    """A window manager sent it, so it tells the place on the screen (ICCCM 4.1.5)."""


class RawValues(NamedTuple):
    """Motion as a device reported it."""

    server_ms: int
    """The server's time."""
    source_id: int
    """The device."""
    values: dict[int, float]
    """Axis number -> value before acceleration."""


def parse_configure(event: bytes) -> Configured | None:
    """Return a ConfigureNotify; None for a window without a pixel."""
    kind, _, _, _, _, x, y, width, height, border, _ = _CONFIGURE.unpack(event)
    if not width or not height:
        return None
    return Configured(Rect(x + border, y + border, width, height), bool(kind & SENT))


def parse_parent(event: bytes) -> int:
    """Return the new parent that a ReparentNotify tells."""
    return int.from_bytes(event[12:16], sys.byteorder)


def subject_of(event: bytes) -> int:
    """Return the window that an event about windows is told to (for a focus event: that it is about)."""
    return int(_ABOUT_WINDOW.unpack(event)[2])


def parse_focus(event: bytes, *, is_root: bool) -> Focus | None:
    """Return where keys go after a FocusIn or FocusOut of the recorded window or the root; None where that stays."""
    _, detail, _, _, mode = _FOCUS.unpack(event)
    if mode == WHILE_GRABBED:
        return None
    is_in = kind_of(event) == X.FocusIn
    if detail == X.NotifyPointerRoot and is_root:
        return "pointer" if is_in else "outside"
    if is_root:
        return "outside" if detail == X.NotifyDetailNone and is_in else None
    if detail in _LEAVES:
        return "inside" if is_in else "outside"
    # Inferior: the focus goes between the window and one inside it.
    return "inside" if detail == X.NotifyInferior else None


def is_by_grab(event: bytes) -> bool:
    """Return whether a FocusIn or FocusOut tells that somebody grabbed the keyboard, not that the focus went."""
    return bool(_FOCUS.unpack(event)[4] == X.NotifyGrab)


def parse_raw(data: bytes) -> RawValues | None:
    """Return an XI_RawMotion from the data of a GenericEvent, beyond its first ten bytes; None if it is cut short."""
    if len(data) < _RAW.size:
        return None
    _, server_ms, _, source_id, mask_words, _ = _RAW.unpack_from(data)
    mask = int.from_bytes(data[_RAW.size : _RAW.size + 4 * mask_words], "little")
    axes = [axis for axis in range(32 * mask_words) if mask >> axis & 1]
    # First every value with the pointer's acceleration, then every one without it.
    start = _RAW.size + 4 * mask_words + len(axes) * _FIXED.size
    if len(data) < start + len(axes) * _FIXED.size:
        return None
    values = {}
    for place, axis in enumerate(axes):
        whole, fraction = _FIXED.unpack_from(data, start + place * _FIXED.size)
        values[axis] = whole + fraction / (1 << 32)
    return RawValues(server_ms, source_id, values)
