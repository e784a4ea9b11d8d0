"""Windows' low-level hooks and raw input, through ctypes.

A hook is called in the thread that set it, while that thread waits for messages, and the whole desktop's input waits
for the hook: callbacks only note what came. Structures and numbers: Windows SDK, winuser.h.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Callable
from ctypes import wintypes
from typing import Any, NamedTuple

from vlm_agent.errors import ConfigError

WM_INPUT, WM_QUIT = 0x00FF, 0x0012
_WH_KEYBOARD_LL, _WH_MOUSE_LL = 13, 14
_HWND_MESSAGE = -3
_RIDEV_INPUTSINK = 0x100
_RID_INPUT = 0x10000003
_GENERIC_DESKTOP, _MOUSE = 1, 2
_MOUSE_MOVE_ABSOLUTE = 1
_PER_MONITOR_AWARE = -4

# On other systems only the tests come here, and any calling convention does.
_CALLBACK = getattr(ctypes, "WINFUNCTYPE", ctypes.CFUNCTYPE)(
    ctypes.c_ssize_t, ctypes.c_int, wintypes.WPARAM, wintypes.LPARAM
)


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


class Libraries(NamedTuple):
    """The two libraries of Windows that are called."""

    user32: Any
    """Windows, input, messages."""
    kernel32: Any
    """Threads and modules."""


def load_libraries() -> Libraries:
    """Load both and say what is passed to them: without that, ctypes cuts handles and addresses to 32 bits.

    Raises:
        ConfigError: this is not Windows.
    """
    if sys.platform != "win32":
        raise ConfigError(f"expected Windows, this is {sys.platform}")
    # Loaded anew, because signatures of `ctypes.windll` are everybody's.
    user32, kernel32 = ctypes.WinDLL("user32"), ctypes.WinDLL("kernel32")
    word, handle = ctypes.c_int, ctypes.c_void_p
    kernel32.GetModuleHandleW.argtypes, kernel32.GetModuleHandleW.restype = [wintypes.LPCWSTR], handle
    signatures: dict[str, tuple[Any, list[Any]]] = {
        "SetWindowsHookExW": (handle, [word, _CALLBACK, handle, wintypes.DWORD]),
        "UnhookWindowsHookEx": (wintypes.BOOL, [handle]),
        "CallNextHookEx": (ctypes.c_ssize_t, [handle, word, wintypes.WPARAM, wintypes.LPARAM]),
        "CreateWindowExW": (
            handle,
            [wintypes.DWORD, wintypes.LPCWSTR, wintypes.LPCWSTR, wintypes.DWORD, *[word] * 4, *[handle] * 4],
        ),
        "PostThreadMessageW": (wintypes.BOOL, [wintypes.DWORD, wintypes.UINT, wintypes.WPARAM, wintypes.LPARAM]),
        "SetProcessDpiAwarenessContext": (wintypes.BOOL, [handle]),
        "GetForegroundWindow": (handle, []),
        "GetAncestor": (handle, [handle, wintypes.UINT]),
        "WindowFromPoint": (handle, [wintypes.POINT]),
        "IsWindow": (wintypes.BOOL, [handle]),
        "IsWindowVisible": (wintypes.BOOL, [handle]),
        "IsIconic": (wintypes.BOOL, [handle]),
        "GetClientRect": (wintypes.BOOL, [handle, handle]),
        "ClientToScreen": (wintypes.BOOL, [handle, handle]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(user32, name)
        function.restype, function.argtypes = result, arguments
    return Libraries(user32, kernel32)


class HookThread:
    """Hears mouse, keyboard and raw motion of the whole desktop in a thread of its own."""

    def __init__(
        self,
        libraries: Libraries,
        *,
        on_mouse: Callable[[int, MouseInfo], None],
        on_key: Callable[[int, KeyInfo], None],
        on_raw: Callable[[int, int], None],
    ) -> None:
        """Set the hooks.

        Args:
            libraries: what is called.
            on_mouse: given the message's number and what it tells.
            on_key: the same for a key.
            on_raw: given counts right and down.

        Raises:
            ConfigError: Windows refuses them.
        """
        self._user32, self._kernel32 = libraries
        self._on_raw = on_raw
        # Kept, because Windows holds only their addresses.
        self._mouse_hook = self._make_hook(MouseInfo, on_mouse)
        self._key_hook = self._make_hook(KeyInfo, on_key)
        self._refused = ""
        self._is_ready = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="hooks", daemon=True)
        self._thread.start()
        self._is_ready.wait(5)
        if self._refused:
            raise ConfigError(self._refused)

    def stop(self) -> None:
        """Take the hooks away."""
        self._user32.PostThreadMessageW(self._thread_id, WM_QUIT, 0, 0)
        self._thread.join(5)

    def _make_hook(self, kind: type[Any], tell: Callable[[int, Any], None]) -> Any:
        def hook(code: int, message: int, address: int) -> int:
            if code >= 0:
                tell(message, kind.from_address(address))
            return int(self._user32.CallNextHookEx(None, code, message, address))

        return _CALLBACK(hook)

    def _listen(self) -> None:
        user32 = self._user32
        self._thread_id = self._kernel32.GetCurrentThreadId()
        # Points must be device pixels, as pictures are. Refused where the process has said so before.
        user32.SetProcessDpiAwarenessContext(ctypes.c_void_p(_PER_MONITOR_AWARE))
        module = self._kernel32.GetModuleHandleW(None)
        hooks = [
            user32.SetWindowsHookExW(kind, callback, module, 0)
            for kind, callback in ((_WH_MOUSE_LL, self._mouse_hook), (_WH_KEYBOARD_LL, self._key_hook))
        ]
        if not all(hooks):
            self._refused = (
                "Windows refuses to tell mouse and keyboard to this program;"
                " run it on the desktop itself, and as administrator if the game is"
            )
        self._subscribe_raw()
        self._is_ready.set()
        message = wintypes.MSG()
        while not self._refused and user32.GetMessageW(ctypes.byref(message), None, 0, 0) > 0:
            if message.message == WM_INPUT:
                self._read_raw(message.lParam)
        for hook in filter(None, hooks):
            user32.UnhookWindowsHookEx(hook)

    def _subscribe_raw(self) -> None:
        window = self._user32.CreateWindowExW(0, "STATIC", None, 0, 0, 0, 0, 0, _HWND_MESSAGE, None, None, None)
        device = RawDevice(_GENERIC_DESKTOP, _MOUSE, _RIDEV_INPUTSINK, window)
        self._user32.RegisterRawInputDevices(ctypes.byref(device), 1, ctypes.sizeof(RawDevice))

    def _read_raw(self, handle: int) -> None:
        raw = RawMouse()
        size = wintypes.UINT(ctypes.sizeof(raw))
        read = self._user32.GetRawInputData(
            ctypes.c_void_p(handle), _RID_INPUT, ctypes.byref(raw), ctypes.byref(size), ctypes.sizeof(RawHeader)
        )
        if 0 < read <= ctypes.sizeof(raw) and not raw.flags & _MOUSE_MOVE_ABSOLUTE and (raw.last_x or raw.last_y):
            self._on_raw(raw.last_x, raw.last_y)
