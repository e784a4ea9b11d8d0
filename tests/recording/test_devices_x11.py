"""Everything an X server's devices and a window do is heard, in order and in time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeGuard

import pytest
from x_server import ListeningWindow
from Xlib import X, display
from Xlib.ext import xtest

from vlm_agent.actions.events import ButtonChanged, KeyChanged, PointerMoved, WheelTurned
from vlm_agent.actions.placement import Rect
from vlm_agent.desktop.x11_keys import KeyTable
from vlm_agent.desktop.x11_record import RecordThread
from vlm_agent.recording.clock import SessionClock
from vlm_agent.recording.devices_x11 import X11Devices
from vlm_agent.recording.stream import (
    ButtonHeard,
    DeviceItem,
    FocusChanged,
    KeyHeard,
    ScreenChanged,
    WindowClosed,
    WindowMoved,
    WindowShown,
)
from vlm_agent.sessions.types import RawMotion


def read_until(
    devices: X11Devices, done: Callable[[list[DeviceItem]], bool], seconds: float = 10.0
) -> list[DeviceItem]:
    items: list[DeviceItem] = []
    until = time.monotonic() + seconds
    while not done(items):
        assert time.monotonic() < until, items
        items += devices.read(0.05)
    return items


def test_every_kind_of_event_is_heard_in_the_servers_order(x_display: str) -> None:
    with ListeningWindow(x_display, x=30, y=40) as window:
        devices = X11Devices(SessionClock(), window.window_id)
        hand = display.Display()
        table = KeyTable(hand)
        code = table.find_code("minus")
        xtest.fake_input(hand, X.MotionNotify, x=60, y=70)
        for button in (1, 2, 3, 4, 5, 6, 7):
            xtest.fake_input(hand, X.ButtonPress, button)
            xtest.fake_input(hand, X.ButtonRelease, button)
        xtest.fake_input(hand, X.KeyPress, code)
        xtest.fake_input(hand, X.KeyRelease, code)
        hand.sync()
        window.do("configure", x=100, y=90, width=200, height=150)
        other = hand.screen().root.create_window(500, 0, 50, 50, 0, hand.screen().root_depth)
        other.map()
        hand.sync()
        hand.set_input_focus(other, X.RevertToPointerRoot, X.CurrentTime)
        xtest.fake_input(hand, X.KeyPress, code)
        xtest.fake_input(hand, X.KeyRelease, code)
        hand.sync()
        window.do("set_input_focus", revert_to=X.RevertToParent, time=X.CurrentTime)
        window.do("unmap")
        window.do("map")
        window.do("destroy")
        items = read_until(devices, lambda items: any(isinstance(item, WindowClosed) for item in items))
        devices.close()
        hand.close()
    told = [item for item in items if not isinstance(item, RawMotion)]
    places = [_plain(item) for item in told]
    buttons = [
        ButtonChanged(0, 60, 70, name, pressed) for name in ("left", "middle", "right") for pressed in (True, False)
    ]
    wheel = [WheelTurned(0, 60, 70, dx, dy) for dx, dy in ((0, 1), (0, -1), (-1, 0), (1, 0))]
    keys = [KeyChanged(0, "minus", pressed=True), KeyChanged(0, "minus", pressed=False)]
    expected = [
        ScreenChanged(0, Rect(0, 0, 1280, 800)),
        WindowMoved(0, Rect(30, 40, 400, 300)),
        FocusChanged(0, "inside"),
        PointerMoved(0, 60, 70),
    ]
    expected += [*buttons, *wheel, *keys, WindowMoved(0, Rect(100, 90, 200, 150))]
    expected += [FocusChanged(0, "outside"), *keys, FocusChanged(0, "inside"), WindowShown(0, is_visible=False)]
    assert places[: len(expected)] == expected
    assert places[-1] == WindowClosed(0)
    times_ns = [item.t_ns for item in told]
    assert times_ns == sorted(times_ns)


def test_raw_motion_never_overtakes_what_came_before_it(x_display: str, monkeypatch: pytest.MonkeyPatch) -> None:
    take = RecordThread._take

    def take_late(thread: RecordThread, reply: Any) -> None:
        time.sleep(0.1)  # Raw motion comes on another connection, which is not slow.
        take(thread, reply)

    monkeypatch.setattr(RecordThread, "_take", take_late)
    with ListeningWindow(x_display, title="Ours") as window, ListeningWindow(x_display, title="Not") as other:
        devices = X11Devices(SessionClock(), window.window_id, with_programs=True)
        hand = display.Display()
        for window_id, dx in ((window.window_id, 3), (other.window_id, 4), (window.window_id, 5)):
            hand.create_resource_object("window", window_id).set_input_focus(X.RevertToParent, X.CurrentTime)
            hand.sync()
            time.sleep(0.005)  # The server tells no times finer than a millisecond.
            xtest.fake_input(hand, X.MotionNotify, detail=1, x=dx, y=0)
            hand.sync()
            time.sleep(0.005)
        items = read_until(devices, lambda items: sum(isinstance(item, RawMotion) for item in items) == 3)
        hand.close()
        devices.close()
    heard = [item.focus if isinstance(item, FocusChanged) else item.dx for item in items if _is_focus_or_raw(item)]
    assert heard[-6:] == ["inside", 3, "outside", 4, "inside", 5]


def test_where_a_point_is_can_still_be_asked_of_what_was_heard_last(x_display: str) -> None:
    with ListeningWindow(x_display, x=30, y=40) as window:
        devices = X11Devices(SessionClock(), window.window_id)
        devices.stop()
        assert devices.is_ours(60, 70)
        devices.close()


def _is_focus_or_raw(item: DeviceItem) -> TypeGuard[FocusChanged | RawMotion]:
    return isinstance(item, FocusChanged | RawMotion)


def _plain(item: DeviceItem) -> DeviceItem:
    """Return an item at time 0, and without what tells keys of one name apart."""
    kind = {KeyHeard: KeyChanged, ButtonHeard: ButtonChanged}.get(type(item), type(item))
    rest = [getattr(item, name) for name in kind.__dataclass_fields__ if name != "t_ns"]
    return kind(0, *rest)
