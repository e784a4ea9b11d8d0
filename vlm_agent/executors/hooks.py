"""Hearing all input on Windows through low-level hooks; what we inject carries our mark.

A hook is called by the system before anything else gets the event, and must return at once. Written against the
documentation and tested with a stand-in for the system; it has not been run on Windows.
https://learn.microsoft.com/en-us/windows/win32/winmsg/lowlevelkeyboardproc
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable
from ctypes import wintypes
from typing import Any, ClassVar

from vlm_agent.errors import ConfigError
from vlm_agent.executors.limits import plain_key
from vlm_agent.executors.send_input import OUR_MARK
from vlm_agent.executors.watching import Signal
from vlm_agent.sessions.keys import key_name

_WH_KEYBOARD_LL, _WH_MOUSE_LL = 13, 14
_WM_QUIT = 0x0012
_KEY_DOWN = {0x0100: True, 0x0104: True, 0x0101: False, 0x0105: False}
_WM_MOUSEMOVE = 0x0200
_BUTTON_DOWN = {0x0201: (1, True), 0x0202: (1, False), 0x0204: (3, True), 0x0205: (3, False), 0x0207: (2, True)}
_BUTTON_DOWN |= {0x0208: (2, False), 0x020A: (4, True), 0x020E: (6, True), 0x020B: (8, True), 0x020C: (8, False)}
_READY_S = 5.0
_make_callback: Any = getattr(ctypes, "WINFUNCTYPE", ctypes.CFUNCTYPE)
_HookProc: Any = _make_callback(ctypes.c_ssize_t, ctypes.c_int, wintypes.WPARAM, wintypes.LPARAM)


class KeyboardEvent(ctypes.Structure):
    """KBDLLHOOKSTRUCT."""

    _fields_: ClassVar = [
        ("vkCode", wintypes.DWORD),
        ("scanCode", wintypes.DWORD),
        ("flags", wintypes.DWORD),
        ("time", wintypes.DWORD),
        ("dwExtraInfo", ctypes.c_size_t),
    ]


class MouseEvent(ctypes.Structure):
    """MSLLHOOKSTRUCT."""

    _fields_: ClassVar = [
        ("pt", wintypes.POINT),
        ("mouseData", wintypes.DWORD),
        ("flags", wintypes.DWORD),
        ("time", wintypes.DWORD),
        ("dwExtraInfo", ctypes.c_size_t),
    ]


def read_keyboard(message: int, event: KeyboardEvent) -> Signal | None:
    """Return what a keyboard event is; None for one that is neither a press nor a release."""
    is_down = _KEY_DOWN.get(message)
    if is_down is None:
        return None
    name = plain_key(key_name(event.vkCode))
    return Signal("key", event.vkCode, is_down, name=name, is_own=event.dwExtraInfo == OUR_MARK)


def read_mouse(message: int, event: MouseEvent) -> Signal | None:
    """Return what a mouse event is; None for one that is neither of a button nor a motion."""
    is_own = event.dwExtraInfo == OUR_MARK
    if message == _WM_MOUSEMOVE:
        return Signal("move", point=(event.pt.x, event.pt.y), is_own=is_own)
    button = _BUTTON_DOWN.get(message)
    return None if button is None else Signal("button", *button, is_own=is_own)


class HookListener:
    """Hears every key, button and motion, and which of them are our own."""

    def __init__(self, hear: Callable[[Signal, int], None], user32: Any = None, kernel32: Any = None) -> None:
        """Begin to hear in a thread of its own, as hooks need one that takes messages.

        Args:
            hear: takes each event and the time at which it was read; called in that thread.
            user32: the system's library, or a stand-in.
            kernel32: the same.

        Raises:
            ConfigError: the system does not let us hear.
        """
        from vlm_agent.desktop.win32 import load_kernel32, load_user32

        self._hear = hear
        self._user32 = _declare(load_user32()) if user32 is None else user32
        self._kernel32 = load_kernel32() if kernel32 is None else kernel32
        self._thread_id = 0
        self._is_set = False
        self._is_ready = threading.Event()
        self._is_closing = False
        self.on_lost: Callable[[], None] = lambda: None
        self._thread = threading.Thread(target=self._listen, name="listener", daemon=True)
        self._thread.start()
        if not self._is_ready.wait(_READY_S) or not self._is_set:
            raise ConfigError("Windows does not tell of input, so nobody could stop the agent; it is not used live")

    @property
    def is_alive(self) -> bool:
        """Return whether it still hears."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Stop hearing; harmless the second time."""
        self._is_closing = True
        self._user32.PostThreadMessageW(self._thread_id, _WM_QUIT, 0, 0)
        self._thread.join(_READY_S)

    def _listen(self) -> None:
        kinds: list[tuple[int, Any, Callable[[int, Any], Signal | None]]] = [
            (_WH_KEYBOARD_LL, KeyboardEvent, read_keyboard),
            (_WH_MOUSE_LL, MouseEvent, read_mouse),
        ]
        # The system keeps no reference: they must live as long as the hooks.
        procedures = [_HookProc(self._make_procedure(structure, read)) for _, structure, read in kinds]
        self._thread_id = self._kernel32.GetCurrentThreadId()
        hooks = [
            self._user32.SetWindowsHookExW(kind, procedure, None, 0)
            for (kind, _, _), procedure in zip(kinds, procedures, strict=True)
        ]
        self._is_set = all(hooks)
        self._is_ready.set()
        try:
            message = wintypes.MSG()
            while self._is_set and self._user32.GetMessageW(ctypes.byref(message), None, 0, 0) > 0:
                pass
        finally:
            for hook in filter(None, hooks):
                self._user32.UnhookWindowsHookEx(hook)
            if not self._is_closing:
                self.on_lost()

    def _make_procedure(
        self, structure: Any, read: Callable[[int, Any], Signal | None]
    ) -> Callable[[int, int, int], int]:
        def take(code: int, message: int, address: int) -> int:
            if code >= 0:
                signal = read(message, structure.from_address(address))
                if signal is not None:
                    self._hear(signal, time.perf_counter_ns())
            result: int = self._user32.CallNextHookEx(None, code, message, address)
            return result

        return take


def _declare(user32: Any) -> Any:
    user32.SetWindowsHookExW.restype = wintypes.HHOOK
    user32.SetWindowsHookExW.argtypes = [ctypes.c_int, _HookProc, wintypes.HINSTANCE, wintypes.DWORD]
    user32.CallNextHookEx.restype = ctypes.c_ssize_t
    user32.CallNextHookEx.argtypes = [wintypes.HHOOK, ctypes.c_int, wintypes.WPARAM, wintypes.LPARAM]
    user32.UnhookWindowsHookEx.argtypes = [wintypes.HHOOK]
    user32.GetMessageW.argtypes = [ctypes.POINTER(wintypes.MSG), wintypes.HWND, wintypes.UINT, wintypes.UINT]
    user32.PostThreadMessageW.argtypes = [wintypes.DWORD, wintypes.UINT, wintypes.WPARAM, wintypes.LPARAM]
    return user32
