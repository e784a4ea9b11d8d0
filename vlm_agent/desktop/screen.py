"""Pictures of a part of the screen, through mss (MIT-SHM on X11, GDI on Windows)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlm_agent.actions.placement import Placement, Rect
from vlm_agent.desktop.windows import open_desktop
from vlm_agent.errors import ConfigError

_TRIES = 5
"""How often a picture is tried while the screen changes."""


class ScreenGrabber:
    """Grabs rectangles of the screen, whatever size that has by then; used by one thread."""

    def __init__(self) -> None:
        """Open the screen.

        Raises:
            ConfigError: there is none, or its pictures can't be read.
        """
        import mss
        from mss.exception import ScreenShotError

        self._open_library: Callable[[], Any] = mss.MSS
        self._error: type[Exception] = ScreenShotError
        self._desktop = open_desktop()
        try:
            self._open()
        except ConfigError:
            self._desktop.close()
            raise

    @property
    def screen(self) -> Rect:
        """All monitors, as they are now."""
        try:
            return self._desktop.screen
        except OSError as error:
            raise ConfigError("the screen can't be grabbed: the desktop is gone") from error

    @property
    def monitors(self) -> list[Rect]:
        """Each monitor as it is now, the first one first."""
        self._look_again()
        return [_rect(monitor) for monitor in self._mss.monitors[1:]]

    def grab(self, rect: Rect) -> NDArray[np.uint8]:
        """Return a picture of a part of the screen, (height, width, 3) uint8 RGB; what lies off the screen is black.

        Raises:
            ConfigError: the screen can't be grabbed any more.
        """
        for _ in range(_TRIES):
            self._look_again()
            try:
                return self._grab(rect, self._seen)
            except self._error as error:
                # It may have become another between the look and the grab.
                if self.screen == self._seen:
                    raise ConfigError(f"the screen can't be grabbed: {_in_one_line(error)}") from error
        raise ConfigError("the screen can't be grabbed: it goes on changing its size; is another program doing that?")

    def grab_frame(self, placement: Placement) -> NDArray[np.uint8]:
        """Return the frame of a placement, (frame_height_px, frame_width_px, 3) uint8 RGB, letterbox black."""
        return fit_picture(self.grab(placement.screen), placement)

    def close(self) -> None:
        """Give the screen back; harmless the second time."""
        self._mss.close()
        self._desktop.close()

    def _open(self) -> None:
        self._seen = self.screen
        try:
            self._mss: Any = self._open_library()
        except self._error as error:
            raise ConfigError(
                f"the pictures of this screen can't be read: {_in_one_line(error)};"
                " set it to a color depth of 24 bits (Xorg: DefaultDepth 24, Xvfb: -screen 0 1280x800x24)"
            ) from error

    def _look_again(self) -> None:
        """Open the screen anew where it has another size: the library keeps size, monitors and room for one picture."""
        if self.screen != self._seen:
            self._mss.close()
            self._open()

    def _grab(self, rect: Rect, screen: Rect) -> NDArray[np.uint8]:
        seen = rect.intersect(screen)
        if seen is None:
            return np.zeros((rect.height, rect.width, 3), np.uint8)
        shot = self._mss.grab({"left": seen.x, "top": seen.y, "width": seen.width, "height": seen.height})
        bgra = np.frombuffer(shot.raw, np.uint8).reshape(seen.height, seen.width, 4)
        rgb = _to_rgb(bgra)
        if seen == rect:
            return rgb
        picture = np.zeros((rect.height, rect.width, 3), np.uint8)
        top, left = seen.y - rect.y, seen.x - rect.x
        picture[top : top + seen.height, left : left + seen.width] = rgb
        return picture


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


def check_screen() -> None:
    """Take a picture, and throw it away.

    Raises:
        ConfigError: there is no screen, or its pictures can't be read; the message says what to do.
    """
    grabber = ScreenGrabber()
    try:
        screen = grabber.screen
        grabber.grab(Rect(screen.x, screen.y, 1, 1))
    finally:
        grabber.close()


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _rect(monitor: Any) -> Rect:
    return Rect(monitor["left"], monitor["top"], monitor["width"], monitor["height"])
