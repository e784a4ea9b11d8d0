"""A desktop as recorder and executor see it, whatever the system: windows, their places, who has the keyboard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

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


class Desktop(Protocol):
    """A connection to one desktop; used by one thread."""

    @property
    def screen(self) -> Rect:
        """The whole screen, all monitors, device pixels."""

    def list_windows(self) -> list[WindowInfo]:
        """Return the top-level windows that can be seen, the topmost last."""

    def describe(self, window_id: int) -> WindowInfo | None:
        """Return how a window is now; None where it is closed or hidden."""

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
