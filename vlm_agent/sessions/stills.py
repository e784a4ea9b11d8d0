"""Image files of any mode as RGB: upright, in 8 bits, opaque. What had to be mended is named, so that it is counted."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from vlm_agent.errors import DataError
from vlm_agent.sessions.limits import MAX_PICTURE_BYTES, check_picture_size

Mend = Literal[
    "picture_turned_upright",
    "picture_scaled_to_8_bits",
    "picture_laid_on_black",
    "picture_with_empty_alpha",
    "picture_in_printing_colours",
    "first_of_animated_picture",
]
"""What was done to a picture, as it is counted."""

BROKEN_STILL = (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, struct.error, zlib.error)
"""What Pillow raises for pictures that are not what they say."""

_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
_ORIENTATION = 0x0112
_DEEP_GREY = ("I;16", "I;16B", "I;16L", "I;16N", "I")
_SIDEWAYS = (5, 6, 7, 8)
"""Orientations, after EXIF, in which width and height change places."""


def open_still(data: bytes, formats: Sequence[str] = _FORMATS) -> Image.Image:
    """Return an image file, opened but not decoded.

    Raises:
        DataError: It is of none of the formats, or larger than a frame may be.
    """
    if len(data) > MAX_PICTURE_BYTES:
        raise DataError(f"a picture of more than {MAX_PICTURE_BYTES} bytes")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # refused below, at fewer pixels
            image = Image.open(io.BytesIO(data), formats=list(formats))
    except (*BROKEN_STILL, Image.DecompressionBombError) as error:
        raise DataError(f"not a picture ({error})") from error
    check_picture_size(*image.size)
    return image


def read_size(image: Image.Image) -> tuple[int, int]:
    """Return the (width, height) that a picture has when it is upright, in pixels, by its header."""
    width_px, height_px = image.size
    orientation = image.getexif().get(_ORIENTATION) if "exif" in image.info else None
    return (height_px, width_px) if orientation in _SIDEWAYS else (width_px, height_px)


def read_rgb(image: Image.Image) -> tuple[NDArray[np.uint8], list[Mend]]:
    """Return a picture as (height, width, 3) uint8 RGB, and what was mended.

    Depths of 16 bits a channel become 8; what is transparent is laid on black, unless all of it is: then the recorder
    left the channel empty, and the colors are the picture. Of several pictures in one file the first is taken.

    Raises:
        DataError: its mode has no known range, such as floating-point numbers.
        OSError: it does not decode (and the other errors of Pillow).
    """
    mends = list(_find_mends(image))
    image = ImageOps.exif_transpose(image)
    if image.mode in _DEEP_GREY:
        grey = np.clip(np.asarray(image, dtype=np.int64), 0, 65_535)
        return np.repeat(((grey * 255 + 32_767) // 65_535).astype(np.uint8)[..., None], 3, axis=2), mends
    if image.has_transparency_data:
        return _make_opaque(np.asarray(image.convert("RGBA")), mends)
    if image.mode == "F":
        raise DataError("a picture of floating-point numbers: expected 8 or 16 bits a channel")
    return np.asarray(image.convert("RGB")), mends


def _find_mends(image: Image.Image) -> Iterator[Mend]:
    if getattr(image, "is_animated", False):
        yield "first_of_animated_picture"
    image.load()
    if image.getexif().get(_ORIENTATION, 1) in range(2, 9):
        yield "picture_turned_upright"
    if image.mode in _DEEP_GREY:
        yield "picture_scaled_to_8_bits"
    if image.mode == "CMYK":
        yield "picture_in_printing_colours"


def _make_opaque(rgba: NDArray[np.uint8], mends: list[Mend]) -> tuple[NDArray[np.uint8], list[Mend]]:
    rgb, alpha = rgba[..., :3], rgba[..., 3:]
    if alpha.min() == 255:
        return np.ascontiguousarray(rgb), mends
    if alpha.max() == 0:
        return np.ascontiguousarray(rgb), [*mends, "picture_with_empty_alpha"]
    laid = (rgb.astype(np.uint16) * alpha + 127) // 255
    return laid.astype(np.uint8), [*mends, "picture_laid_on_black"]
