"""Where a captured frame is on the screen: the part of the one geometry that joins frame pixels and screen pixels.

`CoordinateSpace` joins model coordinates and frame pixels; a `Placement` goes on from there to the screen. A recorder
maps device events into the frame with it, an executor maps decided points out of the frame, so that both mean the same
pixel whatever the window's place, size and the screen's scale factor are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from vlm_agent.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Rect:
    """A rectangle of pixels, half open: it holds `x <= column < x + width` and `y <= row < y + height`."""

    x: int
    """Its left column; negative on a monitor left of the first."""
    y: int
    """Its top row."""
    width: int
    """Columns, at least 1."""
    height: int
    """Rows, at least 1."""

    def __post_init__(self) -> None:
        """Raise ConfigError for an empty rectangle."""
        if self.width < 1 or self.height < 1:
            raise ConfigError(f"a rectangle must be at least 1x1 pixels, got {self.width}x{self.height}")

    def contains(self, x: int, y: int) -> bool:
        """Return whether a pixel lies in it."""
        return self.x <= x < self.x + self.width and self.y <= y < self.y + self.height

    def clamp(self, x: int, y: int) -> tuple[int, int]:
        """Return the pixel of it that is nearest to a pixel."""
        return min(max(x, self.x), self.x + self.width - 1), min(max(y, self.y), self.y + self.height - 1)

    def intersect(self, other: Rect) -> Rect | None:
        """Return what both hold; None where they share no pixel."""
        left, top = max(self.x, other.x), max(self.y, other.y)
        right = min(self.x + self.width, other.x + other.width)
        bottom = min(self.y + self.height, other.y + other.height)
        return Rect(left, top, right - left, bottom - top) if right > left and bottom > top else None

    def __str__(self) -> str:
        return f"{self.x},{self.y},{self.width},{self.height}"


@dataclass(frozen=True, slots=True)
class Placement:
    """Joins the pixels of a frame and the screen pixels that they were captured from.

    A pixel is taken for its centre, so that a frame pixel comes back as itself as long as the frame is not larger than
    what it shows. The screen counts in the units in which pointer events come and go: device pixels on X11 and for a
    process that knows of the display's scale on Windows, else device pixels over `scale`.
    """

    screen: Rect
    """The captured part of the screen, device pixels."""
    frame_width_px: int
    """Width of the frame."""
    frame_height_px: int
    """Height of the frame."""
    content: Rect
    """The part of the frame that shows it; what is around it is black (letterbox)."""
    scale: float = 1.0
    """Device pixels a unit of pointer events."""

    def __post_init__(self) -> None:
        """Raise ConfigError where the content does not lie in the frame, or the scale is not positive."""
        if Rect(0, 0, self.frame_width_px, self.frame_height_px).intersect(self.content) != self.content:
            raise ConfigError(
                f"content {self.content} must lie in a {self.frame_width_px}x{self.frame_height_px} frame"
            )
        if not self.scale > 0 or not math.isfinite(self.scale):
            raise ConfigError(f"a scale factor must be above 0, got {self.scale}")

    @classmethod
    def fit(cls, screen: Rect, frame_width_px: int, frame_height_px: int, scale: float = 1.0) -> Placement:
        """Return the placement that shows `screen` as large as the frame allows, undistorted and in its middle."""
        ratio = min(frame_width_px / screen.width, frame_height_px / screen.height)
        width = min(max(round(screen.width * ratio), 1), frame_width_px)
        height = min(max(round(screen.height * ratio), 1), frame_height_px)
        content = Rect((frame_width_px - width) // 2, (frame_height_px - height) // 2, width, height)
        return cls(screen, frame_width_px, frame_height_px, content, scale)

    def to_screen(self, x_px: int, y_px: int) -> tuple[int, int]:
        """Return where on the screen a frame pixel is, in units of pointer events; clamped into the content."""
        x, y = self.content.clamp(x_px, y_px)
        screen, content = self.screen, self.content
        return (
            _unit(screen.x, _scaled(x - content.x, content.width, screen.width), self.scale),
            _unit(screen.y, _scaled(y - content.y, content.height, screen.height), self.scale),
        )

    def to_frame(self, x: int, y: int) -> tuple[int, int]:
        """Return the frame pixel of a pointer event's place; one outside the captured part lies outside the content."""
        screen, content = self.screen, self.content
        x_px, y_px = _device_px(x, self.scale) - screen.x, _device_px(y, self.scale) - screen.y
        return (
            content.x + _scaled(x_px, screen.width, content.width),
            content.y + _scaled(y_px, screen.height, content.height),
        )

    def holds(self, x: int, y: int) -> bool:
        """Return whether a pointer event's place lies in the captured part of the screen."""
        return self.screen.contains(_device_px(x, self.scale), _device_px(y, self.scale))


def _device_px(unit: int, scale: float) -> int:
    return math.floor(unit * scale)


def _unit(origin: int, offset: int, scale: float) -> int:
    unit = math.floor((origin + offset + 0.5) / scale)
    # With several device pixels a unit, the one of the first pixel may begin before the captured part.
    return unit + 1 if _device_px(unit, scale) < origin else unit


def _scaled(value: int, size: int, other_size: int) -> int:
    # In whole numbers: (2 v + 1) other / (2 size), rounded down, is exact where floats are not.
    return (2 * value + 1) * other_size // (2 * size)
