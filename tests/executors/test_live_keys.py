"""Keys of a live executor on a real X server: other layouts, a layout that changes, keys that are not there."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from dataclasses import replace
from typing import Any

import pytest
from x_server import ListeningWindow, read_keys_down
from Xlib import X
from Xlib.ext import xtest

from tests.executors.acting import SPEC, TITLE, encode, live, policy_process, wait_for
from vlm_agent.actions.playback import NS_PER_MS
from vlm_agent.actions.types import Click, Key
from vlm_agent.desktop.x11 import connect
from vlm_agent.desktop.x11_keys import BUTTONS, KeyTable
from vlm_agent.errors import ConfigError
from vlm_agent.executors.client import ExecutorClient, wait_for_state
from vlm_agent.executors.devices import Control
from vlm_agent.executors.stopping import ask_all
from vlm_agent.executors.xtest import XTestDevice

pytestmark = pytest.mark.skipif(
    shutil.which("setxkbmap") is None, reason="no setxkbmap here (Debian: apt-get install x11-xkb-utils)"
)
# AltGr, ü, ä, ´, ^, <, volume, play, and codes without a symbol.
GERMAN_CODES = (108, 34, 48, 21, 49, 94, 123, 172, 93, 97, 132)


def set_layout(name: str, *options: str) -> None:
    subprocess.run(["setxkbmap", name, *options], check=True)


def play(client: ExecutorClient, spec: object, *actions: object) -> None:
    text = encode(*actions, spec=spec)
    answer = client.send_chunk(1, time.perf_counter_ns() + 20 * NS_PER_MS, (400, 300), text)
    assert answer["ok"], answer


def strike(hand: Any, *codes: int) -> None:
    for kind in (X.KeyPress, X.KeyRelease):
        for code in codes:
            xtest.fake_input(hand, kind, code)
    hand.sync()


def presses(window: ListeningWindow, kind: str = "KeyPress") -> list[int]:
    return [one.detail for one in window.heard if one.kind == kind]


def test_what_can_be_heard_on_a_layout_can_be_pressed_on_it(x_display, tmp_path):
    set_layout("de")
    display = connect()
    table = KeyTable(display)
    names = [table.find_name(code) for code in GERMAN_CODES]
    table.close()
    display.close()
    spec = replace(SPEC, keys=(*SPEC.keys, *names), buttons=tuple(BUTTONS), max_actions=20)
    with ListeningWindow(x_display, TITLE) as window, live(tmp_path, spec=spec) as client:
        assert client.notes == []
        for first in range(0, len(names), 6):
            play(client, spec, *(Key(20, name) for name in names[first : first + 6]))
            time.sleep(0.35)
        play(client, spec, *(Click(60, 20, 20, name) for name in ("x1", "x2")))
        wait_for(lambda: len(presses(window, "ButtonRelease")) == 2)
    assert presses(window) == list(GERMAN_CODES)
    assert presses(window, "KeyRelease") == list(GERMAN_CODES)
    assert presses(window, "ButtonPress") == [8, 9]


def test_a_layout_that_changes_is_followed_and_what_is_held_is_let_go(x_display, tmp_path):
    with ListeningWindow(x_display, TITLE) as window, live(tmp_path, person_stops=False) as client:
        play(client, SPEC, Key(0, "a"), Key(60, "w", "down"))
        window.wait_for(3)
        set_layout("fr")
        play(client, SPEC, Key(0, "a"), Key(60, "w", "up"))
        wait_for(lambda: len(presses(window, "KeyRelease")) == 3)
        assert presses(window, "KeyRelease") == [38, 24, 25]
        # On a French keyboard q is where a is on others; whoever wants to stop presses that.
        hand = connect()
        strike(hand, 37, 64, 38)
        assert wait_for_state(client.connection, {"stopped"}, 2)["reason"] == "hotkey q"
        hand.close()


def test_the_stop_keys_work_without_latin_letters_and_with_altgr(x_display, tmp_path):
    set_layout("gr")
    with ListeningWindow(x_display, TITLE) as window, live(tmp_path, person_stops=False) as client:
        play(client, SPEC, Key(0, "w"))
        window.wait_for(2)
        assert presses(window) == [25]
        hand = connect()
        for layout, alt in (("gr", 64), ("de", 108)):
            set_layout(layout)
            strike(hand, 37, alt, 24)
            assert wait_for_state(client.connection, {"stopped"}, 2)["reason"] == "hotkey q"
            ask_all("resume")
            assert wait_for_state(client.connection, {"waiting"}, 2)["state"] == "waiting"
        hand.close()


def test_a_key_that_the_desktop_does_not_have_is_left_out_and_counted(x_display, tmp_path):
    set_layout("de")
    spec = replace(SPEC, keys=(*SPEC.keys, "slash", "clear"))
    with ListeningWindow(x_display, TITLE) as window, live(tmp_path, spec=spec) as client:
        assert len(client.notes) == 1
        assert "key slash, key clear" in client.notes[0]
        play(client, spec, Key(0, "slash"), Key(40, "a"))
        window.wait_for(2)
    assert presses(window) == [38]
    assert client.counts is not None
    assert client.counts["dropped"] == {"no_such_key": 1, "not_down": 1}


def test_stop_keys_that_the_keyboard_does_not_have_are_refused_by_name(x_display, tmp_path):
    says = r"--stop-keys: this keyboard has no key clear, so ctrl\+clear could not"
    with ListeningWindow(x_display, TITLE), pytest.raises(ConfigError, match=says):
        live(tmp_path, hotkeys=("f11", "ctrl+clear")).__enter__()
    assert read_keys_down(x_display) == []


def test_a_killed_executors_key_is_let_go_though_the_layout_has_changed(x_display, tmp_path):
    with ListeningWindow(x_display, TITLE), policy_process(tmp_path, encode(Key(0, "a", "down"))) as policy:
        pid = int(policy.stdout.readline())
        wait_for(lambda: read_keys_down(x_display) == [38])
        set_layout("fr")
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: read_keys_down(x_display) == [], 2.0)


def test_what_was_found_is_pressed_without_asking_a_server_that_is_held_still(x_display):
    device, holder = XTestDevice(), connect()
    key = Control("key", "a")

    def press() -> None:
        device.press(key)

    for _ in range(2):  # the second time it was let go by somebody else
        assert device.find(key).code == 38
        holder.grab_server()
        holder.sync()
        pressing = threading.Thread(target=press, daemon=True)
        pressing.start()
        pressing.join(5)
        is_stuck = pressing.is_alive()
        holder.ungrab_server()
        holder.sync()
        assert not is_stuck
        wait_for(lambda: read_keys_down(x_display) == [38])
        xtest.fake_input(holder, X.KeyRelease, 38)
        holder.sync()
    holder.close()
    device.close()


def test_two_names_of_one_key_hold_it_together(x_display):
    device = XTestDevice()
    shift, left = Control("key", "shift"), Control("key", "leftshift")
    device.press(shift)
    device.press(left)
    device.release(shift)
    assert device.is_down(left)
    device.release(left)
    assert not device.is_down(left)
    device.close()


def test_a_group_that_is_switched_to_is_followed(x_display):
    set_layout("us,de", "-option", "grp:caps_toggle")
    device = XTestDevice()
    with ListeningWindow(x_display) as window:
        toggle = connect()
        for name, code in (("z", 52), ("z", 29), ("z", 52)):
            device.press(Control("key", name))
            device.release(Control("key", name))
            wait_for(lambda code=code: presses(window)[-1:] == [code])
            strike(toggle, 66)
            wait_for(lambda: presses(window)[-1:] == [66])
        toggle.close()
    device.close()
