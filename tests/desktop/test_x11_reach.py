"""Who gets what is pressed on a real X server, in one look."""

from __future__ import annotations

import threading

import pytest
from Xlib import X
from Xlib.ext import xinput, xtest

from vlm_agent.desktop.types import Obstacle
from vlm_agent.desktop.x11 import X11Desktop, connect
from vlm_agent.desktop.x11_reach import X11Reach


@pytest.fixture
def game(x_display):
    display = connect(x_display)
    window = display.screen().root.create_window(100, 100, 400, 300, 0, X.CopyFromParent)
    window.map()
    display.sync()
    window.set_input_focus(X.RevertToParent, X.CurrentTime)
    display.sync()
    yield display, window
    display.close()


@pytest.fixture
def reach(game):
    desktop = X11Desktop()
    reach = X11Reach(desktop, lambda: None)
    yield desktop, reach
    reach.close()
    desktop.close()


def test_a_drag_in_a_window_that_hears_by_xinput_2_alone_is_its_own(game, reach):
    (display, window), (desktop, one) = game, reach
    window.xinput_select_events([(2, xinput.ButtonPressMask | xinput.ButtonReleaseMask | xinput.MotionMask)])
    display.screen().root.warp_pointer(150, 150)
    display.sync()
    target = desktop.describe(window.id)
    assert one.find_obstacle(target, (150, 150)) is None
    with one.hold_still():
        assert one.find_obstacle(target, (150, 150)) is None
        xtest.fake_input(desktop.display, X.ButtonPress, 1)
    assert one.find_obstacle(target, (160, 160)) is None
    assert one.find_obstacle(target, "pointer") is None
    xtest.fake_input(desktop.display, X.ButtonRelease, 1)
    desktop.display.sync()
    assert one.find_obstacle(target, "pointer") is None


def test_what_keeps_input_from_a_window(game, reach):
    (display, window), (desktop, one) = game, reach
    target = desktop.describe(window.id)
    root = display.screen().root
    root.warp_pointer(600, 600)
    display.sync()
    assert one.find_obstacle(target, None) is None
    assert one.find_obstacle(target, "pointer") == Obstacle.COVERED
    assert one.find_obstacle(target, (90, 150)) == Obstacle.COVERED
    display.set_input_focus(X.PointerRoot, X.RevertToNone, X.CurrentTime)
    display.sync()
    assert one.find_obstacle(target, None) == Obstacle.FOCUS
    root.warp_pointer(150, 150)
    display.sync()
    assert one.find_obstacle(target, None) is None
    window.configure(x=120)
    display.sync()
    assert one.find_obstacle(target, None) == Obstacle.MOVED
    window.destroy()
    display.sync()
    assert one.find_obstacle(target, None) == Obstacle.MOVED


def test_nothing_comes_between_while_the_server_is_held(game, reach):
    (display, window), (desktop, one) = game, reach
    target = desktop.describe(window.id)
    taken = []

    def take():
        taken.append(display.screen().root.grab_keyboard(True, X.GrabModeAsync, X.GrabModeAsync, X.CurrentTime))

    with one.hold_still():
        assert one.find_obstacle(target, None) is None
        thread = threading.Thread(target=take)
        thread.start()
        thread.join(0.2)
        assert taken == []
        assert one.find_obstacle(target, None) is None
    thread.join(5)
    assert taken == [X.GrabSuccess]
