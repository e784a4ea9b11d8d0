"""What becomes of the recorded window and of the screen it is on, for a person to know; knows no system."""

from __future__ import annotations

from vlm_agent.actions.placement import Rect
from vlm_agent.recording.stream import DeviceItem, ScreenChanged, WindowClosed, WindowReplaced


class WindowSurroundings:
    """Hears everything that devices and windows tell."""

    def __init__(self) -> None:
        """Know no screen yet."""
        self._screen: Rect | None = None
        self.is_off_screen = False
        """Whether nothing of what is recorded is on the screen."""

    def hear(self, item: DeviceItem, rect: Rect) -> str | None:
        """Return what is to be said of an item.

        Args:
            item: what happened.
            rect: where what is recorded lies after it.
        """
        told = None
        match item:
            case WindowClosed():
                told = f"{item.reason}: the recording ends"
            case WindowReplaced():
                told = "the window was closed and made anew: the new one is recorded"
            case ScreenChanged():
                is_known, self._screen = self._screen is not None, item.screen
                told = _describe(item.screen, rect) if is_known else None
        self.is_off_screen = self._screen is not None and rect.intersect(self._screen) is None
        return told


def _describe(screen: Rect, rect: Rect) -> str:
    told = f"the screen is {screen.width}x{screen.height} now"
    seen = rect.intersect(screen)
    if seen is None or seen == rect:
        return told
    return f"{told}: what is recorded reaches beyond it, and is black there"
