"""Whether an event would reach the one window it is meant for: asked anew before every single one."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from vlm_agent.actions.placement import Placement
from vlm_agent.desktop.types import Desktop, WindowInfo
from vlm_agent.desktop.windows import choose_window


class Misdirected(StrEnum):
    """Why an event would not reach the window."""

    CLOSED = "window_closed"
    """It is closed, hidden, or another program's now."""
    FOCUS = "focus_lost"
    """The keyboard goes elsewhere."""
    RESIZED = "window_resized"
    """It has another size than when the frame was captured, so that its content is laid out differently."""
    OFF_SCREEN = "off_screen"
    """The point is on no monitor."""
    COVERED = "covered"
    """Another window lies over the point."""


@dataclass(frozen=True)
class Target:
    """Which window may be acted on; everything given must match."""

    title: str
    """Its title, or a regular expression that matches in it."""
    app: str | None = None
    """Its WM_CLASS (X11) or program name (Windows), exactly."""
    pid: int | None = None
    """Its process."""


@dataclass(frozen=True, slots=True)
class Aim:
    """Where an event goes."""

    window: WindowInfo
    """The window at this moment."""
    point: tuple[int, int] | None
    """On the screen; None for an event without a point."""


class FocusGuard:
    """Watches one window, chosen once."""

    def __init__(self, desktop: Desktop, target: Target, frame_size: tuple[int, int], *, must_focus: bool) -> None:
        """Choose the window.

        Args:
            desktop: asked by the player's thread alone.
            target: which window.
            frame_size: width and height of the frames that points are in, pixels.
            must_focus: whether the window must have the keyboard and lie on top; a dry run does without.

        Raises:
            ConfigError: no window, or several, or one of another program.
        """
        self._desktop = desktop
        self._frame_size = frame_size
        self._must_focus = must_focus
        self.window = choose_window(desktop, target.title, app=target.app, pid=target.pid)

    def find(self) -> WindowInfo | None:
        """Return how the window is now; None where it is closed, hidden or not the same program's any more."""
        now = self._desktop.describe(self.window.window_id)
        if now is None or (now.pid, now.app) != (self.window.pid, self.window.app):
            return None
        return now

    def has_focus(self) -> bool:
        """Return whether the keyboard goes to the window."""
        return not self._must_focus or self._desktop.find_focused() == self.window.window_id

    def find_pointer(self, window: WindowInfo) -> tuple[int, int]:
        """Return where the pointer is, in pixels of the frame of a window, clamped into what shows the window."""
        placement = Placement.fit(window.rect, *self._frame_size)
        return placement.content.clamp(*placement.to_frame(*self._desktop.read_pointer()))

    def is_at(self, point: tuple[int, int]) -> bool:
        """Return whether the pointer is at a point of the screen."""
        return self._desktop.read_pointer() == point

    def aim(self, point_px: tuple[int, int] | None, size: tuple[int, int]) -> Aim | Misdirected:
        """Return where an event goes, or why it would not reach the window.

        A window that was moved is followed: a frame's pixel is a place in the window. One that was resized is not.

        Args:
            point_px: frame pixel; None for a key.
            size: width and height of the window when the frame was captured, pixels.
        """
        window = self.find()
        if window is None:
            return Misdirected.CLOSED
        if not self.has_focus():
            return Misdirected.FOCUS
        if (window.rect.width, window.rect.height) != size:
            return Misdirected.RESIZED
        if point_px is None:
            return Aim(window, None)
        point = Placement.fit(window.rect, *self._frame_size).to_screen(*point_px)
        if not self._desktop.screen.contains(*point):
            return Misdirected.OFF_SCREEN
        if self._must_focus and self._desktop.find_at(*point) != window.window_id:
            return Misdirected.COVERED
        return Aim(window, point)
