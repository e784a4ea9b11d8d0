"""Marks on pictures of the game: where a hand went and pressed, where a model said to press, where a player did."""

from __future__ import annotations

import io
from collections.abc import Sequence

from PIL import Image, ImageDraw

DONE, SAID, EDGE = (255, 45, 120), (0, 229, 255), (0, 0, 0)
"""Colours that the game does not use: what was done, what was predicted, and a dark edge for both."""
PATH = (255, 255, 255)
"""The pointer's path."""
JPEG_QUALITY = 78

Point = tuple[int, int]


def draw_path(draw: ImageDraw.ImageDraw, path: Sequence[Point]) -> None:
    """Draw the way of the pointer."""
    if len(path) > 1:
        draw.line(path, fill=EDGE, width=5, joint="curve")
        draw.line(path, fill=PATH, width=2, joint="curve")


def draw_ring(draw: ImageDraw.ImageDraw, point: Point) -> None:
    """Draw a ring around where something was pressed."""
    for radius, colour, width in ((20, EDGE, 9), (18, DONE, 5)):
        draw.ellipse(_box(point, radius), outline=colour, width=width)
    draw.ellipse(_box(point, 4), fill=DONE, outline=EDGE)


def draw_cross(draw: ImageDraw.ImageDraw, point: Point) -> None:
    """Draw a cross where a press was predicted."""
    x, y = point
    for colour, width in ((EDGE, 8), (SAID, 4)):
        reach = 30 if colour == SAID else 32
        draw.line([(x - reach, y), (x + reach, y)], fill=colour, width=width)
        draw.line([(x, y - reach), (x, y + reach)], fill=colour, width=width)


def shrink(image: Image.Image, width_px: int) -> Image.Image:
    """Return an image at a smaller width; even numbers of pixels both ways, as videos want them."""
    height_px = round(image.height * width_px / image.width / 2) * 2
    return image.resize((width_px, height_px), Image.Resampling.LANCZOS)


def to_jpeg(image: Image.Image) -> bytes:
    """Return an image as JPEG."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return buffer.getvalue()


def _box(point: Point, radius: int) -> tuple[int, int, int, int]:
    return point[0] - radius, point[1] - radius, point[0] + radius, point[1] + radius
