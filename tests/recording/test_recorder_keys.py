"""Keys of a real X server in a session: by key and not by name, of every layout, and of one that changes."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from recorder_support import Hand, RunningRecorder, make_hotkeys
from x_server import ListeningWindow
from Xlib import X
from Xlib.ext import xtest

from vlm_agent.actions.events import ButtonChanged, KeyChanged, WheelTurned
from vlm_agent.dataset.recordings import choose_spec, read_recording
from vlm_agent.desktop.x11_keys import BUTTONS, KeyTable
from vlm_agent.errors import ConfigError
from vlm_agent.executors.devices import Control
from vlm_agent.executors.xtest import XTestDevice
from vlm_agent.recording.clock import SessionClock
from vlm_agent.recording.devices_x11 import X11Devices
from vlm_agent.recording.hotkeys import Hotkey, Hotkeys

needs_setxkbmap = pytest.mark.skipif(
    shutil.which("setxkbmap") is None, reason="no setxkbmap here (Debian: apt-get install x11-xkb-utils)"
)
NOT_OURS = {73, 74, 75, 76, 249, 250}
"""f7 to f10 steer the recorder; with the last two the server changes its own picture."""
NEVER_PRESSED = {124, 150, 160, 213, 245, 246, 254, 255}
"""Power, sleep, screen lock, suspend, and what switches radios off."""
SHARED = {"shift", "ctrl", "alt", "enter", "rightalt", "leftmeta", "printscreen"}


def change(hand: Hand, code: int, *, pressed: bool) -> None:
    xtest.fake_input(hand.display, X.KeyPress if pressed else X.KeyRelease, code)
    hand.sync()


def read_keys(running: RunningRecorder) -> list[tuple[str, bool]]:
    return [(event.key, event.pressed) for event in running.read().events() if isinstance(event, KeyChanged)]


def test_of_two_keys_of_one_name_the_last_to_be_let_go_counts(x_display: str, tmp_path: Path) -> None:
    with ListeningWindow(x_display, title="A game"), RunningRecorder(tmp_path / "a") as running:
        hand = Hand()
        for first, second in ((50, 62), (105, 37), (36, 104)):
            change(hand, first, pressed=True)
            change(hand, second, pressed=True)
            change(hand, first, pressed=False)
            change(hand, 56, pressed=True)
            change(hand, 56, pressed=False)
            change(hand, second, pressed=False)
        running.wait_events(12)
        hand.close()
    told = [(name, True) for name in ("shift", "ctrl", "enter")]
    assert read_keys(running) == [
        key for name, _ in told for key in ((name, True), ("b", True), ("b", False), (name, False))
    ]


@needs_setxkbmap
@pytest.mark.parametrize("layouts", [("us", "de", "fr"), ("ru", "gr", "il", "br")])
def test_every_key_of_every_layout_is_recorded_and_pressed_again(
    x_display: str, tmp_path: Path, layouts: tuple[str, ...]
) -> None:
    # Beyond the letters and what lies around them keys differ little.
    codes = [code for code in (*range(8, 140), *range(140, 256, 4)) if code not in NOT_OURS | NEVER_PRESSED]
    with ListeningWindow(x_display, title="A game", width=64, height=48) as window:
        hand = Hand()
        hand.move(10, 10)
        hand.sync()
        with RunningRecorder(tmp_path / "a") as running:
            for number, layout in enumerate(layouts, 1):
                subprocess.run(["setxkbmap", layout], check=True)
                for code in codes:
                    change(hand, code, pressed=True)
                    change(hand, code, pressed=False)
                for button in (8, 9) if number == 1 else ():
                    hand.click(button)
                hand.sync()
                running.wait_events(2 * len(codes) * number + 4)
        events = list(running.read().events())
        assert [event.button for event in events if isinstance(event, ButtonChanged) and event.pressed] == ["x1", "x2"]
        keys = [key for key, pressed in read_keys(running) if pressed]
        recording = read_recording(running.writer.path, 500)
        spec = choose_spec([recording], 500)
        assert spec.buttons == ("left", "x1", "x2")
        device = XTestDevice()
        for number, layout in enumerate(layouts):
            subprocess.run(["setxkbmap", layout], check=True)
            of_layout = keys[number * len(codes) : (number + 1) * len(codes)]
            assert {key for key, count in Counter(of_layout).items() if count > 1} <= SHARED
            assert set(of_layout) <= set(spec.keys)
            assert device.find_missing([Control("key", key) for key in of_layout]) == []
            before = sum(one.kind == "KeyPress" for one in window.heard)
            for key in of_layout:
                device.press(Control("key", key))
                device.release(Control("key", key))
            wait_for_presses(window, before + len(codes))
            pressed = [one.detail for one in window.heard if one.kind == "KeyPress"][before:]
            wrong = [
                (layout, code, key, again)
                for code, key, again in zip(codes, of_layout, pressed, strict=True)
                if code != again and key not in SHARED
            ]
            assert wrong == []
        device.close()
        hand.close()


def wait_for_presses(window: ListeningWindow, count: int) -> None:
    while sum(one.kind == "KeyPress" for one in window.heard) < count:
        window.wait_for(len(window.heard) + 1)


@needs_setxkbmap
def test_a_key_that_is_held_while_the_layout_changes_is_let_go_under_its_name(x_display: str, tmp_path: Path) -> None:
    with ListeningWindow(x_display, title="A game"), RunningRecorder(tmp_path / "a") as running:
        hand = Hand()
        change(hand, 38, pressed=True)
        running.wait_events(1)
        subprocess.run(["setxkbmap", "fr"], check=True)
        change(hand, 24, pressed=True)
        change(hand, 38, pressed=False)
        change(hand, 24, pressed=False)
        change(hand, 38, pressed=True)
        change(hand, 38, pressed=False)
        running.wait_events(4)
        hand.close()
    # Two keys were `a` for a moment: it is up when both are.
    assert read_keys(running) == [("a", True), ("a", False), ("q", True), ("q", False)]


@needs_setxkbmap
def test_a_group_that_is_switched_to_is_followed(x_display: str, tmp_path: Path) -> None:
    subprocess.run(["setxkbmap", "us,de", "-option", "grp:caps_toggle"], check=True)
    with ListeningWindow(x_display, title="A game"), RunningRecorder(tmp_path / "a") as running:
        hand = Hand()
        for code in (29, 66, 29, 66, 29):
            change(hand, code, pressed=True)
            change(hand, code, pressed=False)
        running.wait_events(10)
        hand.close()
    assert [key for key, pressed in read_keys(running) if pressed and len(key) == 1] == ["y", "z", "y"]


def test_the_recorders_own_keys_must_be_there(x_display: str) -> None:
    devices: Any = X11Devices(SessionClock())
    make_hotkeys().check(devices.hears)
    with pytest.raises(ConfigError, match="--hotkey-stop: this keyboard has no key clear"):
        Hotkeys({"stop": Hotkey("clear")}).check(devices.hears)
    devices.close()
    table = KeyTable(Hand().display)
    assert table.find_code("clear") is None
    table.close()


def test_swapped_buttons_are_what_the_game_gets(x_display: str, tmp_path: Path) -> None:
    with ListeningWindow(x_display, title="A game") as window:
        hand = Hand()
        hand.move(10, 10)
        with RunningRecorder(tmp_path / "a") as running:
            # Left-handed, a wheel that turns the other way, the last extra button off; in mid-run.
            hand.display.set_pointer_mapping([3, 2, 1, 5, 4, 6, 7, 8, 0, 10])
            for number in (1, 3, 4, 9, 8):
                hand.click(number)
            hand.sync()
            running.wait_events(7)
        events = list(running.read().events())
        assert [event.button for event in events if isinstance(event, ButtonChanged) and event.pressed] == [
            "right",
            "left",
            "x1",
        ]
        assert [event.dy for event in events if isinstance(event, WheelTurned)] == [-1]
        window.wait_for(9)
        window.heard.clear()
        device = XTestDevice()
        assert device.find_missing([Control("button", name) for name in BUTTONS]) == [Control("button", "x2")]
        for name in ("left", "right"):
            device.press(Control("button", name))
            device.release(Control("button", name))
        device.turn(0, 1)
        window.wait_for(6)
        assert [one.detail for one in window.heard if one.kind == "ButtonPress"] == [1, 3, 4]
        device.close()
        hand.close()
