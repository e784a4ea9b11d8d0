"""Whose a window is, on a real X server."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from Xlib import X, Xatom

from vlm_agent.desktop.x11 import connect
from vlm_agent.desktop.x11_clients import SERVER_ITSELF, X11Clients


def make_window(display, x=0, y=0, parent=None, *, is_pop_up=False, for_window=None, pid=None):
    parent = parent or display.screen().root
    window = parent.create_window(x, y, 50, 40, 0, X.CopyFromParent, override_redirect=is_pop_up)
    for name, kind, value in ((Xatom.WM_TRANSIENT_FOR, Xatom.WINDOW, for_window), ("_NET_WM_PID", Xatom.CARDINAL, pid)):
        if value is not None:
            window.change_property(display.intern_atom(name) if isinstance(name, str) else name, kind, 32, [value])
    window.map()
    display.sync()
    return window


@pytest.fixture
def displays(x_display):
    opened = [connect(x_display) for _ in range(2)]
    yield opened
    for display in opened:
        display.close()


def test_an_identifier_tells_its_client_and_the_server_the_process(displays):
    asking, other = displays
    clients = X11Clients(asking)
    mine, theirs = make_window(asking), make_window(other)
    assert clients.find_client(mine.id) == asking.display.info.resource_id_base
    assert clients.find_client(theirs.id) == other.display.info.resource_id_base
    assert clients.find_client(asking.screen().root.id) == SERVER_ITSELF
    assert clients.find_pid(clients.find_client(theirs.id)) == os.getpid()
    assert clients.find_pid(SERVER_ITSELF) is None
    text = (
        "from Xlib import display; d = display.Display(); print(d.display.info.resource_id_base, flush=True); input()"
    )
    with subprocess.Popen([sys.executable, "-c", text], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert clients.find_pid(int(process.stdout.readline())) == process.pid
        process.stdin.close()


def test_windows_of_two_connections_are_one_programs_where_both_say_so_and_it_is_true(displays):
    asking, other = displays
    clients = X11Clients(asking)
    mine, told, untold = make_window(asking, pid=os.getpid()), make_window(other, pid=os.getpid()), make_window(other)
    assert clients.is_same_program(mine.id, told.id)
    assert clients.is_same_program(untold.id, told.id)
    assert not clients.is_same_program(mine.id, untold.id)
    assert not clients.is_same_program(make_window(asking, pid=1).id, make_window(other, pid=1).id)
    assert not clients.is_same_program(asking.screen().root.id, asking.screen().root.id)


def test_what_is_part_of_a_window(displays):
    asking, other = displays
    clients = X11Clients(asking)
    game = make_window(asking, 100, 100)
    inside = make_window(other, 10, 10, asking.create_resource_object("window", game.id))
    assert clients.find_deepest(115, 115) == inside.id
    assert clients.find_deepest(105, 105) == game.id
    assert clients.find_deepest(1000, 700) == asking.screen().root.id
    assert clients.list_ancestors(inside.id) == [inside.id, game.id]
    dialog = make_window(asking, for_window=game.id)
    plain = make_window(asking)
    gone = asking.create_resource_object("window", asking.display.info.resource_id_base + 0x1_FFF0)
    parts = {
        "itself": game,
        "inside": inside,
        "pop-up": make_window(asking, is_pop_up=True),
        "dialog": dialog,
        "dialog of a dialog": make_window(asking, for_window=dialog.id),
        "dialog of all": make_window(asking, for_window=asking.screen().root.id),
    }
    others = {
        "plain": plain,
        "dialog of another": make_window(asking, for_window=plain.id),
        "another's pop-up": make_window(other, is_pop_up=True),
        "another's dialog": make_window(other, for_window=game.id),
        "gone": gone,
    }
    assert {name: clients.is_part_of(window.id, game.id) for name, window in (parts | others).items()} == {
        **dict.fromkeys(parts, True),
        **dict.fromkeys(others, False),
    }
