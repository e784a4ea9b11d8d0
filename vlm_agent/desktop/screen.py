"""Pictures of a part of the screen, through mss (MIT-SHM on X11, GDI on Windows)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlm_agent.actions.placement import Placement, Rect
from vlm_agent.errors import ConfigError


class ScreenGrabber:
    """Grabs rectangles of the screen; used by one thread."""

    def __init__(self) -> None:
        """Open the screen.

        Raises:
            ConfigError: it can't be grabbed.
        """
        import mss
        from mss.exception import ScreenShotError

        self._error = ScreenShotError
        try:
            self._mss: Any = mss.MSS()
        except ScreenShotError as error:
            raise ConfigError(f"the screen can't be grabbed: {error}; is DISPLAY right?") from error

    @property
    def screen(self) -> Rect:
        """All monitors."""
        return _rect(self._mss.monitors[0])

    @property
    def monitors(self) -> list[Rect]:
        """Each monitor, the first one first."""
        return [_rect(monitor) for monitor in self._mss.monitors[1:]]

    def grab(self, rect: Rect) -> NDArray[np.uint8]:
        """Return a picture of a part of the screen, (height, width, 3) uint8 RGB; what lies off the screen is black.

        Raises:
            ConfigError: the screen can't be grabbed any more.
        """
        seen = rect.intersect(self.screen)
        if seen is None:
            return np.zeros((rect.height, rect.width, 3), np.uint8)
        place = {"left": seen.x, "top": seen.y, "width": seen.width, "height": seen.height}
        try:
            shot = self._mss.grab(place)
        except self._error as error:
            raise ConfigError(f"the screen can't be grabbed: {error}") from error
        bgra = np.frombuffer(shot.raw, np.uint8).reshape(seen.height, seen.width, 4)
        rgb = _to_rgb(bgra)
        if seen == rect:
            return rgb
        picture = np.zeros((rect.height, rect.width, 3), np.uint8)
        top, left = seen.y - rect.y, seen.x - rect.x
        picture[top : top + seen.height, left : left + seen.width] = rgb
        return picture

    def grab_frame(self, placement: Placement) -> NDArray[np.uint8]:
        """Return the frame of a placement, (frame_height_px, frame_width_px, 3) uint8 RGB, letterbox black."""
        return fit_picture(self.grab(placement.screen), placement)

    def close(self) -> None:
        """Give the screen back; harmless the second time."""
        self._mss.close()


def fit_picture(rgb: NDArray[np.uint8], placement: Placement) -> NDArray[np.uint8]:
    """Return a picture of `placement.screen` as its frame: resized into the content, black around it."""
    from PIL import Image

    content = placement.content
    if rgb.shape[:2] != (content.height, content.width):
        resized = Image.fromarray(rgb).resize((content.width, content.height), Image.Resampling.BOX)
        rgb = np.asarray(resized)
    if (content.width, content.height) == (placement.frame_width_px, placement.frame_height_px):
        return rgb
    frame = np.zeros((placement.frame_height_px, placement.frame_width_px, 3), np.uint8)
    frame[content.y : content.y + content.height, content.x : content.x + content.width] = rgb
    return frame


def _to_rgb(bgra: NDArray[np.uint8]) -> NDArray[np.uint8]:
    # Plane by plane takes a third of the time of one copy with the last axis turned round.
    rgb = np.empty((*bgra.shape[:2], 3), np.uint8)
    for place in range(3):
        rgb[:, :, place] = bgra[:, :, 2 - place]
    return rgb


def _rect(monitor: Any) -> Rect:
    return Rect(monitor["left"], monitor["top"], monitor["width"], monitor["height"])
