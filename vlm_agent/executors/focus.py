"""Whether an event would reach the one window it is meant for: asked anew before every single one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from enum import StrEnum

from vlm_agent.actions.placement import Placement
from vlm_agent.desktop.types import Desktop, Obstacle, Place, Reach, WindowInfo
from vlm_agent.desktop.windows import choose_window
from vlm_agent.executors.devices import DeviceLostError


class Misdirected(StrEnum):
    """Why an event would not reach the window."""

    CLOSED = "window_closed"
    """It is closed, or hidden, or another program's now."""
    RESIZED = "window_resized"
    """It has another size than when the frame was captured, so that its content is laid out differently."""
    OFF_SCREEN = "off_screen"
    """The point is on no monitor."""


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
    place: Place
    """Where on the screen."""

    @property
    def point(self) -> tuple[int, int] | None:
        """On the screen; None for an event without a point of its own."""
        return self.place if isinstance(self.place, tuple) else None


class FocusGuard:
    """Watches one window, chosen once."""

    def __init__(
        self,
        desktop: Desktop,
        target: Target,
        frame_size: tuple[int, int],
        reach: Reach | None,
        losses: tuple[type[Exception], ...] = (),
    ) -> None:
        """Choose the window.

        Args:
            desktop: asked by the player's thread alone.
            target: which window.
            frame_size: width and height of the frames that points are in, pixels.
            reach: tells who gets what is pressed; None for a dry run, which presses nothing.
            losses: what both raise where the desktop is gone; a `DeviceLostError` for all who ask here.

        Raises:
            ConfigError: no window, or several, or one of another program.
        """
        self._desktop = desktop
        self._frame_size = frame_size
        self._reach = reach
        self._losses = losses
        self.window = choose_window(desktop, target.title, app=target.app, pid=target.pid)

    def find(self) -> WindowInfo | None:
        """Return how the window is now; None where it is closed, hidden or not the same program's any more."""
        with self._telling_of_loss():
            now = self._desktop.describe(self.window.window_id)
        if now is None or (now.pid, now.app) != (self.window.pid, self.window.app):
            return None
        return now

    def explain_absence(self) -> str:
        """Return `window_closed`, and for a person in which way it is gone."""
        with self._telling_of_loss():
            if self._desktop.describe(self.window.window_id) is not None:
                return f"{Misdirected.CLOSED}: it is another program's now"
            if self._desktop.exists(self.window.window_id):
                return f"{Misdirected.CLOSED}: it is hidden or minimized"
            gone = (self.window.title, self.window.app, self.window.pid)
            # Games that go to the full screen may make their window anew.
            if any((other.title, other.app, other.pid) == gone for other in self._desktop.list_windows()):
                return f"{Misdirected.CLOSED}: a new one of that name is there; start again to act on it"
        return str(Misdirected.CLOSED)

    def find_obstacle(self) -> Misdirected | Obstacle | None:
        """Return why a key would not come to the window now; None where it would."""
        window = self.find()
        return Misdirected.CLOSED if window is None else self.confirm(Aim(window, None))

    def confirm(self, aim: Aim, code: int | None = None) -> Misdirected | Obstacle | None:
        """Return what has come between since an aim was taken.

        Args:
            aim: where the event goes.
            code: what the system calls the key that is to be pressed.
        """
        with self._telling_of_loss():
            obstacle = None if self._reach is None else self._reach.find_obstacle(aim.window, aim.place, code)
        # A window that closes loses the focus too, and its place; that it closed is what is to be said.
        return Misdirected.CLOSED if obstacle is not None and self.find() is None else obstacle

    @contextmanager
    def hold_still(self) -> Iterator[None]:
        """Keep other programs from coming between; see `Reach.hold_still`."""
        with self._telling_of_loss(), nullcontext() if self._reach is None else self._reach.hold_still():
            yield

    def find_pointer(self, window: WindowInfo) -> tuple[int, int]:
        """Return where the pointer is, in pixels of the frame of a window, clamped into what shows the window."""
        placement = Placement.fit(window.rect, *self._frame_size)
        with self._telling_of_loss():
            pointer = self._desktop.read_pointer()
        return placement.content.clamp(*placement.to_frame(*pointer))

    def is_at(self, point: tuple[int, int]) -> bool:
        """Return whether the pointer is at a point of the screen."""
        with self._telling_of_loss():
            return self._desktop.read_pointer() == point

    def aim(self, place_px: Place, size: tuple[int, int]) -> Aim | Misdirected | Obstacle:
        """Return where an event goes, or why it would not reach the window.

        A window that was moved is followed: a frame's pixel is a place in the window. One that was resized is not.

        Args:
            place_px: frame pixel, or where the pointer is; None for a key.
            size: width and height of the window when the frame was captured, pixels.
        """
        window = self.find()
        if window is None:
            return Misdirected.CLOSED
        place = place_px
        if isinstance(place_px, tuple):
            place = Placement.fit(window.rect, *self._frame_size).to_screen(*place_px)
        aim = Aim(window, place)
        obstacle = self.confirm(aim)
        if obstacle is not None and obstacle is not Obstacle.COVERED:
            return obstacle
        if (window.rect.width, window.rect.height) != size:
            return Misdirected.RESIZED
        with self._telling_of_loss():
            if aim.point is not None and not self._desktop.screen.contains(*aim.point):
                return Misdirected.OFF_SCREEN
        return obstacle or aim

    @contextmanager
    def _telling_of_loss(self) -> Iterator[None]:
        try:
            yield
        except self._losses as error:
            raise DeviceLostError(f"the desktop is gone, or has hung us up: {error}") from error
