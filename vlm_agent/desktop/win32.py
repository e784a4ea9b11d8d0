"""A Windows desktop: its windows, who has the keyboard, where the pointer is.

All places are device pixels: the process says that it knows of the display's scale. Written against the functions'
documentation and tested with a stand-in for user32; it has not been run on Windows.
Functions: https://learn.microsoft.com/en-us/windows/win32/api/winuser/
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from ctypes import wintypes
from pathlib import PureWindowsPath
from typing import Any

from vlm_agent.actions.placement import Rect
from vlm_agent.desktop.types import Obstacle, Place, WindowInfo
from vlm_agent.errors import ConfigError

_SM_XVIRTUALSCREEN, _SM_YVIRTUALSCREEN, _SM_CXVIRTUALSCREEN, _SM_CYVIRTUALSCREEN = 76, 77, 78, 79
_GA_ROOT, _GA_ROOTOWNER = 2, 3
_PROCESS_QUERY_LIMITED_INFORMATION = 0x1000
_PER_MONITOR_AWARE_V2 = -4
_MAX_CHARS = 1024
# On other systems only the tests come here, and any calling convention does.
_make_callback: Any = getattr(ctypes, "WINFUNCTYPE", ctypes.CFUNCTYPE)
EnumWindowsProc: Any = _make_callback(wintypes.BOOL, wintypes.HWND, wintypes.LPARAM)
"""What EnumWindows calls for each window."""
HookProc: Any = _make_callback(ctypes.c_ssize_t, ctypes.c_int, wintypes.WPARAM, wintypes.LPARAM)
"""What a hook of SetWindowsHookExW is."""

_Signatures = dict[str, tuple[Any, list[Any]]]
"""Function -> type of its result, types of its arguments."""
_PLACE = [ctypes.c_int] * 4
_WINDOWS: _Signatures = {
    "EnumWindows": (wintypes.BOOL, [EnumWindowsProc, wintypes.LPARAM]),
    "IsWindow": (wintypes.BOOL, [wintypes.HWND]),
    "IsWindowVisible": (wintypes.BOOL, [wintypes.HWND]),
    "IsIconic": (wintypes.BOOL, [wintypes.HWND]),
    "GetWindowTextW": (ctypes.c_int, [wintypes.HWND, wintypes.LPWSTR, ctypes.c_int]),
    "GetClientRect": (wintypes.BOOL, [wintypes.HWND, ctypes.POINTER(wintypes.RECT)]),
    "ClientToScreen": (wintypes.BOOL, [wintypes.HWND, ctypes.POINTER(wintypes.POINT)]),
    "GetWindowThreadProcessId": (wintypes.DWORD, [wintypes.HWND, ctypes.POINTER(wintypes.DWORD)]),
    "GetForegroundWindow": (wintypes.HWND, []),
    "WindowFromPoint": (wintypes.HWND, [wintypes.POINT]),
    "GetAncestor": (wintypes.HWND, [wintypes.HWND, wintypes.UINT]),
    "GetCursorPos": (wintypes.BOOL, [ctypes.POINTER(wintypes.POINT)]),
    "GetSystemMetrics": (ctypes.c_int, [ctypes.c_int]),
    "SetProcessDpiAwarenessContext": (wintypes.BOOL, [wintypes.HANDLE]),
}
_INPUT: _Signatures = {
    "SetWindowsHookExW": (wintypes.HHOOK, [ctypes.c_int, HookProc, wintypes.HINSTANCE, wintypes.DWORD]),
    "UnhookWindowsHookEx": (wintypes.BOOL, [wintypes.HHOOK]),
    "CallNextHookEx": (ctypes.c_ssize_t, [wintypes.HHOOK, ctypes.c_int, wintypes.WPARAM, wintypes.LPARAM]),
    "GetMessageW": (ctypes.c_int, [ctypes.POINTER(wintypes.MSG), wintypes.HWND, wintypes.UINT, wintypes.UINT]),
    "PostThreadMessageW": (wintypes.BOOL, [wintypes.DWORD, wintypes.UINT, wintypes.WPARAM, wintypes.LPARAM]),
    "CreateWindowExW": (
        wintypes.HWND,
        [wintypes.DWORD, wintypes.LPCWSTR, wintypes.LPCWSTR, wintypes.DWORD, *_PLACE, *[wintypes.HANDLE] * 4],
    ),
    "RegisterRawInputDevices": (wintypes.BOOL, [ctypes.c_void_p, wintypes.UINT, wintypes.UINT]),
    "GetRawInputData": (
        wintypes.UINT,
        [wintypes.HANDLE, wintypes.UINT, ctypes.c_void_p, ctypes.POINTER(wintypes.UINT), wintypes.UINT],
    ),
    "SendInput": (wintypes.UINT, [wintypes.UINT, ctypes.c_void_p, ctypes.c_int]),
    "MapVirtualKeyW": (wintypes.UINT, [wintypes.UINT, wintypes.UINT]),
}
_PROCESSES: _Signatures = {
    "OpenProcess": (wintypes.HANDLE, [wintypes.DWORD, wintypes.BOOL, wintypes.DWORD]),
    "CloseHandle": (wintypes.BOOL, [wintypes.HANDLE]),
    "QueryFullProcessImageNameW": (
        wintypes.BOOL,
        [wintypes.HANDLE, wintypes.DWORD, wintypes.LPWSTR, ctypes.POINTER(wintypes.DWORD)],
    ),
    "GetCurrentThreadId": (wintypes.DWORD, []),
    "GetModuleHandleW": (wintypes.HMODULE, [wintypes.LPCWSTR]),
}


def load_library(name: str) -> Any:
    """Return a system library, loaded anew because the signatures of `ctypes.windll` are everybody's.

    Raises:
        ConfigError: this is not Windows.
    """
    if sys.platform != "win32":
        raise ConfigError(f"expected Windows, this is {sys.platform}")
    return ctypes.WinDLL(name)


def load_user32() -> Any:
    """Return user32 with the types of all its functions that are called anywhere; handles are 64 bits wide."""
    return _declare(load_library("user32"), _WINDOWS | _INPUT)


def load_kernel32() -> Any:
    """Return kernel32, the same."""
    return _declare(load_library("kernel32"), _PROCESSES)


def use_device_pixels(user32: Any) -> None:
    """Have places told in the pixels of the screen and of its pictures, whatever the display's scale."""
    # Refused where the process has said so before.
    user32.SetProcessDpiAwarenessContext(_PER_MONITOR_AWARE_V2)


def _declare(library: Any, signatures: _Signatures) -> Any:
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


class Win32Desktop:
    """Answers questions about the windows of this session."""

    def __init__(self, user32: Any = None, kernel32: Any = None) -> None:
        """Take the system's libraries, or stand-ins for them."""
        self._user32 = user32 if user32 is not None else load_user32()
        self._kernel32 = kernel32 if kernel32 is not None else load_kernel32()
        self._apps: dict[int, str] = {}
        use_device_pixels(self._user32)

    @property
    def screen(self) -> Rect:
        """All monitors."""
        metric: Callable[[int], int] = self._user32.GetSystemMetrics
        return Rect(
            metric(_SM_XVIRTUALSCREEN),
            metric(_SM_YVIRTUALSCREEN),
            metric(_SM_CXVIRTUALSCREEN),
            metric(_SM_CYVIRTUALSCREEN),
        )

    def list_windows(self) -> list[WindowInfo]:
        """Return the top-level windows that can be seen, the topmost last."""
        handles: list[int] = []

        def add(handle: int | None, _: int) -> int:
            handles.append(handle or 0)
            return 1

        self._user32.EnumWindows(EnumWindowsProc(add), 0)
        windows = [self.describe(handle) for handle in reversed(handles)]  # they come topmost first
        return [window for window in windows if window is not None]

    def describe(self, window_id: int) -> WindowInfo | None:
        """Return how a window is now; None where it is closed, hidden or minimised."""
        if not self._user32.IsWindowVisible(window_id) or self._user32.IsIconic(window_id):
            return None
        area, origin = wintypes.RECT(), wintypes.POINT(0, 0)
        is_there = self._user32.GetClientRect(window_id, ctypes.byref(area))
        if not is_there or not self._user32.ClientToScreen(window_id, ctypes.byref(origin)):
            return None
        if area.right < 1 or area.bottom < 1:
            return None
        title = ctypes.create_unicode_buffer(_MAX_CHARS)
        self._user32.GetWindowTextW(window_id, title, _MAX_CHARS)
        pid = wintypes.DWORD(0)
        self._user32.GetWindowThreadProcessId(window_id, ctypes.byref(pid))
        rect = Rect(origin.x, origin.y, area.right, area.bottom)
        return WindowInfo(window_id, title.value, rect, self._find_app(pid.value), pid.value or None)

    def exists(self, window_id: int) -> bool:
        """Return whether a window is there at all, shown or not."""
        return bool(self._user32.IsWindow(window_id))

    def find_focused(self) -> int | None:
        """Return the top-level window that the keyboard goes to; None where no window has it."""
        return self._user32.GetForegroundWindow() or None

    def find_at(self, x: int, y: int) -> int | None:
        """Return the topmost top-level window at a point of the screen."""
        handle = self._user32.WindowFromPoint(wintypes.POINT(x, y))
        return (self._user32.GetAncestor(handle, _GA_ROOT) or None) if handle else None

    def read_pointer(self) -> tuple[int, int]:
        """Return where the pointer is on the screen."""
        point = wintypes.POINT(0, 0)
        self._user32.GetCursorPos(ctypes.byref(point))
        return point.x, point.y

    def close(self) -> None:
        """Hold nothing."""

    def _find_app(self, pid: int) -> str:
        if pid not in self._apps:
            self._apps[pid] = self._read_app(pid)
        return self._apps[pid]

    def _read_app(self, pid: int) -> str:
        process = self._kernel32.OpenProcess(_PROCESS_QUERY_LIMITED_INFORMATION, False, pid)
        if not process:
            return ""
        try:
            name, length = ctypes.create_unicode_buffer(_MAX_CHARS), wintypes.DWORD(_MAX_CHARS)
            if not self._kernel32.QueryFullProcessImageNameW(process, 0, name, ctypes.byref(length)):
                return ""
            return PureWindowsPath(name.value).name
        finally:
            self._kernel32.CloseHandle(process)


class Win32Reach:
    """Knows who gets what is pressed; see `Reach`.

    No program can take another's keys here as a grab does; what locks the screen has a desktop of its own, where
    SendInput is refused.
    """

    def __init__(self, user32: Any = None) -> None:
        """Take the system's library, or a stand-in for it."""
        self._user32 = user32 if user32 is not None else load_user32()

    @property
    def client(self) -> int | None:
        """Nothing: it holds nothing still."""
        return None

    def find_obstacle(self, window: WindowInfo, place: Place, code: int | None = None) -> Obstacle | None:
        """Return what keeps input from a window; a menu or dialog that it owns is the window's.

        Which keys are hotkeys of other programs is told to nobody here.
        """
        if not self._is_part_of(self._user32.GetForegroundWindow(), window.window_id):
            return Obstacle.FOCUS
        if place is None:
            return None
        point = wintypes.POINT(0, 0) if place == "pointer" else wintypes.POINT(*place)
        if place == "pointer":
            self._user32.GetCursorPos(ctypes.byref(point))
        if not self._is_part_of(self._user32.WindowFromPoint(point), window.window_id):
            return Obstacle.COVERED
        return None

    def hold_still(self) -> AbstractContextManager[None]:
        """Do nothing: nobody can keep other programs from anything here."""
        return nullcontext()

    def close(self) -> None:
        """Hold nothing."""

    def _is_part_of(self, handle: int | None, window_id: int) -> bool:
        if not handle:
            return False
        ancestor = self._user32.GetAncestor
        return window_id in (ancestor(handle, _GA_ROOT), ancestor(handle, _GA_ROOTOWNER))
