"""Mouse, keyboard and the recorded window on Windows; see `DeviceSource`.

Hooks are called while an event is on its way, so it is dated by the recorder's own clock: Windows' time of it is as
coarse as 16 ms. Which window has the keyboard, and where the recorded one is, is asked in the same moment.
"""

from __future__ import annotations

import ctypes
import threading
from ctypes import wintypes
from queue import Empty, SimpleQueue
from typing import Any

from vlm_agent.actions.events import ButtonChanged, PointerMoved, WheelTurned
from vlm_agent.actions.placement import Rect
from vlm_agent.desktop.win32 import load_user32, use_device_pixels
from vlm_agent.desktop.win32_hooks import (
    BUTTONS,
    KEYS,
    WM_MOUSEHWHEEL,
    WM_MOUSEMOVE,
    WM_MOUSEWHEEL,
    HookThread,
    KeyInfo,
    MouseInfo,
    has_key,
)
from vlm_agent.recording.clock import SessionClock
from vlm_agent.recording.stream import (
    DeviceItem,
    Focus,
    FocusChanged,
    KeyHeard,
    WindowClosed,
    WindowMoved,
    WindowShown,
)
from vlm_agent.sessions.keys import key_name
from vlm_agent.sessions.types import RawMotion

_NOTCH = 120
_SIDES = {f"{side}{name}": name for side in ("left", "right") for name in ("shift", "ctrl", "alt")}
"""Sides of a pair are heard as the same key, as on X11."""
_NO_KEYS = (0x00, 0xE7, 0xFF)
"""Codes of text that a program sends, and of what the keyboard's driver does not know."""
_GA_ROOTOWNER = 3


class Win32Devices:
    """The devices of a Windows desktop, and one of its windows."""

    def __init__(
        self, clock: SessionClock, window_id: int | None = None, *, user32: Any = None, kernel32: Any = None
    ) -> None:
        """Start to listen.

        Args:
            clock: what times are told in.
            window_id: the window to watch; None hears the devices only.
            user32: the system's library, or a stand-in.
            kernel32: the same.

        Raises:
            ConfigError: Windows refuses to tell.
        """
        self._clock = clock
        self._window_id = window_id
        self._user32 = user32 if user32 is not None else load_user32()
        use_device_pixels(self._user32)
        self._items: SimpleQueue[DeviceItem] = SimpleQueue()
        self._has_altgr = False
        self._turned = {WM_MOUSEWHEEL: 0, WM_MOUSEHWHEEL: 0}
        self._focus: Focus | None = None
        self._rect: Rect | None = None
        self._is_visible = True
        self._is_stopped = self._is_closed = False
        self._looking = threading.Lock()
        self._look(clock.now_ns())
        self._hooks = HookThread(
            on_mouse=self._hear_mouse,
            on_key=self._hear_key,
            on_raw=lambda dx, dy: self._items.put(RawMotion(self._clock.now_ns(), dx, dy)),
            refusal="Windows refuses to tell mouse and keyboard to this program;"
            " run it on the desktop itself, and as administrator if the game is",
            user32=self._user32,
            kernel32=kernel32,
        )

    @property
    def notes(self) -> list[str]:
        """What a person should know of this source."""
        return []

    def read(self, timeout_s: float) -> list[DeviceItem]:
        """Return what happened since the last call, in order; waits for the first of it, at most so long."""
        found: list[DeviceItem] = []
        try:
            found.append(self._items.get(timeout=timeout_s))
        except Empty:
            # Nothing was pressed, but the window may have gone somewhere.
            self._look(self._clock.now_ns())
        return found + self._drain()

    def is_ours(self, x: int, y: int) -> bool:
        """Return whether what lies topmost at a point of the screen belongs to the recorded window."""
        if self._window_id is None:
            return True
        found = self._user32.WindowFromPoint(wintypes.POINT(x, y))
        return self._find_owner(found) == self._find_owner(self._window_id)

    def hears(self, name: str) -> bool:
        """Return whether the keyboard has a key of a name."""
        return has_key(self._user32, name)

    def stop(self) -> list[DeviceItem]:
        """Stop listening, and return what was heard until then; nothing the second time."""
        if self._is_stopped:
            return []
        self._is_stopped = True
        self._hooks.close()
        return self._drain()

    def close(self) -> None:
        """Let go of the desktop; stops listening if that goes on."""
        self.stop()

    def _drain(self) -> list[DeviceItem]:
        found: list[DeviceItem] = []
        while True:
            try:
                found.append(self._items.get_nowait())
            except Empty:
                return found

    def _hear_mouse(self, message: int, info: MouseInfo) -> None:
        t_ns, x, y = self._clock.now_ns(), info.x, info.y
        high = ctypes.c_short(info.data >> 16).value
        if message == WM_MOUSEMOVE:
            self._items.put(PointerMoved(t_ns, x, y))
            return
        self._look(t_ns)
        if message in BUTTONS:
            name, is_down = BUTTONS[message]
            self._items.put(ButtonChanged(t_ns, x, y, f"x{high}" if name == "x" else name, is_down))
        elif message in self._turned:
            # Fine wheels turn by parts of a notch; they add up.
            self._turned[message] += high
            notches = int(self._turned[message] / _NOTCH)
            self._turned[message] -= notches * _NOTCH
            if notches:
                dx, dy = (0, notches) if message == WM_MOUSEWHEEL else (notches, 0)
                self._items.put(WheelTurned(t_ns, x, y, dx, dy))

    def _hear_key(self, message: int, info: KeyInfo) -> None:
        if message not in KEYS or info.code in _NO_KEYS:
            return
        t_ns = self._clock.now_ns()
        self._look(t_ns)
        name = key_name(info.code)
        if info.is_altgr_shadow:
            self._has_altgr = True
            return
        # Where there is an AltGr, it is another key than Alt: pressed again, it must be that one.
        if name != "rightalt" or not self._has_altgr:
            name = _SIDES.get(name, name)
        self._items.put(KeyHeard(t_ns, name, KEYS[message], info.key_id))

    def _look(self, t_ns: int) -> None:
        """Note what has changed about the window; its owner's dialogs count as it, as far as keys go."""
        # Hooks look from their thread, and `read` from its own.
        with self._looking:
            self._note_window(t_ns)

    def _note_window(self, t_ns: int) -> None:
        if self._window_id is None or self._is_closed:
            return
        if not self._user32.IsWindow(self._window_id):
            self._is_closed = True
            self._items.put(WindowClosed(t_ns))
            return
        is_visible = bool(self._user32.IsWindowVisible(self._window_id)) and not self._user32.IsIconic(self._window_id)
        if is_visible != self._is_visible:
            self._is_visible = is_visible
            self._items.put(WindowShown(t_ns, is_visible))
        rect = self._ask_rect() if is_visible else None
        if rect is not None and rect != self._rect:
            self._rect = rect
            self._items.put(WindowMoved(t_ns, rect))
        is_inside = self._find_owner(self._user32.GetForegroundWindow()) == self._find_owner(self._window_id)
        focus: Focus = "inside" if is_inside else "outside"
        if focus != self._focus:
            self._focus = focus
            self._items.put(FocusChanged(t_ns, focus))

    def _ask_rect(self) -> Rect | None:
        client, origin = wintypes.RECT(), wintypes.POINT(0, 0)
        self._user32.GetClientRect(self._window_id, ctypes.byref(client))
        self._user32.ClientToScreen(self._window_id, ctypes.byref(origin))
        width, height = client.right - client.left, client.bottom - client.top
        return Rect(origin.x, origin.y, width, height) if width > 0 and height > 0 else None

    def _find_owner(self, window: int) -> int:
        return int(self._user32.GetAncestor(window, _GA_ROOTOWNER) or 0) if window else 0
