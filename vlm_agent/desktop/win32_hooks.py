"""Windows' low-level hooks and raw input, through ctypes: the input of the whole desktop, whomever it is for.

A hook is called in the thread that set it, while that thread waits for messages, and the whole desktop's input waits
for the hook: callbacks only note what came. Structures and numbers: Windows SDK, winuser.h. Tested with stand-ins for
the system; it has not been run on Windows.
https://learn.microsoft.com/en-us/windows/win32/winmsg/lowlevelkeyboardproc
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from ctypes import wintypes
from typing import Any

from vlm_agent.desktop.win32 import HookProc, load_kernel32, load_user32
from vlm_agent.errors import ConfigError
from vlm_agent.sessions.keys import FIRST_FOREIGN, key_code

WM_INPUT, WM_QUIT = 0x00FF, 0x0012
WM_MOUSEMOVE, WM_MOUSEWHEEL, WM_MOUSEHWHEEL = 0x0200, 0x020A, 0x020E
KEYS = {0x0100: True, 0x0104: True, 0x0101: False, 0x0105: False}
"""Message of a key -> whether it is down; the second of each is sent while Alt is held."""
BUTTONS = {
    0x0201: ("left", True),
    0x0202: ("left", False),
    0x0204: ("right", True),
    0x0205: ("right", False),
    0x0207: ("middle", True),
    0x0208: ("middle", False),
    0x020B: ("x", True),
    0x020C: ("x", False),
}
"""Message of a button -> its name and whether it is down; which "x" it is stands in `MouseInfo.data`."""
_EXTENDED, _PLACES, _ALTGR_SHADOW = 1, 1 << 16, 0x21D
MAPVK_VK_TO_VSC_EX = 4
_WH_KEYBOARD_LL, _WH_MOUSE_LL = 13, 14
_HWND_MESSAGE = -3
_RIDEV_INPUTSINK = 0x100
_RID_INPUT = 0x10000003
_GENERIC_DESKTOP, _MOUSE = 1, 2
_MOUSE_MOVE_ABSOLUTE = 1
_PATIENCE_S = 5.0


class MouseInfo(ctypes.Structure):
    """MSLLHOOKSTRUCT."""

    _fields_ = (
        ("x", wintypes.LONG),
        ("y", wintypes.LONG),
        ("data", wintypes.DWORD),
        ("flags", wintypes.DWORD),
        ("time_ms", wintypes.DWORD),
        ("extra", ctypes.c_size_t),
    )


class KeyInfo(ctypes.Structure):
    """KBDLLHOOKSTRUCT."""

    _fields_ = (
        ("code", wintypes.DWORD),
        ("scan_code", wintypes.DWORD),
        ("flags", wintypes.DWORD),
        ("time_ms", wintypes.DWORD),
        ("extra", ctypes.c_size_t),
    )

    @property
    def key_id(self) -> int:
        """Return which key it is: its place, since two may have one code, and one another code after it was pressed."""
        place = self.scan_code | (self.flags & _EXTENDED) << 8
        return _PLACES | place if self.scan_code else self.code

    @property
    def is_altgr_shadow(self) -> bool:
        """Return whether Windows made up a left Ctrl, as it does before each AltGr."""
        return self.scan_code == _ALTGR_SHADOW


class RawDevice(ctypes.Structure):
    """RAWINPUTDEVICE."""

    _fields_ = (
        ("usage_page", wintypes.USHORT),
        ("usage", wintypes.USHORT),
        ("flags", wintypes.DWORD),
        ("target", wintypes.HWND),
    )


class RawHeader(ctypes.Structure):
    """RAWINPUTHEADER."""

    _fields_ = (
        ("kind", wintypes.DWORD),
        ("size", wintypes.DWORD),
        ("device", wintypes.HANDLE),
        ("wparam", wintypes.WPARAM),
    )


class RawMouse(ctypes.Structure):
    """RAWINPUT of a mouse."""

    _fields_ = (
        ("header", RawHeader),
        ("flags", wintypes.USHORT),
        ("buttons", wintypes.ULONG),
        ("raw_buttons", wintypes.ULONG),
        ("last_x", wintypes.LONG),
        ("last_y", wintypes.LONG),
        ("extra", wintypes.ULONG),
    )


def has_key(user32: Any, name: str) -> bool:
    """Return whether the keyboard layout has a key of a canonical name."""
    code = key_code(name)
    return code < FIRST_FOREIGN and bool(user32.MapVirtualKeyW(code, MAPVK_VK_TO_VSC_EX))


class HookThread:
    """Hears mouse and keyboard of the whole desktop, and raw motion where asked, in a thread of its own."""

    def __init__(
        self,
        *,
        on_mouse: Callable[[int, MouseInfo], None],
        on_key: Callable[[int, KeyInfo], None],
        on_raw: Callable[[int, int], None] | None = None,
        refusal: str,
        user32: Any = None,
        kernel32: Any = None,
    ) -> None:
        """Set the hooks.

        Args:
            on_mouse: given the message's number and what it tells; called in that thread, as the others are.
            on_key: the same for a key.
            on_raw: given counts right and down; None hears no raw motion.
            refusal: what to tell a person where Windows refuses the hooks.
            user32: the system's library, or a stand-in.
            kernel32: the same.

        Raises:
            ConfigError: Windows refuses them, or this is not Windows.
        """
        self._user32 = user32 if user32 is not None else load_user32()
        self._kernel32 = kernel32 if kernel32 is not None else load_kernel32()
        self._on_raw = on_raw
        # Kept, because Windows holds only their addresses.
        self._procedures = {
            _WH_MOUSE_LL: self._make_procedure(MouseInfo, on_mouse),
            _WH_KEYBOARD_LL: self._make_procedure(KeyInfo, on_key),
        }
        self.on_lost: Callable[[], None] = lambda: None
        """Called when it hears no more without having been closed."""
        self._thread_id = 0
        self._is_set = self._is_closing = False
        self._is_ready = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="hooks", daemon=True)
        self._thread.start()
        if not self._is_ready.wait(_PATIENCE_S) or not self._is_set:
            self.close()
            raise ConfigError(refusal)

    @property
    def is_alive(self) -> bool:
        """Return whether it still hears."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Take the hooks away; harmless the second time."""
        self._is_closing = True
        self._user32.PostThreadMessageW(self._thread_id, WM_QUIT, 0, 0)
        self._thread.join(_PATIENCE_S)

    def _make_procedure(self, kind: type[Any], tell: Callable[[int, Any], None]) -> Any:
        def take(code: int, message: int, address: int) -> int:
            if code >= 0:
                tell(message, kind.from_address(address))
            return int(self._user32.CallNextHookEx(None, code, message, address))

        return HookProc(take)

    def _listen(self) -> None:
        self._thread_id = self._kernel32.GetCurrentThreadId()
        module = self._kernel32.GetModuleHandleW(None)
        hooks = [self._user32.SetWindowsHookExW(kind, call, module, 0) for kind, call in self._procedures.items()]
        self._is_set = all(hooks) and not self._is_closing
        if self._on_raw is not None:
            self._subscribe_raw()
        self._is_ready.set()
        try:
            self._take_messages()
        finally:
            for hook in filter(None, hooks):
                self._user32.UnhookWindowsHookEx(hook)
            if not self._is_closing:
                self.on_lost()

    def _take_messages(self) -> None:
        message = wintypes.MSG()
        while self._is_set and self._user32.GetMessageW(ctypes.byref(message), None, 0, 0) > 0:
            if message.message == WM_INPUT and self._on_raw is not None:
                self._read_raw(message.lParam, self._on_raw)

    def _subscribe_raw(self) -> None:
        window = self._user32.CreateWindowExW(0, "STATIC", None, 0, 0, 0, 0, 0, _HWND_MESSAGE, None, None, None)
        device = RawDevice(_GENERIC_DESKTOP, _MOUSE, _RIDEV_INPUTSINK, window)
        self._user32.RegisterRawInputDevices(ctypes.byref(device), 1, ctypes.sizeof(RawDevice))

    def _read_raw(self, handle: int, tell: Callable[[int, int], None]) -> None:
        raw = RawMouse()
        size = wintypes.UINT(ctypes.sizeof(raw))
        read = self._user32.GetRawInputData(
            ctypes.c_void_p(handle), _RID_INPUT, ctypes.byref(raw), ctypes.byref(size), ctypes.sizeof(RawHeader)
        )
        if 0 < read <= ctypes.sizeof(raw) and not raw.flags & _MOUSE_MOVE_ABSOLUTE and (raw.last_x or raw.last_y):
            tell(raw.last_x, raw.last_y)
