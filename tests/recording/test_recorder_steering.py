"""Steering a recorder by its keys: pause, goals, discarding, stopping; and the game's states beside the play."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from recorder_support import Hand, RunningRecorder, undated, wait_until
from x_server import ListeningWindow

from vlm_agent.recording import gate, recorder
from vlm_agent.recording.clock import SessionClock
from vlm_agent.recording.state_sources import Exported
from vlm_agent.recording.watch import WatchLimits


@pytest.fixture
def window(x_display: str) -> Iterator[ListeningWindow]:
    with ListeningWindow(x_display, title="A game", x=100, y=80, width=200, height=160) as window:
        yield window


@pytest.fixture
def hand(window: ListeningWindow) -> Iterator[Hand]:
    hand = Hand()
    hand.focus(window.window_id)
    hand.sync()
    yield hand
    hand.close()


def test_hotkeys_are_heard_anywhere_and_never_recorded(window: ListeningWindow, hand: Hand, tmp_path: Path) -> None:
    with (
        ListeningWindow(window.display_name, title="A browser", x=500, y=80) as other,
        RunningRecorder(tmp_path / "a", goals=("find wood", "light a fire"), goal="survive") as running,
    ):
        hand.focus(window.window_id)
        hand.strike("f8")
        hand.strike("e")
        hand.focus(other.window_id)
        hand.strike("f8")
        hand.strike("f8")
        hand.sync()
        running.wait_notice("no goal is left")
        hand.strike("f10")
        hand.strike("x")
        hand.sync()
        running.join()
    reader = running.read()
    assert undated(reader.events()) == [("KeyChanged", "e", True), ("KeyChanged", "e", False)]
    goals = list(reader.goals())
    assert [(goal.text, goal.level) for goal in goals] == [
        ("survive", "long"),
        ("find wood", "short"),
        ("light a fire", "short"),
    ]
    assert goals[1].t_ns <= next(reader.events()).t_ns


def test_a_goal_that_is_typed_later_holds_from_when_its_key_was_pressed(
    window: ListeningWindow, hand: Hand, tmp_path: Path
) -> None:
    with RunningRecorder(tmp_path / "a") as running:
        hand.strike("f8")
        hand.strike("e")
        hand.sync()
        running.wait_events(2)
        assert running.recorder.counts.is_asking
        running.recorder.type_goal("open the door\n")
        running.wait_notice("goal: open the door")
        assert not running.recorder.counts.is_asking
    [goal] = running.read().goals()
    assert goal.text == "open the door"
    assert goal.t_ns <= next(running.read().events()).t_ns


def test_a_pause_leaves_nothing_and_holds_nothing(window: ListeningWindow, hand: Hand, tmp_path: Path) -> None:
    with RunningRecorder(tmp_path / "a", is_waiting=True) as running:
        hand.strike("b")
        hand.strike("f9")
        hand.key("w", pressed=True)
        hand.strike("f9")
        hand.key("w", pressed=False)
        hand.key("q", pressed=True)
        hand.strike("f9")
        hand.key("q", pressed=False)
        hand.strike("e")
        hand.sync()
        running.wait_events(4)
        frames = running.recorder.counts.capture.frames
        wait_until(lambda: running.recorder.counts.capture.frames >= frames + 2)
    reader = running.read()
    assert undated(reader.events()) == [
        ("KeyChanged", "w", True),
        # Its own release came in the pause, so it is let go where the pause begins.
        ("KeyChanged", "w", False),
        ("KeyChanged", "e", True),
        ("KeyChanged", "e", False),
    ]
    assert [hole.reason for hole in reader.excluded] == ["paused", "paused"]
    for frame in reader.frames():
        assert not any(hole.start_ns <= frame.t_ns < hole.stop_ns for hole in reader.excluded)


def test_what_is_discarded_is_out_of_every_stream(
    window: ListeningWindow, hand: Hand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    span_ns = 700_000_000
    monkeypatch.setattr(gate, "DISCARD_NS", span_ns)
    monkeypatch.setattr(recorder, "DISCARD_NS", span_ns)
    with RunningRecorder(tmp_path / "a", goals=("one", "two")) as running:
        hand.strike("a")
        hand.key("w", pressed=True)
        hand.sync()
        began_ns = running.clock.now_ns()
        running.wait_events(3)
        # The span that will be discarded begins after what was pressed here.
        wait_until(lambda: running.clock.now_ns() > began_ns + span_ns + 200_000_000)
        hand.key("w", pressed=False)
        hand.strike("f8")
        hand.key("q", pressed=True)
        hand.strike("b")
        hand.strike("f7")
        hand.key("q", pressed=False)
        hand.strike("f8")
        hand.strike("c")
        hand.sync()
        running.wait_events(3 + 4 + 1 + 2)
    reader = running.read()
    [hole] = reader.excluded
    assert hole.reason == "discarded"
    assert hole.stop_ns - hole.start_ns == span_ns
    assert undated(reader.events()) == [
        ("KeyChanged", "a", True),
        ("KeyChanged", "a", False),
        ("KeyChanged", "w", True),
        # Released within the span: whoever saw it pressed must see it released.
        ("KeyChanged", "w", False),
        ("KeyChanged", "c", True),
        ("KeyChanged", "c", False),
    ]
    # The goal that was marked in the span is the next one again.
    assert [goal.text for goal in reader.goals()] == ["one"]
    assert all(goal.t_ns >= hole.stop_ns for goal in reader.goals())
    for stream in (reader.frames(), reader.screens(), reader.events()):
        assert not any(hole.start_ns <= one.t_ns < hole.stop_ns for one in stream)


def test_discarding_at_once_keeps_the_goal_of_the_whole_play(
    window: ListeningWindow, hand: Hand, tmp_path: Path
) -> None:
    with RunningRecorder(tmp_path / "a", goal="survive") as running:
        hand.strike("b")
        hand.strike("f7")
        hand.strike("e")
        hand.sync()
        running.wait_events(4)
        frames = running.recorder.counts.capture.frames
        wait_until(lambda: running.recorder.counts.capture.frames >= frames + 2)
    reader = running.read()
    assert [row[1] for row in undated(reader.events())] == ["e", "e"]
    assert [goal.text for goal in reader.goals()] == ["survive"]
    assert [who for _, who in reader.controls()] == ["human"]
    assert len(list(reader.placements())) >= 1
    assert len(list(reader.frames())) >= 2


class Counting:
    """A game whose state counts on, stamped by a clock of its own."""

    def __init__(self, clock: SessionClock) -> None:
        self._clock = clock
        self._tick = 0
        self.is_closed = False

    def poll(self) -> list[Exported]:
        self._tick += 1
        now_ns = self._clock.now_ns()
        state = {"timestamp": now_ns / 1e6 - 40, "tick": self._tick}
        return [Exported(state, now_ns, state)]

    def close(self) -> None:
        self.is_closed = True


def test_states_of_the_game_stand_beside_the_play(window: ListeningWindow, hand: Hand, tmp_path: Path) -> None:
    clock = SessionClock()
    states = Counting(clock)
    with RunningRecorder(tmp_path / "a", states=states, clock=clock, state_ms=20) as running:
        hand.move(150, 100)
        hand.click()
        hand.sync()
        running.wait_events(3)
        wait_until(lambda: running.recorder.counts.states.states >= 10)
    assert states.is_closed
    read = list(running.read().game_states())
    assert [state["tick"] for _, state in read] == list(range(1, len(read) + 1))
    assert len(read) == running.recorder.counts.states.states
    times_ns = [t_ns for t_ns, _ in read]
    assert times_ns == sorted(times_ns)


def test_a_stalled_screen_and_missing_input_are_told_when_they_happen(
    window: ListeningWindow, hand: Hand, tmp_path: Path
) -> None:
    limits = WatchLimits(grab_s=0, still_s=0.4, input_s=0.3)
    with RunningRecorder(tmp_path / "a", limits=limits) as running:
        running.wait_notice("no input for")
        running.wait_notice("the picture has not changed")
        hand.strike("e")
        hand.sync()
        running.wait_notice("input again")
        window.do("clear_area", width=10, height=10)
        window.do("change_attributes", background_pixel=0xFF0000)
        window.do("clear_area")
        running.wait_notice("the picture moves again")
