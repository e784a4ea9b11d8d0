"""Windows, keys and pictures of a real X server."""

from __future__ import annotations

import numpy as np
import pytest
from x_server import ListeningWindow, run_x_server
from Xlib import X
from Xlib.ext import xtest

from vlm_agent.actions.placement import Placement, Rect
from vlm_agent.desktop.screen import ScreenGrabber
from vlm_agent.desktop.virtual import open_virtual_screen
from vlm_agent.desktop.windows import choose_window, open_desktop
from vlm_agent.desktop.x11 import X11Desktop, connect
from vlm_agent.desktop.x11_keys import KeyTable
from vlm_agent.errors import ConfigError
from vlm_agent.sessions.keys import KEY_CODES


def test_a_window_is_found_and_followed(x_display: str) -> None:
    desktop = open_desktop()
    with ListeningWindow(x_display, title="A game", x=37, y=51, width=400, height=300) as window:
        assert choose_window(desktop, "game").rect == Rect(37, 51, 400, 300)
        assert desktop.find_focused() == desktop.find_at(40, 60) == window.window_id
        assert desktop.find_at(5, 5) is None
        window.do("configure", x=200, y=100, width=100, height=90)
        moved = desktop.describe(window.window_id)
        assert moved is not None
        assert moved.rect == Rect(200, 100, 100, 90)
        window.do("unmap")
        assert desktop.describe(window.window_id) is None
        assert desktop.find_focused() is None
    desktop.close()


def test_titles_that_name_no_window_or_several_are_refused_with_what_there_is(x_display: str) -> None:
    desktop = open_desktop()
    with ListeningWindow(x_display, title="one"), ListeningWindow(x_display, title="one more"):
        with pytest.raises(ConfigError, match=r"names no window; there are: one, one more"):
            choose_window(desktop, "other")
        with pytest.raises(ConfigError, match="names 2 windows"):
            choose_window(desktop, "on")
        with pytest.raises(ConfigError, match="regular expression"):
            choose_window(desktop, "(")
        assert choose_window(desktop, "one").title == "one"
    desktop.close()


def test_every_key_that_the_server_has_goes_out_and_comes_back_under_its_name(x_display: str) -> None:
    display = connect()
    table = KeyTable(display)
    known = {name: code for name in KEY_CODES if (code := table.find_code(name)) is not None}
    assert set(KEY_CODES) - set(known) <= {"clear", *(f"f{number}" for number in range(13, 25))}
    sides = {"leftshift": "shift", "rightshift": "shift", "leftctrl": "ctrl", "rightctrl": "ctrl"}
    sides |= {"leftalt": "alt", "rightalt": "alt"}
    with ListeningWindow(x_display) as window:
        for code in known.values():
            xtest.fake_input(display, X.KeyPress, code)
            xtest.fake_input(display, X.KeyRelease, code)
        display.sync()
        heard = window.wait_for(2 * len(known))
    names = [table.find_name(event.detail) for event in heard if event.kind == "KeyPress"]
    assert names == [sides.get(name, name) for name in known]
    # Locks that were struck once are struck again, so that nothing is left changed.
    for name in ("capslock", "numlock", "scrolllock"):
        for kind in (X.KeyPress, X.KeyRelease):
            xtest.fake_input(display, kind, known[name])
    display.sync()
    display.close()


def test_a_grabbed_picture_is_what_the_screen_shows(x_display: str) -> None:
    with ListeningWindow(x_display, x=20, y=30, width=100, height=80):
        grabber = ScreenGrabber()
        picture = grabber.grab(Rect(15, 25, 20, 20))
        assert picture.shape == (20, 20, 3)
        assert picture.flags.c_contiguous
        assert tuple(picture[5, 5]) == (0x33, 0x66, 0x99)
        assert tuple(picture[4, 4]) == (0, 0, 0)
        beyond = grabber.grab(Rect(-10, -10, 50, 60))
        assert tuple(beyond[45, 35]) == (0x33, 0x66, 0x99)
        assert not grabber.grab(Rect(5000, 0, 4, 4)).any()
        frame = grabber.grab_frame(Placement.fit(Rect(20, 30, 100, 80), 100, 100))
        assert not frame[:10].any()
        assert np.all(frame[10:90] == (0x33, 0x66, 0x99))
        grabber.close()


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({}, "DISPLAY is not set"),
        ({"XDG_SESSION_TYPE": "wayland"}, "Xorg session"),
        ({"DISPLAY": ":987"}, "DISPLAY right"),
    ],
)
def test_no_screen_is_told_in_one_line(variables: dict[str, str], says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "XDG_SESSION_TYPE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=says):
        open_desktop()


def test_a_screen_of_our_own_ends_with_its_block_and_is_asked_for_where_it_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with run_x_server(640, 480) as name:
        desktop = X11Desktop(name)
        assert desktop.screen == Rect(0, 0, 640, 480)
        desktop.close()
    with pytest.raises(ConfigError, match="can't reach the X server"):
        X11Desktop(name)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigError, match="apt-get install xvfb"), open_virtual_screen():
        pass
