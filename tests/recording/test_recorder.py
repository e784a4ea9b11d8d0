"""Recording a window of a real X server: what is in the session is what happened in the window, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from recorder_support import Hand, RunningRecorder, undated, wait_until
from x_server import ListeningWindow

from vlm_agent.actions.placement import Placement, Rect
from vlm_agent.errors import ConfigError


@pytest.fixture
def window(x_display: str) -> Iterator[ListeningWindow]:
    with ListeningWindow(x_display, title="A game", x=100, y=80, width=200, height=160) as window:
        yield window


@pytest.fixture
def hand(window: ListeningWindow) -> Iterator[Hand]:
    hand = Hand()
    yield hand
    hand.close()


def test_every_event_is_there_once_at_its_place_and_at_the_servers_time(
    window: ListeningWindow, hand: Hand, tmp_path: Path
) -> None:
    with RunningRecorder(tmp_path / "a") as running:
        for step in range(200):
            hand.move(101 + step % 190, 90 + step % 140)
            if step % 4 == 0:
                hand.click(1 + step % 3)
            if step % 5 == 0:
                hand.strike(("a", "space", "minus", "shift")[step % 4])
            if step % 10 == 0:
                hand.click(4 + step % 2)
            hand.sync()
        heard = list(window.wait_for(200 + 2 * 50 + 2 * 40 + 2 * 20))
        running.wait_events(200 + 2 * 50 + 2 * 40 + 20)
    events = list(running.read().events())
    assert len(events) == 200 + 2 * 50 + 2 * 40 + 20
    moves = [(event.x, event.y) for event in heard if event.kind == "MotionNotify"]
    assert [(row[1], row[2]) for row in undated(events) if row[0] == "PointerMoved"] == moves
    presses = [row for row in undated(events) if row[0] == "ButtonChanged"]
    assert [row[3] for row in presses] == [
        ("left", "middle", "right")[step % 3] for step in range(0, 200, 4) for _ in "du"
    ]
    # A wheel's release is no event of its own: every other one is compared with the server's own time of it.
    server_ms = [event.server_ms for event in heard if not (event.kind == "ButtonRelease" and event.detail in (4, 5))]
    off_ms = [
        abs((event.t_ns - running.clock.of_monotonic(0)) / 1e6 - ms)
        for event, ms in zip(events, server_ms, strict=True)
    ]
    assert np.percentile(off_ms, 95) < 2
    # Nor is any later than when the window got it, whose thread is only ever late.
    arrived_ns = [one.t_ns for one in heard if not (one.kind == "ButtonRelease" and one.detail in (4, 5))]
    assert all(event.t_ns <= running.clock.of_monotonic(t_ns) for event, t_ns in zip(events, arrived_ns, strict=True))
    frames = list(running.read().frames())
    assert frames[0].rgb.shape == (160, 200, 3)
    assert abs(frames[-1].rgb.astype(int) - (0x33, 0x66, 0x99)).mean() < 4


def test_keys_and_clicks_elsewhere_never_reach_the_file(window: ListeningWindow, hand: Hand, tmp_path: Path) -> None:
    with (
        ListeningWindow(window.display_name, title="A browser", x=500, y=80) as other,
        RunningRecorder(tmp_path / "a") as running,
    ):
        for round_number in range(20):
            # All of it without a pause: only the server's order tells in which window a key was typed.
            hand.focus(window.window_id)
            hand.strike("a")
            hand.focus(other.window_id)
            hand.strike("p")
            hand.move(550, 100 + round_number)
            hand.click()
            hand.move(150, 100 + round_number)
            hand.click()
        hand.sync()
        other.wait_for(20 * 4)
        running.wait_events(20 * 5)
    rows = undated(running.read().events())
    one_round = [("KeyChanged", "a", True), ("KeyChanged", "a", False)]
    expected = [
        row
        for number in range(20)
        for row in (
            *one_round,
            ("PointerMoved", 50, 20 + number),
            ("ButtonChanged", 50, 20 + number, "left", True),
            ("ButtonChanged", 50, 20 + number, "left", False),
        )
    ]
    assert rows == expected


def test_what_was_pressed_inside_is_released_wherever_and_the_other_way_round_not(
    window: ListeningWindow, hand: Hand, tmp_path: Path
) -> None:
    with (
        ListeningWindow(window.display_name, title="A browser", x=500, y=80) as other,
        RunningRecorder(tmp_path / "a") as running,
    ):
        hand.focus(window.window_id)
        hand.move(150, 100)
        hand.key("w", pressed=True)
        hand.button(1, pressed=True)
        hand.move(560, 120)
        hand.focus(other.window_id)
        hand.button(1, pressed=False)
        hand.key("w", pressed=False)
        hand.key("q", pressed=True)
        hand.button(3, pressed=True)
        hand.move(150, 100)
        hand.focus(window.window_id)
        hand.button(3, pressed=False)
        hand.key("q", pressed=False)
        hand.strike("e")
        hand.sync()
        running.wait_events(9)
    assert undated(running.read().events()) == [
        ("PointerMoved", 50, 20),
        ("KeyChanged", "w", True),
        ("ButtonChanged", 50, 20, "left", True),
        # A drag is followed beyond the edge, and told as it is.
        ("PointerMoved", 460, 40),
        ("ButtonChanged", 460, 40, "left", False),
        ("KeyChanged", "w", False),
        ("PointerMoved", 50, 20),
        ("KeyChanged", "e", True),
        ("KeyChanged", "e", False),
    ]


def test_a_window_is_followed_and_every_event_is_mapped_by_where_it_was(
    window: ListeningWindow, hand: Hand, tmp_path: Path
) -> None:
    rects = [Rect(100, 80, 200, 160), Rect(300, 200, 200, 160), Rect(10, 20, 400, 160), Rect(50, 60, 100, 80)]
    with RunningRecorder(tmp_path / "a") as running:
        for rect in rects * 3:
            hand.window(window.window_id).configure(x=rect.x, y=rect.y, width=rect.width, height=rect.height)
            hand.move(rect.x + rect.width // 4, rect.y + rect.height // 4)
            hand.click()
        hand.sync()
        running.wait_events(3 * 4 * 3)
        frames = running.recorder.counts.capture.frames
        wait_until(lambda: running.recorder.counts.capture.frames >= frames + 2)
    reader = running.read()
    placements = [Placement.fit(rect, 200, 160) for rect in rects * 3]
    expected = [
        (kind, *placement.to_frame(rect.x + rect.width // 4, rect.y + rect.height // 4))
        for rect, placement in zip(rects * 3, placements, strict=True)
        for kind in ("PointerMoved", "ButtonChanged", "ButtonChanged")
    ]
    events = list(reader.events())
    assert [row[:3] for row in undated(events)] == expected
    told = list(reader.placements())
    changes = [placement for _, placement in told[:1]] + [new for (_, old), (_, new) in pairwise(told) if old != new]
    assert changes == placements
    # Replayed from the file alone, each event lands where the hand was.
    for event, rect in zip(events[::3], rects * 3, strict=True):
        candidates = [placement for t_ns, placement in told if t_ns <= event.t_ns and placement.screen == rect]
        place = candidates[-1].to_screen(event.x, event.y)
        coarse = rect.width / 200 + 1
        assert abs(place[0] - rect.x - rect.width // 4) <= coarse
        assert abs(place[1] - rect.y - rect.height // 4) <= coarse
    last = list(reader.frames())[-1].rgb
    assert last.shape == (160, 200, 3)
    assert abs(last.astype(int) - (0x33, 0x66, 0x99)).mean() < 4


def test_a_window_of_another_shape_is_letterboxed(window: ListeningWindow, hand: Hand, tmp_path: Path) -> None:
    with RunningRecorder(tmp_path / "a") as running:
        hand.window(window.window_id).configure(width=400, height=160)
        hand.sync()
        frames = running.recorder.counts.capture.frames
        wait_until(lambda: running.recorder.counts.capture.frames >= frames + 3)
    last = list(running.read().frames())[-1].rgb.astype(int)
    assert last[:36].max() < 40
    assert last[124:].max() < 40
    assert abs(last[44:116] - (0x33, 0x66, 0x99)).mean() < 6


def test_a_locked_pointers_motion_is_recorded_while_the_window_has_the_keyboard(
    window: ListeningWindow, hand: Hand, tmp_path: Path
) -> None:
    with (
        ListeningWindow(window.display_name, title="A browser", x=500, y=80) as other,
        RunningRecorder(tmp_path / "a") as running,
    ):
        hand.focus(window.window_id)
        hand.move(150, 100)
        hand.sync()
        # As games do: the pointer can't leave its place, and only the mouse itself still tells where it is pushed.
        hand.window(window.window_id).grab_pointer(True, 0, 1, 1, window.window_id, 0, 0)
        hand.sync()
        running.wait_events(1)
        pushes = [(5, -3), (-700, 0), (0, 12)]
        for dx, dy in pushes:
            hand.push(dx, dy)
        hand.sync()
        wait_until(lambda: running.recorder.counts.raw_motions >= 4)
        hand.display.ungrab_pointer(0)
        hand.focus(other.window_id)
        hand.strike("x")
        hand.sync()
        other.wait_for(2)
        # Raw motion comes on a connection of its own, before XRecord tells of the focus: it must not overtake it.
        hand.push(9, 9)
        hand.move(150, 100)
        hand.sync()
    motions = [(motion.dx, motion.dy) for motion in running.read().raw_motions()]
    # The first is XTEST's absolute move, which only a program can make.
    assert motions[1:] == pushes


def test_a_closed_window_ends_the_recording_well(window: ListeningWindow, hand: Hand, tmp_path: Path) -> None:
    with RunningRecorder(tmp_path / "a") as running:
        hand.focus(window.window_id)
        hand.key("w", pressed=True)
        hand.sync()
        running.wait_events(1)
        window.do("destroy")
        running.join()
        hand.key("w", pressed=False)
        hand.sync()
    assert undated(running.read().events()) == [("KeyChanged", "w", True), ("KeyChanged", "w", False)]
    assert running.read().info().frames > 0


def test_a_hidden_window_is_left_out_until_it_is_back(window: ListeningWindow, hand: Hand, tmp_path: Path) -> None:
    with RunningRecorder(tmp_path / "a") as running:
        window.do("unmap")
        running.wait_notice("hidden")
        hand.move(150, 100)
        hand.strike("z")
        hand.sync()
        window.do("map")
        window.do("set_input_focus", revert_to=2, time=0)
        running.wait_notice("recording")
        hand.strike("e")
        hand.sync()
        running.wait_events(2)
    reader = running.read()
    assert [row[1] for row in undated(reader.events()) if row[0] == "KeyChanged"] == ["e", "e"]
    [hole] = reader.excluded
    assert hole.reason == "hidden"
    assert not any(hole.start_ns <= frame.t_ns < hole.stop_ns for frame in reader.frames())


def test_a_server_that_goes_away_is_told_and_what_was_recorded_is_kept(
    window: ListeningWindow, hand: Hand, tmp_path: Path
) -> None:
    with RunningRecorder(tmp_path / "a") as running:
        hand.focus(window.window_id)
        hand.strike("a")
        hand.sync()
        running.wait_events(2)
        hand.display.sync()
        # Our connection is cut, as it is when the server ends.
        running.recorder._parts.devices._record._events.display.socket.shutdown(2)
        with pytest.raises(ConfigError, match="server is gone"):
            running.join()
        running.errors.clear()
    assert len(list(running.read().events())) == 2
