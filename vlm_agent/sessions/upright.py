"""Frames of a video the way up that its container asks for: phones and some recorders store turned pictures."""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vlm_agent.errors import DataError

_MATRIX = "DISPLAYMATRIX"
_ONE = 1 << 16
_SLACK = 0.01


class Orientation(NamedTuple):
    """How pictures are to be shown; in this order."""

    is_transposed: bool
    """Rows become columns."""
    flips_x: bool
    """Left becomes right."""
    flips_y: bool
    """Top becomes bottom."""


AS_STORED = Orientation(False, False, False)


def read_orientation(frame: Any) -> Orientation:
    """Return how a video's pictures are to be shown, by its first frame.

    Asking each frame would keep all of them until the next collection: a frame and its side data hold each other.

    Args:
        frame: an `av.VideoFrame`.

    Raises:
        DataError: They are to be turned by an angle that is no multiple of 90 degrees.
    """
    data = next((bytes(side) for side in frame.side_data if side.type.name == _MATRIX), None)
    if data is None:
        return AS_STORED
    # A point (x, y) is shown at (a x + c y, b x + d y).
    a, b, _, c, d, *_ = (number / _ONE for number in struct.unpack("<9i", data[:36]))
    is_plain = all(min(abs(abs(entry) - whole) for whole in (0, 1)) < _SLACK for entry in (a, b, c, d))
    if not is_plain or abs(abs(a * d - b * c) - 1) > _SLACK:
        raise DataError("a video's pictures are to be turned by an angle that is no multiple of 90 degrees")
    is_transposed = abs(a) < _SLACK
    return Orientation(is_transposed, c < 0, b < 0) if is_transposed else Orientation(False, a < 0, d < 0)


def turn_upright(rgb: NDArray[np.uint8], orientation: Orientation) -> NDArray[np.uint8]:
    """Return a picture, (height, width, 3) uint8, as it is to be shown."""
    if orientation == AS_STORED:
        return rgb
    if orientation.is_transposed:
        rgb = rgb.transpose(1, 0, 2)
    return np.ascontiguousarray(rgb[:: -1 if orientation.flips_y else 1, :: -1 if orientation.flips_x else 1])
