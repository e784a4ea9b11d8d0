"""Who has keyboard and pointer, from the bytes that RECORD tells of all clients; and by trials on a real X server."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from Xlib import X

from vlm_agent.desktop.x11 import connect
from vlm_agent.desktop.x11_grabs import GrabLog, GrabOwner, GrabWatch, split_requests

XI = 131
OURS, GAME, MENU = 0x200000, 0x400000, 0x600000
WINDOW = 0x400001


def grab(opcode, window):
    return struct.pack("=BBHI8x", opcode, 1, 4, window)


def ungrab(opcode):
    return struct.pack("=BBHI", opcode, 0, 2, 0)


def xi_grab(device, window):
    return struct.pack("=BBHIIIHBBBxH", XI, 51, 6, window, 0, 0, device, 1, 1, 1, 0)


def xi_ungrab(device):
    return struct.pack("=BBHIHxx", XI, 52, 3, 0, device)


def answer(status):
    return struct.pack("=BBHI24x", 1, status, 9, 0)


def xi_answer(status):
    return struct.pack("=BBHIB23x", 1, 51, 9, 0, status)


def press(kind, window):
    return struct.pack("=BBHIII16x", kind, 25, 9, 0, 1, window)


def log():
    return GrabLog(OURS, XI)


@pytest.mark.parametrize(
    ("what", "asks", "says_yes", "says_no", "lets_go"),
    [
        ("keyboard", grab(31, WINDOW), answer(0), answer(1), ungrab(32)),
        ("pointer", grab(26, WINDOW), answer(0), answer(1), ungrab(27)),
        ("keyboard", xi_grab(3, WINDOW), xi_answer(0), xi_answer(1), xi_ungrab(3)),
        ("pointer", xi_grab(2, WINDOW), xi_answer(0), xi_answer(1), xi_ungrab(2)),
    ],
)
def test_a_grab_is_its_clients_from_a_yes_until_it_lets_go_or_dies(what, asks, says_yes, says_no, lets_go):
    told = log()
    assert told.hear_request(MENU, asks)
    assert told.find(what) is None
    told.hear_told(MENU, says_no)
    assert told.find(what) is None
    told.hear_request(GAME, asks)
    told.hear_told(GAME, says_yes)
    assert told.find(what) == GrabOwner(GAME, WINDOW)
    told.hear_request(MENU, lets_go)
    told.hear_death(MENU)
    assert told.find(what) == GrabOwner(GAME, WINDOW)
    told.hear_request(GAME, lets_go)
    assert told.find(what) is None
    told.hear_request(GAME, asks)
    told.hear_told(GAME, says_yes)
    told.hear_death(GAME)
    assert told.find(what) is None


def test_a_press_shows_whose_the_device_is_and_a_trial_that_nobodys_it_is():
    told = log()
    told.hear_told(MENU, press(X.ButtonPress, 77))
    assert told.find("pointer") == GrabOwner(MENU, 77)
    assert told.find("keyboard") is None
    # A grab whose window has gone ended without a word; that another client is told of a press shows it.
    told.hear_request(GAME, grab(26, WINDOW))
    told.hear_told(GAME, answer(0))
    told.hear_told(MENU, press(X.ButtonPress, 77))
    assert told.find("pointer") == GrabOwner(MENU, 77)
    assert not told.hear_request(OURS, grab(26, 5))
    told.hear_told(OURS, answer(X.AlreadyGrabbed))
    assert (told.find("pointer"), told.num_trials) == (GrabOwner(MENU, 77), 1)
    told.hear_request(OURS, grab(26, 5))
    told.hear_told(OURS, answer(X.GrabNotViewable))
    assert (told.find("pointer"), told.num_trials) == (None, 2)


def test_requests_are_split_by_their_lengths():
    parts = [grab(31, WINDOW), ungrab(32), xi_grab(3, WINDOW)]
    assert list(split_requests(b"".join(parts))) == parts
    assert list(split_requests(b"".join(parts)[:-4])) == parts[:2]


@given(st.lists(st.tuples(st.sampled_from([OURS, GAME, MENU]), st.booleans(), st.binary(min_size=28, max_size=40))))
def test_no_bytes_break_it(pieces):
    told = log()
    for client, is_request, data in pieces:
        if is_request:
            for request in split_requests(data):
                if len(request) >= 20:
                    told.hear_request(client, request)
        else:
            told.hear_told(client, data)


def test_a_trial_changes_nothing_and_tells_who(x_display):
    asking, game, other = connect(x_display), connect(x_display), connect(x_display)
    mask = X.FocusChangeMask | X.EnterWindowMask | X.LeaveWindowMask
    window = game.screen().root.create_window(0, 0, 400, 300, 0, X.CopyFromParent, event_mask=mask)
    window.map()
    game.sync()
    window.set_input_focus(X.RevertToParent, X.CurrentTime)
    game.sync()
    changes = []
    watch = GrabWatch(asking, lambda: changes.append(1))
    while game.pending_events():
        game.next_event()
    assert [watch.read(watch.ask()) for _ in range(3)] == [{}, {}, {}]
    game.sync()
    assert game.pending_events() == 0
    assert changes == []
    root = other.screen().root
    root.grab_keyboard(True, X.GrabModeAsync, X.GrabModeAsync, X.CurrentTime)
    assert watch.read(watch.ask()) == {"keyboard": GrabOwner(other.display.info.resource_id_base, root.id)}
    assert changes
    other.ungrab_keyboard(X.CurrentTime)
    window.grab_pointer(True, 0, X.GrabModeAsync, X.GrabModeAsync, X.NONE, X.NONE, X.CurrentTime)
    other.sync()
    assert watch.read(watch.ask()) == {"pointer": GrabOwner(game.display.info.resource_id_base, window.id)}
    game.close()
    assert watch.read(watch.ask()) == {}
    watch.close()
    for display in (asking, other):
        display.close()
