"""The recorder on devices and a clock that the test decides: what is left out, what is told, to the nanosecond."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np

from vlm_agent.actions.events import ButtonChanged, KeyChanged, PointerMoved
from vlm_agent.actions.placement import Placement, Rect
from vlm_agent.recording.hotkeys import Hotkeys, parse_hotkey
from vlm_agent.recording.recorder import Parts, Plan, Recorder
from vlm_agent.recording.stream import FocusChanged, WindowClosed, WindowMoved, WindowShown
from vlm_agent.recording.targets import Target
from vlm_agent.sessions.reader import SessionReader
from vlm_agent.sessions.types import Excluded, Goal, RawMotion
from vlm_agent.sessions.writer import SessionWriter

S = 1_000_000_000
BEGIN_NS = 1_000 * S
RECT = Rect(100, 50, 64, 48)
HOTKEYS = {"start": "f9", "stop": "f10", "goal": "f8", "discard": "f7"}


class Clock:
    """Runs with what devices tell; every look at it takes a microsecond, so that frames rise in time."""

    def __init__(self) -> None:
        self.t_ns = BEGIN_NS
        self._lock = threading.Lock()

    def now_ns(self) -> int:
        return self.come_to(self.t_ns + 1000)

    def come_to(self, t_ns: int) -> int:
        with self._lock:
            self.t_ns = max(self.t_ns + 1, t_ns)
            return self.t_ns


class Devices:
    """Tells one item after another, each at its time, and then that the window is gone."""

    notes: tuple[str, ...] = ("times are exact",)

    def __init__(self, clock: Clock, items: list[Any], last: list[Any]) -> None:
        self._clock, self._items, self._last = clock, [FocusChanged(BEGIN_NS, "inside"), *items], last

    def read(self, timeout_s: float) -> list[Any]:
        item = self._items.pop(0) if self._items else WindowClosed(self._clock.t_ns)
        self._clock.come_to(item.t_ns)
        return [item]

    def is_ours(self, x: int, y: int) -> bool:
        return True

    def stop(self) -> list[Any]:
        return self._last

    def close(self) -> None:
        """Hold nothing."""


class BlackScreen:
    def grab_frame(self, placement: Placement) -> Any:
        return np.zeros((placement.frame_height_px, placement.frame_width_px, 3), np.uint8)

    def close(self) -> None:
        """Hold nothing."""


def record(folder: Path, *items: Any, last: tuple[Any, ...] = (), **plan: Any) -> tuple[Recorder, SessionReader]:
    clock = Clock()
    target = Target(RECT, "A game", "game", 7)
    keys = Hotkeys({action: parse_hotkey(text, action) for action, text in HOTKEYS.items()})  # type: ignore[misc]
    with SessionWriter(folder / "a", width_px=64, height_px=48, fps=10) as writer:
        devices: Any = Devices(clock, list(items), list(last))
        parts = Parts(target, clock, devices, BlackScreen)  # type: ignore[arg-type]
        recorder = Recorder(parts, Plan(fps=10.0, hotkeys=keys, **plan), writer)
        recorder.run()
    return recorder, SessionReader(folder / "a.mcap")


def at(seconds: float) -> int:
    return BEGIN_NS + round(seconds * S)


def key(seconds: float, name: str, pressed: bool = True) -> KeyChanged:
    return KeyChanged(at(seconds), name, pressed)


def read_events(reader: SessionReader) -> list[tuple[float, str, bool]]:
    events = [event for event in reader.events() if isinstance(event, KeyChanged)]
    return [(round((event.t_ns - BEGIN_NS) / S, 6), event.key, event.pressed) for event in events]


def test_what_is_recorded_is_in_frame_pixels_and_counted(tmp_path: Path) -> None:
    recorder, reader = record(
        tmp_path,
        key(1, "a"),
        key(2, "a", False),
        PointerMoved(at(3), 110, 60),
        PointerMoved(at(4), 10, 10),
        RawMotion(at(5), 3, 4),
        WindowMoved(at(6), Rect(200, 50, 64, 48)),
        ButtonChanged(at(7), 210, 60, "left", True),
    )
    assert read_events(reader) == [(1, "a", True), (2, "a", False)]
    mouse = [event for event in reader.events() if not isinstance(event, KeyChanged)]
    assert mouse[:2] == [PointerMoved(at(3), 10, 10), ButtonChanged(at(7), 10, 10, "left", True)]
    # What was down at the end is let go there.
    assert (mouse[2].pressed, mouse[2].button, mouse[2].t_ns >= at(7)) == (False, "left", True)  # type: ignore[union-attr]
    assert list(reader.raw_motions()) == [RawMotion(at(5), 3, 4)]
    assert (recorder.counts.events, recorder.counts.raw_motions, recorder.counts.paused) == (5, 1, None)
    assert [who for _, who in reader.controls()] == ["human"]
    moved = [(t_ns, placement.screen.x) for t_ns, placement in reader.placements()]
    assert moved[0][1] == 100
    assert (at(6), 200) in moved
    assert recorder.read_notices()[0] == "times are exact"


def test_a_pause_is_left_out_from_just_after_its_key_to_its_end(tmp_path: Path) -> None:
    recorder, reader = record(
        tmp_path,
        key(1, "w"),
        key(2, "f9"),
        key(3, "a"),
        key(4, "a", False),
        key(5, "w", False),
        key(6, "f9", False),
        key(7, "f9"),
        key(8, "b"),
        key(9, "b", False),
    )
    assert reader.excluded == (Excluded(at(2) + 1, at(7), "paused"),)
    # The release that nobody will hear is of the pause's own moment.
    assert read_events(reader) == [(1, "w", True), (2, "w", False), (8, "b", True), (9, "b", False)]
    told = recorder.read_notices()
    assert told.index("paused: nothing is recorded") < told.index("recording")


def test_a_recording_that_waits_and_is_never_begun_is_left_out_whole(tmp_path: Path) -> None:
    _, reader = record(tmp_path, key(1, "a"), key(2, "a", False), is_waiting=True)
    [hole] = reader.excluded
    assert hole.start_ns <= at(0) + 100_000
    assert hole.stop_ns >= at(2)
    assert list(reader.events()) == []


def test_a_hidden_window_within_a_pause_ends_neither(tmp_path: Path) -> None:
    recorder, reader = record(
        tmp_path,
        key(1, "f9"),
        key(1.5, "f9", False),
        WindowShown(at(2), False),
        key(3, "f9"),
        key(4, "a"),
        WindowShown(at(5), True),
        key(6, "b"),
    )
    assert reader.excluded == (Excluded(at(1) + 1, at(3), "paused"), Excluded(at(2) + 1, at(5), "hidden"))
    assert [name for _, name, _ in read_events(reader)] == ["b", "b"]
    assert recorder.counts.paused is None


def test_the_last_ten_seconds_are_discarded_and_not_what_was_before(tmp_path: Path) -> None:
    recorder, reader = record(
        tmp_path,
        key(1, "w"),
        key(14, "w", False),
        key(15, "a"),
        key(15.5, "a", False),
        key(20, "f7"),
        key(21, "b"),
        key(22, "b", False),
    )
    assert reader.excluded == (Excluded(at(10), at(20), "discarded"),)
    # Released within the span: dated at its end.
    assert read_events(reader) == [(1, "w", True), (20, "w", False), (21, "b", True), (22, "b", False)]
    assert "discarded the last 10.0 s" in recorder.read_notices()


def test_discarding_at_once_tells_anew_who_plays_and_for_what(tmp_path: Path) -> None:
    _, reader = record(tmp_path, key(2, "a"), key(3, "a", False), key(4, "f7"), key(5, "b"), goal="survive")
    [hole] = reader.excluded
    assert hole.stop_ns == at(4)
    # It begins with the session, and no earlier.
    assert at(0) <= hole.start_ns <= at(0) + 100_000
    assert list(reader.goals()) == [Goal(at(4), "survive", "long", "human")]
    assert list(reader.controls()) == [(at(4), "human")]
    assert any(t_ns == at(4) for t_ns, _ in reader.placements())


def test_discarding_in_a_pause_reaches_back_from_its_beginning(tmp_path: Path) -> None:
    _, reader = record(tmp_path, key(30, "f9"), key(30.5, "f9", False), key(35, "f7"), key(40, "f9"))
    assert set(reader.excluded) == {
        Excluded(at(20) + 1, at(30) + 1, "discarded"),
        Excluded(at(30) + 1, at(40), "paused"),
    }


def test_goals_of_a_list_are_told_when_their_key_is_pressed(tmp_path: Path) -> None:
    recorder, reader = record(tmp_path, key(1, "f8"), key(1.5, "f8", False), key(2, "f8"), goals=("one",), goal="all")
    assert [(goal.t_ns >= BEGIN_NS, goal.text, goal.level) for goal in reader.goals()] == [
        (True, "all", "long"),
        (True, "one", "short"),
    ]
    assert [goal.t_ns for goal in reader.goals() if goal.text == "one"] == [at(1)]
    told = recorder.read_notices()
    assert "goal: one" in told
    assert "no goal is left in --goals" in told


def test_the_stop_key_lets_go_at_its_moment_and_what_came_before_the_end_is_kept(tmp_path: Path) -> None:
    _, reader = record(tmp_path, key(1, "w"), key(2, "f10"), key(3, "a"), last=(key(1.5, "late"),))
    assert read_events(reader) == [(1, "w", True), (2, "w", False)]


def test_what_happened_before_the_window_closed_is_recorded_however_late_it_is_told(tmp_path: Path) -> None:
    _, reader = record(tmp_path, key(1, "w"), key(3, "w", False), last=(key(2.5, "a"), key(9_999, "b")))
    assert [name for _, name, _ in read_events(reader)] == ["w", "a", "w", "a"]
