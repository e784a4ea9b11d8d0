"""A desktop as recorder and executor see it, whatever the system: windows, their places, who has the keyboard."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, Protocol

from vlm_agent.actions.placement import Rect


@dataclass(frozen=True, slots=True)
class WindowInfo:
    """A top-level window at one moment."""

    window_id: int
    """What the system calls it."""
    title: str
    """What stands in its bar."""
    rect: Rect
    """Its client area (without bar and borders) on the screen, device pixels."""
    app: str = ""
    """WM_CLASS on X11, the program's name on Windows."""
    pid: int | None = None
    """Its process, where it says so."""


class Obstacle(StrEnum):
    """Why what is pressed now would not come to a window, and to it alone."""

    FOCUS = "focus_lost"
    """The keyboard goes elsewhere."""
    KEYBOARD = "keyboard_grabbed"
    """Another program, or one unknown, takes all keys: a launcher, a screen's lock, a password prompt."""
    POINTER = "pointer_grabbed"
    """Another program, or one unknown, takes the mouse: an open menu."""
    COVERED = "covered"
    """Another window lies over the place."""
    HOTKEY = "hotkey"
    """Another program has this one key, or this combination, for itself; all others come to the window."""
    MOVED = "window_moved"
    """It is not where it was when the place was chosen; the next look finds it."""


Place = tuple[int, int] | Literal["pointer"] | None
"""Where something is pressed: a point of the screen, where the pointer is, or, for a key, nowhere."""


class Reach(Protocol):
    """Knows who gets what is pressed; used by one thread."""

    @property
    def client(self) -> int | None:
        """By what our connection could be cut from outside, should we freeze; None where it holds nothing still."""

    def find_obstacle(self, window: WindowInfo, place: Place, code: int | None = None) -> Obstacle | None:
        """Return what keeps input from a window; None where nothing does.

        What the window's own program has grabbed, and its pop-ups and dialogs, are the window's.

        Args:
            window: the window as it was a moment ago.
            place: where.
            code: what the system calls the key that is to be pressed; looked at while the desktop is held still.
        """

    def hold_still(self) -> AbstractContextManager[None]:
        """Keep all other programs from changing who gets what, for a block of at most a millisecond or two.

        What is looked at and pressed within it belongs together. Windows has no such thing; there it does nothing.
        """

    def close(self) -> None:
        """Look no more; harmless the second time."""


class Desktop(Protocol):
    """A connection to one desktop; used by one thread."""

    @property
    def screen(self) -> Rect:
        """The whole screen, all monitors, device pixels."""

    def list_windows(self) -> list[WindowInfo]:
        """Return the top-level windows that can be seen, the topmost last."""

    def describe(self, window_id: int) -> WindowInfo | None:
        """Return how a window is now; None where it is closed or hidden."""

    def exists(self, window_id: int) -> bool:
        """Return whether a window is there at all, shown or not."""

    def find_focused(self) -> int | None:
        """Return the top-level window that the keyboard goes to; None where no window has it."""

    def find_at(self, x: int, y: int) -> int | None:
        """Return the topmost top-level window at a point of the screen."""

    def list_missing(self) -> list[str]:
        """Return what hearing or pressing devices takes and this desktop has not; empty where all is there."""

    def read_pointer(self) -> tuple[int, int]:
        """Return where the pointer is on the screen."""

    def close(self) -> None:
        """Give the connection back; harmless the second time."""
