"""SendInput and the hooks through a stand-in for user32: what Windows would be given, and what it would tell."""

# ruff: noqa: N802 - a stand-in has the names that Windows gave
from __future__ import annotations

import ctypes
import queue
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm_agent.actions.placement import Rect
from vlm_agent.desktop.win32_hooks import KeyInfo, MouseInfo
from vlm_agent.errors import ConfigError
from vlm_agent.executors.devices import Control, DeviceLostError
from vlm_agent.executors.hooks import HookListener, read_keyboard, read_mouse
from vlm_agent.executors.send_input import OUR_MARK, SendInputDevice, scale_absolute
from vlm_agent.executors.watching import Signal

SCREEN = Rect(-1280, -100, 3200, 1180)
SCANS = {0x41: 0x1E, 0x25: 0xE04B, 0xA0: 0x2A, 0xBD: 0x0C}
"""a, left arrow, left shift, minus."""


class FakeUser32:
    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.takes = 1

    def MapVirtualKeyW(self, code: int, kind: int) -> int:
        assert kind == 4
        return SCANS.get(code, 0)

    def SendInput(self, count: int, event: Any, size: int) -> int:
        one = event._obj
        if one.type == 1:
            self.sent.append(("key", hex(one.either.ki.wScan), one.either.ki.dwFlags, one.either.ki.wVk))
            assert one.either.ki.dwExtraInfo == OUR_MARK
        else:
            mouse = one.either.mi
            self.sent.append(("mouse", hex(mouse.dwFlags), mouse.dx, mouse.dy, ctypes.c_int32(mouse.mouseData).value))
            assert mouse.dwExtraInfo == OUR_MARK
        return self.takes


def make_device() -> tuple[SendInputDevice, FakeUser32]:
    user32 = FakeUser32()
    return SendInputDevice(user32, SCREEN), user32


def test_keys_are_sent_as_scan_codes():
    device, user32 = make_device()
    for name in ("a", "left", "shift", "minus"):
        device.press(Control("key", name))
        device.release(Control("key", name))
    assert user32.sent == [
        ("key", "0x1e", 0x8, 0),
        ("key", "0x1e", 0xA, 0),
        ("key", "0x4b", 0x9, 0),
        ("key", "0x4b", 0xB, 0),
        ("key", "0x2a", 0x8, 0),
        ("key", "0x2a", 0xA, 0),
        ("key", "0xc", 0x8, 0),
        ("key", "0xc", 0xA, 0),
    ]
    lacking = [Control("key", "f1"), Control("button", "fourth")]
    assert device.find_missing([Control("key", "a"), *lacking, Control("button", "left")]) == lacking


def test_the_mouse_moves_over_the_virtual_desktop_or_by_an_offset():
    device, user32 = make_device()
    device.move(-1280, -100)
    device.move(1919, 1079)
    device.move_by(-5, 7)
    device.press(Control("button", "right"))
    device.release(Control("button", "right"))
    device.turn(1, -2)
    assert user32.sent == [
        ("mouse", "0xc001", 0, 0, 0),
        ("mouse", "0xc001", 65516, 65481, 0),
        ("mouse", "0x1", -5, 7, 0),
        ("mouse", "0x8", 0, 0, 0),
        ("mouse", "0x10", 0, 0, 0),
        ("mouse", "0x800", 0, 0, -240),
        ("mouse", "0x1000", 0, 0, 120),
    ]


@given(size=st.integers(1, 16_384), part=st.floats(0, 1, exclude_max=True))
def test_every_pixel_is_reached_exactly(size, part):
    pixel = int(part * size)
    scaled = scale_absolute(pixel, size)
    assert 0 <= scaled < 65_536
    assert scaled * size // 65_536 == pixel


def test_input_that_windows_does_not_take_stops_everything():
    device, user32 = make_device()
    user32.takes = 0
    with pytest.raises(DeviceLostError, match="administrator"):
        device.move(0, 0)


def test_hooks_tell_our_input_from_a_persons():
    key = KeyInfo(code=0x7B)
    assert read_keyboard(0x100, key) == Signal("key", 0x7B, True, name="f12")
    assert read_keyboard(0x105, KeyInfo(code=0xA5)) == Signal("key", 0xA5, False, name="alt")
    ours = KeyInfo(code=0x41, extra=OUR_MARK)
    assert read_keyboard(0x100, ours) == Signal("key", 0x41, True, name="a", is_own=True)
    moved = MouseInfo(x=5, y=6, extra=OUR_MARK)
    assert read_mouse(0x200, moved) == Signal("move", point=(5, 6), is_own=True)
    assert read_mouse(0x204, MouseInfo()) == Signal("button", 3, True)
    assert read_mouse(0x1234, MouseInfo()) is None


def test_extra_buttons_and_numbers_go_out_and_the_key_that_sends_the_machine_to_sleep_does_not(monkeypatch):
    monkeypatch.setitem(SCANS, 0xAF, 0xE030)
    monkeypatch.setitem(SCANS, 0x5F, 0xE05F)
    device, user32 = make_device()
    asked = [Control("button", "x2"), Control("key", "vk_175"), Control("key", "vk_95"), Control("key", "vk_600")]
    assert device.find_missing(asked) == asked[2:]
    for control in asked[:2]:
        device.press(control)
        device.release(control)
    assert user32.sent == [
        ("mouse", "0x80", 0, 0, 2),
        ("mouse", "0x100", 0, 0, 2),
        ("key", "0x30", 0x9, 0),
        ("key", "0x30", 0xB, 0),
    ]


def test_a_key_is_let_go_by_its_scan_code_though_the_layout_has_changed(monkeypatch):
    device, user32 = make_device()
    pressed = Control("key", "a")
    device.press(pressed)
    found = device.find(pressed)
    monkeypatch.setitem(SCANS, 0x41, 0x10)
    device.release(pressed)
    device.release(found)  # as a guardian does
    assert [sent[1] for sent in user32.sent] == ["0x1e", "0x1e", "0x1e"]


def test_extra_buttons_and_places_of_keys_are_told_apart():
    assert [read_mouse(0x20B, MouseInfo(data=number << 16)).code for number in (1, 2)] == [8, 9]
    enter = [read_keyboard(0x100, KeyInfo(0x0D, 0x1C, flags)) for flags in (0, 1)]
    assert enter[0].name == enter[1].name == "enter"
    assert enter[0].code != enter[1].code
    # What Windows makes up before AltGr is nobody's key.
    assert read_keyboard(0x100, KeyInfo(0xA2, 0x21D)) is None


class FakeSystem:
    """Delivers what is put into `events` to the hooks, as GetMessage is waited in."""

    def __init__(self, hooks: int = 9) -> None:
        self.events: queue.Queue[Any] = queue.Queue()
        self.procedures: dict[int, Any] = {}
        self.unhooked = 0
        self._hooks = hooks

    def GetCurrentThreadId(self) -> int:
        return 4

    def GetModuleHandleW(self, _: Any) -> int:
        return 1

    def SetWindowsHookExW(self, kind: int, procedure: Any, module: Any, thread: int) -> int:
        self.procedures[kind] = procedure
        return self._hooks

    def UnhookWindowsHookEx(self, hook: int) -> None:
        self.unhooked += 1

    def CallNextHookEx(self, *_: Any) -> int:
        return 0

    def PostThreadMessageW(self, thread: int, message: int, *_: int) -> None:
        self.events.put(None)

    def GetMessageW(self, *_: Any) -> int:
        event = self.events.get(timeout=5)
        if event is None:
            return 0
        kind, message, structure = event
        self.procedures[kind](0, message, ctypes.addressof(structure))
        return 1


def test_the_listener_hears_until_it_is_closed():
    system, heard = FakeSystem(), []
    listener = HookListener(lambda signal, t_ns: heard.append(signal), system, system)
    system.events.put((13, 0x100, KeyInfo(code=0x7B)))
    system.events.put((14, 0x200, MouseInfo()))
    lost = []
    listener.on_lost = lambda: lost.append(True)
    listener.close()
    assert heard == [Signal("key", 0x7B, True, name="f12"), Signal("move", point=(0, 0))]
    assert (system.unhooked, lost, listener.is_alive) == (2, [], False)


def test_a_listener_that_dies_says_so_and_one_that_gets_no_hook_is_refused():
    system, lost = FakeSystem(), []
    listener = HookListener(lambda signal, t_ns: None, system, system)
    listener.on_lost = lambda: lost.append(True)
    system.events.put(None)
    listener._thread.join(5)
    assert lost == [True]
    with pytest.raises(ConfigError, match="nobody could stop"):
        HookListener(lambda signal, t_ns: None, FakeSystem(hooks=0), FakeSystem())
