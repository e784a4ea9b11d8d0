"""Injecting input on Windows through SendInput: scan codes, as games read them, and places on the virtual desktop.

Every event carries a mark of ours, by which `hooks` knows it. Written against the documentation and tested with a
stand-in for user32; it has not been run on Windows.
https://learn.microsoft.com/en-us/windows/win32/api/winuser/nf-winuser-sendinput
"""

from __future__ import annotations

import ctypes
from ctypes import wintypes
from dataclasses import replace
from typing import Any, ClassVar

from vlm_agent.actions.placement import Rect
from vlm_agent.desktop.win32_hooks import MAPVK_VK_TO_VSC_EX
from vlm_agent.errors import ConfigError, DataError
from vlm_agent.executors.devices import Control, DeviceLostError
from vlm_agent.sessions.keys import FIRST_FOREIGN, key_code

OUR_MARK = 0x564C4D41
"""Stands in `dwExtraInfo` of what we inject."""

_INPUT_MOUSE, _INPUT_KEYBOARD = 0, 1
_MOVE, _ABSOLUTE, _VIRTUALDESK, _WHEEL, _HWHEEL = 0x0001, 0x8000, 0x4000, 0x0800, 0x1000
_BUTTONS = {
    "left": (0x0002, 0x0004, 0),
    "right": (0x0008, 0x0010, 0),
    "middle": (0x0020, 0x0040, 0),
    "x1": (0x0080, 0x0100, 1),
    "x2": (0x0080, 0x0100, 2),
}
"""Button -> flags that press and release it, and which of the extra ones it is."""
_EXTENDEDKEY, _KEYUP, _SCANCODE = 0x0001, 0x0002, 0x0008
_WHEEL_DELTA = 120
_SLEEP = 0x5F
"""A key that takes the machine away from its person; it is never pressed."""
_EXTENDED_PREFIX = 0xE0
_LEFT = {"shift": "leftshift", "ctrl": "leftctrl", "alt": "leftalt"}
_SPAN = 65_536


class _Mouse(ctypes.Structure):
    _fields_: ClassVar = [
        ("dx", wintypes.LONG),
        ("dy", wintypes.LONG),
        ("mouseData", wintypes.DWORD),
        ("dwFlags", wintypes.DWORD),
        ("time", wintypes.DWORD),
        ("dwExtraInfo", ctypes.c_size_t),
    ]


class _Keyboard(ctypes.Structure):
    _fields_: ClassVar = [
        ("wVk", wintypes.WORD),
        ("wScan", wintypes.WORD),
        ("dwFlags", wintypes.DWORD),
        ("time", wintypes.DWORD),
        ("dwExtraInfo", ctypes.c_size_t),
    ]


class _Either(ctypes.Union):
    _fields_: ClassVar = [("mi", _Mouse), ("ki", _Keyboard)]


class Input(ctypes.Structure):
    """The INPUT structure."""

    _fields_: ClassVar = [("type", wintypes.DWORD), ("either", _Either)]


class SendInputDevice:
    """Injects into this session's desktop."""

    def __init__(self, user32: Any = None, screen: Rect | None = None) -> None:
        """Take the system's library and the virtual desktop, or stand-ins for them."""
        from vlm_agent.desktop.win32 import Win32Desktop, load_user32

        self._user32 = user32 if user32 is not None else load_user32()
        self._held: dict[Control, int] = {}
        """Scan code with which each key was pressed: it stays that whatever the layout becomes."""
        self._screen = screen if screen is not None else Win32Desktop(self._user32).screen

    def find_missing(self, controls: list[Control]) -> list[Control]:
        """Return those of the controls that this keyboard layout or mouse does not have."""
        return [control for control in controls if not self._is_known(control)]

    def find(self, control: Control) -> Control:
        """Return a control with its scan code: the one it was pressed with, else that of the moment."""
        if control.kind == "button":
            return control
        return replace(control, code=self._held.get(control) or self._find_scan(control.name))

    def list_names(self, control: Control) -> frozenset[str]:
        """Know no other name: a virtual key is one key."""
        return frozenset((control.name,))

    def move(self, x: int, y: int) -> None:
        """Bring the pointer to a point of the virtual desktop."""
        dx = scale_absolute(x - self._screen.x, self._screen.width)
        dy = scale_absolute(y - self._screen.y, self._screen.height)
        self._send_mouse(_MOVE | _ABSOLUTE | _VIRTUALDESK, dx, dy)

    def move_by(self, dx: int, dy: int) -> None:
        """Move the mouse by an offset."""
        self._send_mouse(_MOVE, dx, dy)

    def press(self, control: Control) -> None:
        """Press down."""
        self._change(control, is_down=True)

    def release(self, control: Control) -> None:
        """Let go."""
        self._change(control, is_down=False)

    def turn(self, dx: int, dy: int) -> None:
        """Turn the wheel by notches."""
        for notches, flag in ((dy, _WHEEL), (dx, _HWHEEL)):
            if notches:
                self._send_mouse(flag, data=notches * _WHEEL_DELTA)

    def close(self) -> None:
        """Hold nothing."""

    def _is_known(self, control: Control) -> bool:
        if control.kind == "button":
            return control.name in _BUTTONS
        return self._find_scan(control.name) is not None

    def _find_scan(self, name: str) -> int | None:
        try:
            code = key_code(_LEFT.get(name, name))
        except DataError:
            return None
        if code >= FIRST_FOREIGN or code == _SLEEP:
            return None
        return self._user32.MapVirtualKeyW(code, MAPVK_VK_TO_VSC_EX) or None

    def _change(self, control: Control, *, is_down: bool) -> None:
        if control.kind == "button":
            *flags_of, number = _BUTTONS[control.name]
            self._send_mouse(flags_of[0 if is_down else 1], data=number)
            return
        pressed = self._held.pop(control, control.code)
        scan = self._find_scan(control.name) if is_down or pressed is None else pressed
        if scan is None:
            raise ConfigError(f"this desktop has no {control}")
        is_shared = scan in self._held.values()
        if is_down:
            self._held[control] = scan
        if is_shared:  # two names of one key hold it together
            return
        flags = _SCANCODE | (0 if is_down else _KEYUP) | (_EXTENDEDKEY if scan >> 8 == _EXTENDED_PREFIX else 0)
        event = Input(type=_INPUT_KEYBOARD)
        event.either.ki = _Keyboard(0, scan & 0xFF, flags, 0, OUR_MARK)
        self._send(event)

    def _send_mouse(self, flags: int, dx: int = 0, dy: int = 0, data: int = 0) -> None:
        event = Input(type=_INPUT_MOUSE)
        event.either.mi = _Mouse(dx, dy, data & 0xFFFF_FFFF, flags, 0, OUR_MARK)
        self._send(event)

    def _send(self, event: Input) -> None:
        # Refused where the desktop is locked, or the window belongs to a process with more rights.
        if self._user32.SendInput(1, ctypes.byref(event), ctypes.sizeof(Input)) != 1:
            raise DeviceLostError("Windows did not take the input; the window may belong to an administrator's program")


def scale_absolute(offset_px: int, size_px: int) -> int:
    """Return the coordinate, 0 to 65535, that Windows brings to a column or row of the virtual desktop.

    Windows multiplies by the size and divides by 65536, rounded down; the smallest one that gives the pixel is taken.
    """
    return (offset_px * _SPAN + size_px - 1) // size_px
