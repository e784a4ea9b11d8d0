"""Device events read by hand against python-xlib's own reading, and the end of hearing on a real X server."""

from __future__ import annotations

import queue
import sys
import threading
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from Xlib import X
from Xlib.ext import record, xtest
from Xlib.protocol import event as xlib_event

from vlm_agent.desktop.x11 import connect
from vlm_agent.desktop.x11_record import SENT, CoreEvent, RecordThread, parse_core

_PLACES = st.integers(-(2**15), 2**15 - 1)
_KINDS = [
    xlib_event.KeyPress,
    xlib_event.KeyRelease,
    xlib_event.ButtonPress,
    xlib_event.ButtonRelease,
    xlib_event.MotionNotify,
]


@given(
    st.sampled_from(_KINDS),
    st.integers(0, 255),
    st.integers(0, 2**32 - 1),
    _PLACES,
    _PLACES,
    st.booleans(),
    st.integers(0, 3),
)
def test_device_events_are_read_as_python_xlib_writes_them(kind, detail, time_ms, x, y, is_sent, group):
    windows = {"root": 1, "window": 2, "child": 3, "state": 4 | group << 13, "same_screen": 1}
    written = kind(detail=detail, time=time_ms, root_x=x, root_y=y, event_x=-7, event_y=9, **windows)
    data = written._binary
    data = bytes([data[0] | (SENT if is_sent else 0)]) + data[1:]
    assert parse_core(data) == CoreEvent(kind._code, detail, time_ms, x, y, group, root_id=1)


@pytest.mark.parametrize(
    ("category", "is_swapped", "num_cut", "heard"),
    [
        (record.FromServer, False, 0, [(7, b"a" * 32), (2**31, b"b" * 32)]),
        (record.FromServer, False, 1, [(7, b"a" * 32)]),
        (record.FromServer, True, 0, []),
        (record.StartOfData, False, 0, []),
    ],
)
def test_every_event_of_a_reply_is_told_with_its_time(category, is_swapped, num_cut, heard):
    told: list[tuple[int, bytes]] = []
    thread = RecordThread.__new__(RecordThread)
    thread._hear = lambda server_ms, event: told.append((server_ms, event))
    thread._is_ready = threading.Event()
    data = (7).to_bytes(4, sys.byteorder) + b"a" * 32 + (2**31).to_bytes(4, sys.byteorder) + b"b" * 32
    data = data[: len(data) - num_cut]
    thread._take(SimpleNamespace(category=category, client_swapped=is_swapped, data=data))
    assert told == heard
    assert thread._is_ready.is_set() == (category == record.StartOfData)


@pytest.mark.parametrize("is_cut", [False, True])
def test_events_are_heard_until_closed_and_only_a_cut_is_a_loss(x_display: str, is_cut: bool) -> None:
    heard: queue.Queue[object] = queue.Queue()
    thread = RecordThread(
        connect(),
        lambda _, event: heard.put(parse_core(event)[:2]),
        consequence="the test fails",
        on_lost=lambda: heard.put("lost"),
    )
    hand = connect()
    xtest.fake_input(hand, X.MotionNotify, x=30, y=40)
    hand.sync()
    assert heard.get(timeout=5) == (X.MotionNotify, 0)
    assert thread.is_alive
    if is_cut:
        thread._events.display.socket.shutdown(2)
        assert heard.get(timeout=5) == "lost"
    thread.close()
    thread.close()
    hand.close()
    assert not thread.is_alive
    assert heard.empty()
