"""Frames of a video the way up that its container asks for: phones and some recorders store turned pictures."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlm_agent.errors import DataError

_MATRIX = "DISPLAYMATRIX"
_ONE = 1 << 16
_SLACK = 0.01


def turn_upright(rgb: NDArray[np.uint8], frame: Any) -> NDArray[np.uint8]:
    """Return a decoded frame's picture as it is to be shown.

    Args:
        rgb: (height, width, 3) uint8.
        frame: the `av.VideoFrame` that it comes from.

    Raises:
        DataError: It is to be turned by an angle that is no multiple of 90 degrees.
    """
    data = next((bytes(side) for side in frame.side_data if side.type.name == _MATRIX), None)
    if data is None:
        return rgb
    # A point (x, y) is shown at (a x + c y, b x + d y).
    a, b, _, c, d, *_ = (number / _ONE for number in struct.unpack("<9i", data[:36]))
    entries = a, b, c, d
    is_plain = all(min(abs(abs(entry) - whole) for whole in (0, 1)) < _SLACK for entry in entries)
    if not is_plain or abs(abs(a * d - b * c) - 1) > _SLACK:
        raise DataError("a video's pictures are to be turned by an angle that is no multiple of 90 degrees")
    if abs(a) < _SLACK:
        rgb, flips_x, flips_y = rgb.transpose(1, 0, 2), c < 0, b < 0
    else:
        flips_x, flips_y = a < 0, d < 0
    return np.ascontiguousarray(rgb[:: -1 if flips_y else 1, :: -1 if flips_x else 1])
