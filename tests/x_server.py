"""A real X server for the tests, and a window on it that writes down what reaches it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from vlm_agent.desktop.virtual import find_virtual_screen, open_virtual_screen

WHY_SKIPPED = "no Xvfb here (Debian: apt-get install xvfb); tests on a real X server need it"


@contextmanager
def run_x_server(width_px: int = 1280, height_px: int = 800, **settings: int) -> Iterator[str]:
    """Run an X server of its own, and yield its name; skips the test where there is no Xvfb."""
    if find_virtual_screen() is None:
        pytest.skip(WHY_SKIPPED)
    with open_virtual_screen(width_px, height_px, comes_first=True, **settings) as name:
        yield name


def resize_screen(display_name: str, width_px: int, height_px: int) -> None:
    """Give a server's screen another size, at most that which it began with."""
    from Xlib import display
    from Xlib.ext import randr

    connection = display.Display(display_name)
    try:
        root = connection.screen().root
        resources = root.xrandr_get_screen_resources()
        # A monitor that shows all of it would stand in the way.
        for crtc in resources.crtcs:
            connection.xrandr_set_crtc_config(crtc, resources.config_timestamp, 0, 0, 0, randr.Rotate_0, [])
        root.xrandr_set_screen_size(width_px, height_px, 300, 200)
        connection.sync()
    finally:
        connection.close()


@dataclass
class Heard:
    """One event as a window got it."""

    kind: str
    """KeyPress, KeyRelease, ButtonPress, ButtonRelease or MotionNotify."""
    detail: int
    """Key code or button number."""
    x: int
    """Column in the window."""
    y: int
    """Row in the window."""
    server_ms: int
    """The server's time of it."""
    t_ns: int
    """`time.monotonic_ns()` when it was read."""


@dataclass
class ListeningWindow:
    """A plain window that hears everything; its own connection, its own thread."""

    display_name: str
    title: str = "listening"
    x: int = 0
    y: int = 0
    width: int = 400
    height: int = 300
    heard: list[Heard] = field(default_factory=list)

    def __enter__(self) -> ListeningWindow:
        from Xlib import X, display

        self._display = display.Display(self.display_name)
        screen = self._display.screen()
        mask = X.KeyPressMask | X.KeyReleaseMask | X.ButtonPressMask | X.ButtonReleaseMask | X.PointerMotionMask
        self._window = screen.root.create_window(
            self.x, self.y, self.width, self.height, 0, screen.root_depth, event_mask=mask, background_pixel=0x336699
        )
        self._window.set_wm_name(self.title)
        self._window.map()
        self._display.sync()
        self._window.set_input_focus(X.RevertToParent, X.CurrentTime)
        self._display.sync()
        self._is_open = True
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_open = False
        self._thread.join(5)
        self._display.close()

    @property
    def window_id(self) -> int:
        return int(self._window.id)

    def do(self, action: str, **values: Any) -> None:
        """Call a method of the Xlib window (configure, unmap, set_input_focus ...)."""
        with self._lock:
            getattr(self._window, action)(**values)
            self._display.sync()

    def wait_for(self, count: int, seconds: float = 5.0) -> list[Heard]:
        """Return what was heard as soon as it is so much; fails the test after a while."""
        until = time.monotonic() + seconds
        while len(self.heard) < count:
            if time.monotonic() > until:
                raise AssertionError(f"expected {count} events in the window, heard {self.heard}")
            time.sleep(0.002)
        return self.heard

    def _listen(self) -> None:
        from select import select

        while self._is_open:
            select([self._display.fileno()], [], [], 0.01)
            with self._lock:
                while self._display.pending_events():
                    self._note(self._display.next_event())

    def _note(self, event: Any) -> None:
        if hasattr(event, "detail") and hasattr(event, "event_x"):
            kind = type(event).__name__
            self.heard.append(Heard(kind, event.detail, event.event_x, event.event_y, event.time, time.monotonic_ns()))


def read_keys_down(display_name: str) -> list[int]:
    """Return the key codes and (negative) buttons that are down on a server."""
    from Xlib import display

    connection = display.Display(display_name)
    try:
        bits = connection.query_keymap()
        keys = [8 * row + bit for row, byte in enumerate(bits) for bit in range(8) if byte >> bit & 1]
        mask = connection.screen().root.query_pointer().mask
        return keys + [-button for button in range(1, 6) if mask >> (7 + button) & 1]
    finally:
        connection.close()
