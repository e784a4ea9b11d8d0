"""Programs that take keyboard or mouse while the agent acts get nothing of it; what the game takes is the game's."""

from __future__ import annotations

import time
from contextlib import contextmanager

import pytest
from x_server import ListeningWindow, read_keys_down
from Xlib import X
from Xlib.ext import xinput

from tests.executors.acting import TITLE, live, play_live, wait_for
from vlm_agent.actions.types import Click, Key, Move
from vlm_agent.desktop.x11 import connect
from vlm_agent.desktop.x11_keys import KeyTable
from vlm_agent.executors.client import wait_for_state
from vlm_agent.executors.leases import LeaseTerms

PATIENT = LeaseTerms(lease_ms=4000)
MASK = X.KeyPressMask | X.KeyReleaseMask | X.ButtonPressMask | X.ButtonReleaseMask | X.PointerMotionMask
POINTER_MASK = X.ButtonPressMask | X.ButtonReleaseMask | X.PointerMotionMask


class Program:
    """A connection of its own that grabs, and hears what that brings it."""

    def __init__(self, display_name):
        self.display = connect(display_name)
        self.root = self.display.screen().root

    def pop_up(self, x=0, y=0, width=100, height=80, *, is_managed=False):
        window = self.root.create_window(
            x, y, width, height, 0, X.CopyFromParent, override_redirect=not is_managed, event_mask=MASK
        )
        window.map()
        self.display.sync()
        return window

    def take(self, what, window):
        if what == "xi2":
            mask = xinput.KeyPressMask | xinput.KeyReleaseMask
            return window.xinput_grab_device(3, 0, X.GrabModeAsync, X.GrabModeAsync, True, mask).status
        if what == "keyboard":
            return window.grab_keyboard(True, X.GrabModeAsync, X.GrabModeAsync, X.CurrentTime)
        modes = (X.GrabModeAsync, X.GrabModeAsync)
        return window.grab_pointer(True, POINTER_MASK, *modes, X.NONE, X.NONE, X.CurrentTime)

    def read_heard(self):
        self.display.sync()
        heard = []
        while self.display.pending_events():
            heard.append(type(self.display.next_event()).__name__)
        return heard


@contextmanager
def program(display_name):
    one = Program(display_name)
    try:
        yield one
    finally:
        one.display.close()


@pytest.mark.parametrize(
    ("what", "by_root", "reason"),
    [
        (["keyboard"], True, "keyboard_grabbed"),
        (["keyboard", "pointer"], False, "keyboard_grabbed"),
        (["pointer"], False, "pointer_grabbed"),
        (["xi2"], True, "keyboard_grabbed"),
    ],
    ids=["launcher", "lock", "menu", "XInput 2 prompt"],
)
def test_a_program_that_grabs_gets_nothing_but_the_release_of_what_is_held(x_display, tmp_path, what, by_root, reason):
    with (
        ListeningWindow(x_display, TITLE) as window,
        live(tmp_path, leases=PATIENT) as client,
        program(x_display) as taker,
    ):
        of = taker.root if by_root else taker.pop_up(600, 400)
        assert play_live(client, Key(0, "w", "down"), Key(540, "a"), Click(40, 200, 150))["ok"]
        window.wait_for(1)
        assert [taker.take(one, of) for one in what] == [X.GrabSuccess] * len(what)
        wait_for(lambda: not read_keys_down(x_display))
        told = wait_for_state(client.connection, {"paused"}, 1)
        assert told["reason"] == reason
        time.sleep(0.5)
        assert {one for one in taker.read_heard() if one.endswith("Press") or one == "MotionNotify"} == set()
        assert [one.kind for one in window.heard if one.kind.endswith("Press")] == ["KeyPress"]
        assert play_live(client, Key(0, "a"))["reason"] == "paused"


def test_it_does_not_begin_while_another_program_has_the_keyboard(x_display, tmp_path):
    with ListeningWindow(x_display, TITLE) as window, program(x_display) as locker:
        locker.take("keyboard", locker.root)
        with live(tmp_path) as client:
            # Taken before it listened: by whom is not known, so it is not the window's.
            answer = play_live(client, Key(0, "a"))
            assert (answer["reason"], answer["detail"]) == ("waiting", "another program has grabbed the keyboard")
            locker.display.ungrab_keyboard(X.CurrentTime)
            locker.display.sync()
            assert play_live(client, Key(0, "a"))["ok"]
            window.wait_for(2)


def test_what_the_windows_own_program_grabs_and_what_is_dragged_is_the_windows(x_display, tmp_path):
    modes = {"pointer_mode": X.GrabModeAsync, "keyboard_mode": X.GrabModeAsync, "time": X.CurrentTime}
    with ListeningWindow(x_display, TITLE) as window, live(tmp_path, leases=PATIENT) as client:
        # A press takes the pointer until it ends.
        assert play_live(client, Click(0, 20, 30, "left", "down"), Move(200, 160, 70), Key(50, "a"))["ok"]
        time.sleep(0.4)
        assert play_live(client, Click(20, 160, 70, "left", "up"))["ok"]
        window.wait_for(4)
        time.sleep(0.1)
        assert [one.kind for one in window.heard if one.kind != "MotionNotify"] == [
            "ButtonPress",
            "KeyPress",
            "KeyRelease",
            "ButtonRelease",
        ]
        window.heard.clear()
        window.do("grab_keyboard", owner_events=True, **modes)
        lock = {"confine_to": window._window, "cursor": X.NONE}
        window.do("grab_pointer", owner_events=True, event_mask=POINTER_MASK, **lock, **modes)
        menu = window._display.screen().root.create_window(
            30, 30, 100, 80, 0, X.CopyFromParent, override_redirect=True, event_mask=MASK
        )
        menu.map()
        assert play_live(client, Key(20, "a"), Click(100, 50, 50), Move(100, 160, 70))["ok"]
        time.sleep(0.4)
        assert [one.kind for one in window.heard if one.kind != "MotionNotify"] == [
            "KeyPress",
            "KeyRelease",
            "ButtonPress",
            "ButtonRelease",
        ]
        assert client.connection.ask("status")["state"] == "running"


@pytest.mark.parametrize("kind", ["core", "xi2"])
def test_another_programs_hotkey_is_not_pressed_and_all_else_is(x_display, tmp_path, kind):
    with ListeningWindow(x_display, TITLE) as window, live(tmp_path) as client, program(x_display) as launcher:
        codes = {name: KeyTable(launcher.display).find_code(name) for name in ("a", "w", "shift")}
        if kind == "core":
            launcher.root.grab_key(codes["a"], X.AnyModifier, True, X.GrabModeAsync, X.GrabModeAsync)
            launcher.root.grab_key(codes["w"], X.ShiftMask, True, X.GrabModeAsync, X.GrabModeAsync)
        else:
            modes = (xinput.GrabModeAsync, xinput.GrabModeAsync, True, xinput.KeyPressMask)
            launcher.root.xinput_grab_keycode(3, X.CurrentTime, codes["a"], *modes, [0])
            launcher.root.xinput_grab_keycode(3, X.CurrentTime, codes["w"], *modes, [X.ShiftMask])
        launcher.display.sync()
        assert play_live(client, Key(20, "a"), Key(60, "w"), Key(60, "shift", "down"), Key(60, "w"))["ok"]
        window.wait_for(3)
        time.sleep(0.2)
        assert [one.detail for one in window.heard if one.kind == "KeyPress"] == [codes["w"], codes["shift"]]
        told = client.connection.ask("status")
        assert (told["state"], told["dropped"]["hotkey"]) == ("running", 2)
        assert not [one for one in launcher.read_heard() if one.startswith("Key") or one == "GenericEvent"]


@pytest.mark.parametrize("is_own", [True, False])
def test_a_pointer_that_was_grabbed_before_is_the_windows_if_its_program_did_it(x_display, tmp_path, is_own):
    with ListeningWindow(x_display, TITLE) as window, program(x_display) as other:
        if is_own:
            lock = {"owner_events": True, "event_mask": POINTER_MASK, "confine_to": window._window, "cursor": X.NONE}
            window.do("grab_pointer", pointer_mode=1, keyboard_mode=1, time=X.CurrentTime, **lock)
        else:
            other.take("pointer", other.root)
        with live(tmp_path) as client:
            answer = play_live(client, Click(20, 50, 50))
            assert answer["ok"] == is_own
            if is_own:
                window.wait_for(2)
                time.sleep(0.1)
                assert client.connection.ask("status")["state"] == "running"
            else:
                assert answer["detail"] == "another program has grabbed the mouse"


@pytest.mark.parametrize("is_managed", [False, True])
def test_another_programs_window_over_the_place_is_not_clicked(x_display, tmp_path, is_managed):
    with (
        ListeningWindow(x_display, TITLE) as window,
        live(tmp_path) as client,
        program(x_display) as other,
    ):
        assert play_live(client, Click(300, 50, 50))["ok"]
        time.sleep(0.1)
        other.pop_up(30, 30, is_managed=is_managed)
        told = wait_for_state(client.connection, {"paused"}, 1)
        assert told["reason"] == "covered"
        assert not [one for one in other.read_heard() if one.startswith("Button")]
        assert not [one for one in window.heard if one.kind.startswith("Button")]


@pytest.mark.parametrize(
    ("how", "words"), [("hidden", ": it is hidden"), ("closed", ""), ("made anew", ": a new one of that name is there")]
)
def test_a_window_that_ends_pauses_with_the_reason(x_display, tmp_path, how, words):
    with (
        ListeningWindow(x_display, TITLE) as window,
        live(tmp_path, leases=PATIENT) as client,
        program(x_display) as game,
    ):
        assert play_live(client, Key(0, "w", "down"))["ok"]
        wait_for(lambda: read_keys_down(x_display))
        if how == "made anew":
            # Beside the first, and without the focus.
            anew = game.pop_up(600, 400, is_managed=True)
            anew.set_wm_name(TITLE)
            game.display.sync()
        window.do("unmap" if how == "hidden" else "destroy")
        told = wait_for_state(client.connection, {"paused"}, 2)
        assert told["reason"].startswith(f"window_closed{words}")
        assert words or told["reason"] == "window_closed"
        assert read_keys_down(x_display) == []
        assert not [one for one in game.read_heard() if one.endswith("Press")]
