"""What belongs to the recorded window and what does not, and what is said when it or the screen changes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from recorder_support import Hand, RunningRecorder, undated, wait_until
from x_server import ListeningWindow, resize_screen, run_x_server
from Xlib import X, Xatom, display

from vlm_agent.actions.placement import Rect
from vlm_agent.recording.clock import SessionClock
from vlm_agent.recording.devices_x11 import X11Devices
from vlm_agent.recording.stream import ScreenChanged, WindowClosed, WindowMoved, WindowReplaced
from vlm_agent.recording.surroundings import WindowSurroundings


class Program:
    """A program with windows: one connection, whose events nobody reads."""

    def __init__(self, pid: int) -> None:
        self.display, self._pid = display.Display(), pid

    def show(self, x: int, y: int, width: int, height: int, title: str = "", **about: Any) -> Any:
        """Map a window; `pop_up` keeps window managers away, `of` is what it is a dialog of."""
        root = self.display.screen().root
        mask = X.ButtonPressMask | X.KeyPressMask if about.get("listens", True) else 0
        window = root.create_window(
            x, y, width, height, 0, X.CopyFromParent, override_redirect=about.get("pop_up", False), event_mask=mask
        )
        window.set_wm_class("game", about.get("app", "Game"))
        window.set_wm_name(title)
        if "of" in about:
            window.change_property(Xatom.WM_TRANSIENT_FOR, Xatom.WINDOW, 32, [about["of"].id])
        pid = self.display.intern_atom("_NET_WM_PID")
        window.change_property(pid, Xatom.CARDINAL, 32, [self._pid])
        window.map()
        self.display.sync()
        return window

    def do(self, window: Any, action: str, *values: Any) -> None:
        getattr(window, action)(*values)
        self.display.sync()

    def grab(self, window: Any) -> None:
        """Take the keyboard, as menus and launchers do."""
        assert window.grab_keyboard(True, X.GrabModeAsync, X.GrabModeAsync, X.CurrentTime) == X.GrabSuccess
        self.display.sync()

    def let_go(self) -> None:
        self.display.ungrab_keyboard(X.CurrentTime)
        self.display.sync()


@pytest.fixture
def programs(x_display: str) -> Iterator[tuple[Program, Program]]:
    pair = Program(os.getpid()), Program(1)
    yield pair
    for program in pair:
        program.display.close()


@pytest.fixture
def hand(x_display: str) -> Iterator[Hand]:
    hand = Hand()
    yield hand
    hand.close()


def keys_of(running: RunningRecorder) -> list[str]:
    return [row[1] for row in undated(running.read().events()) if row[0] == "KeyChanged" and row[2]]


def clicks_of(running: RunningRecorder) -> list[tuple[int, int]]:
    return [row[1:3] for row in undated(running.read().events()) if row[0] == "ButtonChanged" and row[4]]


def test_a_click_is_of_the_window_whose_program_shows_what_is_clicked(
    programs: tuple[Program, Program], hand: Hand, tmp_path: Path
) -> None:
    game, other = programs
    window = game.show(100, 80, 400, 300, "A game")
    with RunningRecorder(tmp_path / "a") as running:
        game.show(110, 90, 50, 50, pop_up=True)
        game.show(180, 90, 50, 50, of=window)
        other.show(250, 90, 50, 50, pop_up=True)
        other.show(320, 90, 50, 50, "A note", pop_up=True, listens=False)
        for x in (120, 190, 260, 330, 400):
            hand.move(x, 100)
            hand.click()
            hand.click(4)
            hand.sync()
        running.wait_events(3 * 3)
        wait_until(lambda: running.recorder.counts.left_out.total() == 4)
    assert clicks_of(running) == [(20, 20), (90, 20), (300, 20)]
    assert running.recorder.counts.left_out == {"press_on_another_window": 4}


def test_keys_go_on_being_recorded_in_the_windows_own_menu_and_dialog_and_in_no_others(
    programs: tuple[Program, Program], hand: Hand, tmp_path: Path
) -> None:
    game, other = programs
    window = game.show(100, 80, 400, 300, "A game")
    browser = other.show(600, 80, 100, 100, "A browser")
    menu = game.show(110, 90, 50, 50, pop_up=True)
    dialog = game.show(180, 90, 50, 50, of=window)
    launcher = other.show(250, 90, 50, 50, pop_up=True)

    with RunningRecorder(tmp_path / "a") as running:

        def heard() -> str:
            """Where the recorder thinks that keys go, and whether it asks a menu or a dialog about each."""
            recorded: Any = running._devices._window
            focus = running.recorder._gate._focus
            return focus if focus != "inside" or recorded._is_asked else "window"

        hand.focus(window.id)
        hand.sync()
        for grabber, program, name, focus in (
            (menu, game, "a", "inside"),
            (launcher, other, "p", "outside"),
            (menu, game, "b", "inside"),
        ):
            program.grab(grabber)
            wait_until(lambda focus=focus: heard() == focus)  # type: ignore[misc]
            hand.strike(name)
            hand.sync()
            program.let_go()
            hand.strike("c")
            hand.sync()
            wait_until(lambda: heard() == "window")
        # Menus that come and go before the recorder has asked about them.
        for name in ("g", "h"):
            game.grab(menu)
            hand.strike(name)
            hand.sync()
            game.let_go()
        hand.strike("c")
        hand.sync()
        running.wait_events(2 * 8)
        hand.focus(dialog.id)
        hand.sync()
        wait_until(lambda: heard() == "inside")
        hand.strike("d")
        # From the dialog to another program and back, without a pause.
        hand.focus(browser.id)
        hand.strike("q")
        hand.focus(dialog.id)
        hand.strike("e")
        hand.focus(window.id)
        hand.strike("f")
        hand.sync()
        running.wait_events(2 * 11)
    assert keys_of(running) == ["a", "c", "c", "b", "c", "g", "h", "c", "d", "e", "f"]


def test_a_window_that_is_made_anew_is_followed(programs: tuple[Program, Program], hand: Hand, tmp_path: Path) -> None:
    game, _ = programs
    window = game.show(100, 80, 200, 160, "A game")
    game.show(600, 80, 50, 50, "Settings")
    with RunningRecorder(tmp_path / "a") as running:
        hand.focus(window.id)
        hand.key("w", pressed=True)
        hand.sync()
        running.wait_events(1)
        game.do(window, "destroy")
        running.wait_notice("hidden")
        hand.key("w", pressed=False)
        full_screen = game.show(0, 0, 400, 320, "A game")
        running.wait_notice("made anew: the new one is recorded")
        hand.focus(full_screen.id)
        hand.strike("e")
        hand.move(200, 160)
        hand.click()
        hand.sync()
        running.wait_events(2 + 2 + 3)
        frames = running.recorder.counts.capture.frames
        wait_until(lambda: running.recorder.counts.capture.frames >= frames + 2)
    assert keys_of(running) == ["w", "e"]
    assert clicks_of(running) == [(100, 80)]
    [hole] = running.read().excluded
    assert hole.reason == "hidden"


@pytest.mark.parametrize(
    ("left", "says"),
    [
        ({}, "the window was closed: the recording ends"),
        ({"title": "Game Over"}, "its program still has 'Game Over': record that with --window: the recording ends"),
        ({"title": "A game", "app": "Browser"}, "the window was closed: the recording ends"),
    ],
)
def test_a_window_that_ends_is_said_with_what_to_do(
    programs: tuple[Program, Program], hand: Hand, tmp_path: Path, left: dict[str, str], says: str
) -> None:
    game, _ = programs
    window = game.show(100, 80, 200, 160, "A game")
    with RunningRecorder(tmp_path / "a") as running:
        if left:
            game.show(0, 0, 60, 60, **left)
        game.do(window, "destroy")
        running.join()
    assert any(notice.endswith(says) for notice in running.notices), running.notices


def test_what_another_screen_of_the_server_shows_is_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    with run_x_server(400, 300, num_screens=2) as name:
        monkeypatch.setenv("DISPLAY", f"{name}.1")
        with ListeningWindow(f"{name}.1", title="A game", x=10, y=10) as window:
            devices = X11Devices(SessionClock(), window.window_id)
            for screen in (0, 1):
                monkeypatch.setenv("DISPLAY", f"{name}.{screen}")
                hand = Hand()
                hand.display.screen().root.warp_pointer(50 + screen, 60)
                hand.sync()
                hand.click()
                hand.sync()
                hand.close()
            items: list[Any] = []

            def has_click() -> bool:
                items.extend(devices.read(0.05))
                return sum(hasattr(item, "button") for item in items) >= 2

            wait_until(has_click)
            devices.close()
    assert {(item.x, item.y) for item in items if hasattr(item, "button")} == {(51, 60)}


def test_a_screen_that_becomes_smaller_and_larger_is_told_and_recording_goes_on(
    x_display: str, programs: tuple[Program, Program], tmp_path: Path
) -> None:
    game, _ = programs
    game.show(500, 300, 300, 200, "A game")

    def see_more(running: RunningRecorder) -> None:
        frames = running.recorder.counts.capture.frames
        wait_until(lambda: running.recorder.counts.capture.frames >= frames + 2)

    with RunningRecorder(tmp_path / "a") as running:
        resize_screen(x_display, 640, 480)
        running.wait_notice("the screen is 640x480 now: what is recorded reaches beyond it, and is black there")
        see_more(running)
        resize_screen(x_display, 320, 240)
        running.wait_notice("off_screen: nothing is recorded")
        resize_screen(x_display, 1280, 800)
        running.wait_notice("the screen is 1280x800 now")
        see_more(running)
    [hole] = running.read().excluded
    assert hole.reason == "off_screen"


def test_what_becomes_of_window_and_screen_is_said() -> None:
    surroundings = WindowSurroundings()
    inside, beyond, off = Rect(0, 0, 50, 50), Rect(60, 0, 80, 50), Rect(100, 0, 9, 9)
    assert surroundings.hear(WindowMoved(0, off), off) is None
    assert not surroundings.is_off_screen
    assert surroundings.hear(ScreenChanged(1, Rect(0, 0, 100, 100)), inside) is None
    for rect, is_off in ((off, True), (beyond, False)):
        assert surroundings.hear(WindowMoved(2, rect), rect) is None
        assert surroundings.is_off_screen == is_off
    assert surroundings.hear(ScreenChanged(3, Rect(0, 0, 200, 100)), beyond) == "the screen is 200x100 now"
    told = surroundings.hear(ScreenChanged(4, Rect(0, 0, 100, 100)), beyond)
    assert told == "the screen is 100x100 now: what is recorded reaches beyond it, and is black there"
    assert surroundings.hear(WindowClosed(5, "gone"), beyond) == "gone: the recording ends"
    assert surroundings.hear(WindowReplaced(6), beyond) is not None
