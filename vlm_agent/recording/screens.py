"""Where a recorder's pictures come from: mss everywhere; dxcam on Windows where it is installed, which is quicker."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vlm_agent.actions.placement import Placement, Rect
from vlm_agent.desktop.screen import ScreenGrabber, fit_picture


class Grabber(Protocol):
    """Takes pictures of the screen; used by one thread."""

    def grab_frame(self, placement: Placement) -> NDArray[np.uint8]:
        """Return the frame of a placement, (frame_height_px, frame_width_px, 3) uint8 RGB.

        Raises:
            ConfigError: the screen can't be grabbed.
        """

    def close(self) -> None:
        """Give the screen back."""


def open_grabber() -> Grabber:
    """Return the quickest grabber that this machine has.

    Raises:
        ConfigError: the screen can't be grabbed.
    """
    if sys.platform == "win32" and importlib.util.find_spec("dxcam") is not None:
        return DxcamGrabber(importlib.import_module("dxcam"), ScreenGrabber())
    return ScreenGrabber()


class DxcamGrabber:
    """Grabs the first monitor through DXGI; what reaches beyond it is left to another grabber."""

    def __init__(self, dxcam: Any, beyond: ScreenGrabber) -> None:
        """Open the first monitor.

        Args:
            dxcam: the module.
            beyond: takes the pictures that dxcam can't.
        """
        self._camera = dxcam.create(output_color="RGB")
        self._output = Rect(0, 0, self._camera.width, self._camera.height)
        self._beyond = beyond
        self._last: tuple[Rect, NDArray[np.uint8]] | None = None

    def grab_frame(self, placement: Placement) -> NDArray[np.uint8]:
        """Return the frame of a placement, (frame_height_px, frame_width_px, 3) uint8 RGB.

        Raises:
            ConfigError: the screen can't be grabbed.
        """
        rect = placement.screen
        if rect.intersect(self._output) != rect:
            return self._beyond.grab_frame(placement)
        picture = self._camera.grab(region=(rect.x, rect.y, rect.x + rect.width, rect.y + rect.height))
        if picture is None:
            # Nothing was drawn since the last picture, so that one is still what the screen shows.
            if self._last is None or self._last[0] != rect:
                return self._beyond.grab_frame(placement)
            picture = self._last[1]
        self._last = rect, picture
        return fit_picture(picture, placement)

    def close(self) -> None:
        """Give the screen back."""
        self._camera.release()
        self._beyond.close()
