"""Windows' hooks through a stand-in for user32 that calls them as Windows does: with numbers and addresses."""

from __future__ import annotations

import ctypes
import queue
import threading
from collections.abc import Callable, Iterator
from ctypes import wintypes
from typing import Any

import pytest

from vlm_agent.actions.events import ButtonChanged, KeyChanged, PointerMoved, WheelTurned
from vlm_agent.actions.placement import Rect
from vlm_agent.desktop.win32_hooks import WM_INPUT, WM_QUIT, KeyInfo, MouseInfo, RawMouse
from vlm_agent.errors import ConfigError
from vlm_agent.recording.clock import SessionClock
from vlm_agent.recording.devices_win32 import Win32Devices
from vlm_agent.recording.stream import DeviceItem, FocusChanged, KeyHeard, WindowClosed, WindowMoved, WindowShown
from vlm_agent.sessions.types import RawMotion

GAME, BROWSER = 0x10A, 0x20B


class FakeUser32:
    """One window, hooks that a test calls, and a message queue."""

    def __init__(self) -> None:
        self.hooks: dict[int, Any] = {}
        self.messages: queue.Queue[tuple[int, int]] = queue.Queue()
        self.raw: dict[int, RawMouse] = {}
        self.foreground = GAME
        self.rect = (10, 20, 300, 200)
        self.is_there = self.is_visible = True
        self.is_refusing = False

    def SetWindowsHookExW(self, kind: int, callback: Any, module: Any, thread: int) -> int:  # noqa: N802
        self.hooks[kind] = callback
        return 0 if self.is_refusing else kind

    def UnhookWindowsHookEx(self, hook: int) -> int:  # noqa: N802
        del self.hooks[hook]
        return 1

    def CallNextHookEx(self, *_: Any) -> int:  # noqa: N802
        return 0

    def GetMessageW(self, message: Any, *_: Any) -> int:  # noqa: N802
        number, handle = self.messages.get()
        target = ctypes.cast(message, ctypes.POINTER(wintypes.MSG)).contents
        target.message, target.lParam = number, handle
        return int(number != WM_QUIT)

    def PostThreadMessageW(self, thread: int, number: int, *_: Any) -> None:  # noqa: N802
        assert thread == 77
        self.messages.put((number, 0))

    def GetRawInputData(self, handle: Any, command: int, target: Any, size: Any, header: int) -> int:  # noqa: N802
        ctypes.memmove(target, ctypes.byref(self.raw[handle.value]), ctypes.sizeof(RawMouse))
        return ctypes.sizeof(RawMouse)

    def GetForegroundWindow(self) -> int:  # noqa: N802
        return self.foreground

    def GetAncestor(self, window: int, _: int) -> int:  # noqa: N802
        return window

    def WindowFromPoint(self, point: wintypes.POINT) -> int:  # noqa: N802
        return GAME if point.x < 1000 else BROWSER

    def IsWindow(self, _: int) -> bool:  # noqa: N802
        return self.is_there

    def IsWindowVisible(self, _: int) -> bool:  # noqa: N802
        return self.is_visible

    def IsIconic(self, _: int) -> bool:  # noqa: N802
        return False

    def GetClientRect(self, _: int, target: Any) -> int:  # noqa: N802
        found = ctypes.cast(target, ctypes.POINTER(wintypes.RECT)).contents
        found.left, found.top, found.right, found.bottom = 0, 0, self.rect[2], self.rect[3]
        return 1

    def ClientToScreen(self, _: int, target: Any) -> int:  # noqa: N802
        found = ctypes.cast(target, ctypes.POINTER(wintypes.POINT)).contents
        found.x, found.y = self.rect[:2]
        return 1

    def __getattr__(self, name: str) -> Callable[..., int]:
        return lambda *_: 1


class FakeKernel32:
    def GetCurrentThreadId(self) -> int:  # noqa: N802
        return 77

    def GetModuleHandleW(self, _: Any) -> int:  # noqa: N802
        return 1


@pytest.fixture
def user32() -> FakeUser32:
    return FakeUser32()


@pytest.fixture
def devices(user32: FakeUser32) -> Iterator[Win32Devices]:
    devices = Win32Devices(SessionClock(), GAME, user32=user32, kernel32=FakeKernel32())
    yield devices
    devices.stop()
    assert not user32.hooks


def press_mouse(user32: FakeUser32, message: int, x: int, y: int, high: int = 0) -> None:
    info = MouseInfo(x, y, ctypes.c_uint32(high << 16).value, 0, 0, 0)
    assert user32.hooks[14](0, message, ctypes.addressof(info)) == 0


def press_key(user32: FakeUser32, message: int, code: int, scan_code: int = 0, flags: int = 0) -> None:
    info = KeyInfo(code, scan_code, flags, 0, 0)
    assert user32.hooks[13](0, message, ctypes.addressof(info)) == 0


def undated(items: list[DeviceItem]) -> list[tuple[type, tuple[object, ...]]]:
    """Return items without times, and keys without what tells those of one name apart."""
    kinds = [KeyChanged if isinstance(item, KeyChanged) else type(item) for item in items]
    fields = [
        [getattr(item, name) for name in kind.__dataclass_fields__ if name != "t_ns"]
        for kind, item in zip(kinds, items, strict=True)
    ]
    return [(kind, tuple(values)) for kind, values in zip(kinds, fields, strict=True)]


def test_every_message_becomes_its_event(user32: FakeUser32, devices: Win32Devices) -> None:
    devices.read(0)
    press_mouse(user32, 0x0200, -5, 7)
    for message in (0x0201, 0x0202, 0x0204, 0x0205, 0x0207, 0x0208):
        press_mouse(user32, message, 40, 50)
    press_mouse(user32, 0x020B, 40, 50, high=2)
    press_mouse(user32, 0x020A, 40, 50, high=120)
    press_mouse(user32, 0x020A, 40, 50, high=-240)
    press_mouse(user32, 0x020E, 40, 50, high=120)
    press_key(user32, 0x0100, 0xA0)
    press_key(user32, 0x0101, 0xA0)
    press_key(user32, 0x0104, 0x79)
    buttons = [(name, pressed) for name in ("left", "right", "middle") for pressed in (True, False)]
    items = devices.read(0)
    assert undated(items) == [
        (PointerMoved, (-5, 7)),
        *((ButtonChanged, (40, 50, name, pressed)) for name, pressed in buttons),
        (ButtonChanged, (40, 50, "x2", True)),
        (WheelTurned, (40, 50, 0, 1)),
        (WheelTurned, (40, 50, 0, -2)),
        (WheelTurned, (40, 50, 1, 0)),
        (KeyChanged, ("shift", True)),
        (KeyChanged, ("shift", False)),
        (KeyChanged, ("f10", True)),
    ]
    times_ns = [item.t_ns for item in items]
    assert times_ns == sorted(times_ns)


def test_a_fine_wheel_adds_up_to_notches(user32: FakeUser32, devices: Win32Devices) -> None:
    devices.read(0)
    for _ in range(5):
        press_mouse(user32, 0x020A, 1, 1, high=-48)
    assert undated(devices.read(0)) == [(WheelTurned, (1, 1, 0, -1)), (WheelTurned, (1, 1, 0, -1))]


def test_the_window_is_followed_in_order_with_what_is_typed(user32: FakeUser32, devices: Win32Devices) -> None:
    first = undated(devices.read(0))
    assert first == [(WindowMoved, (Rect(10, 20, 300, 200),)), (FocusChanged, ("inside",))]
    press_key(user32, 0x0100, ord("A"))
    user32.foreground = BROWSER
    press_key(user32, 0x0100, ord("B"))
    user32.foreground, user32.rect = GAME, (50, 60, 400, 300)
    press_mouse(user32, 0x0201, 55, 66)
    user32.is_visible = False
    press_key(user32, 0x0100, ord("C"))
    user32.is_there = False
    press_key(user32, 0x0100, ord("D"))
    assert undated(devices.read(0)) == [
        (KeyChanged, ("a", True)),
        (FocusChanged, ("outside",)),
        (KeyChanged, ("b", True)),
        (WindowMoved, (Rect(50, 60, 400, 300),)),
        (FocusChanged, ("inside",)),
        (ButtonChanged, (55, 66, "left", True)),
        (WindowShown, (False,)),
        (KeyChanged, ("c", True)),
        (WindowClosed, ("the window was closed",)),
        (KeyChanged, ("d", True)),
    ]
    assert devices.is_ours(999, 0)
    assert not devices.is_ours(1000, 0)


def test_raw_motion_is_heard_and_places_are_not(user32: FakeUser32, devices: Win32Devices) -> None:
    devices.read(0)
    user32.raw = {5: RawMouse(last_x=-3, last_y=9), 6: RawMouse(flags=1, last_x=600, last_y=400), 7: RawMouse()}
    for handle in (6, 7, 5):
        user32.messages.put((WM_INPUT, handle))
    items: list[DeviceItem] = []
    while not items:
        items = devices.read(0.5)
    assert undated(items) == [(RawMotion, (-3, 9))]


def test_a_refusal_says_what_to_do(user32: FakeUser32) -> None:
    user32.is_refusing = True
    with pytest.raises(ConfigError, match="as administrator"):
        Win32Devices(SessionClock(), user32=user32, kernel32=FakeKernel32())
    assert not [thread for thread in threading.enumerate() if thread.name == "hooks"]


def test_on_another_system_there_is_no_windows() -> None:
    with pytest.raises(ConfigError, match="expected Windows"):
        Win32Devices(SessionClock())


def test_keys_of_one_name_are_told_apart_and_altgr_is_no_alt(user32: FakeUser32, devices: Win32Devices) -> None:
    devices.read(0)
    press_key(user32, 0x0100, 0x0D, 0x1C)
    press_key(user32, 0x0100, 0x0D, 0x1C, flags=1)  # the one of the number pad
    press_key(user32, 0x0104, 0xA5, 0x38, flags=1)
    press_key(user32, 0x0100, 0xA2, 0x21D)  # what Windows makes up before AltGr
    press_key(user32, 0x0100, 0xE7, 0x41)  # a letter that a program sends as text
    press_key(user32, 0x0104, 0xA5, 0x38, flags=1)
    items = devices.read(0)
    assert [item.key for item in items if isinstance(item, KeyHeard)] == ["enter", "enter", "alt", "rightalt"]
    assert len({item.code for item in items if isinstance(item, KeyHeard)}) == 3
