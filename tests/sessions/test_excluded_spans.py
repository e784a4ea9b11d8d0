"""Spans that were excluded from a session: no stream and no count holds them, before and after a repair."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from made_sessions import MS, draw

from vlm_agent.actions.events import KeyChanged
from vlm_agent.actions.placement import Placement, Rect
from vlm_agent.sessions.appending import part_path
from vlm_agent.sessions.reader import SessionReader
from vlm_agent.sessions.repair import repair
from vlm_agent.sessions.types import Excluded, Goal
from vlm_agent.sessions.writer import SessionWriter

HOLES = (Excluded(400 * MS, 900 * MS, "discarded"), Excluded(700 * MS, 1200 * MS, "paused"))


def write_holed(stem: Path, *, is_closed: bool = True, holes: tuple[Excluded, ...] = HOLES) -> Path:
    writer = SessionWriter(stem, width_px=64, height_px=48, fps=10)
    for step in range(20):
        t_ns = step * 100 * MS
        writer.write_frame(t_ns, draw(step, 64, 48))
        writer.write_event(KeyChanged(t_ns, "a", step % 2 == 0))
        writer.write_game_state(t_ns, {"tick": step})
        writer.write_goal(t_ns, Goal(t_ns, f"step {step}", "short", "human"))
    for hole in holes:
        writer.write_excluded(hole)
    if is_closed:
        writer.close()
    else:
        writer.flush()
    return writer.path


def check_holed(reader: SessionReader) -> None:
    left = [step * 100 * MS for step in range(20) if not 400 <= step * 100 < 1200]
    assert reader.excluded == HOLES
    assert [frame.t_ns for frame in reader.frames()] == left
    assert [event.t_ns for event in reader.events()] == left
    assert [t_ns for t_ns, _ in reader.game_states()] == left
    assert [goal.t_ns for goal in reader.goals()] == left
    assert [frame.t_ns for frame in reader.frames_at([1000 * MS])] == [300 * MS]
    info = reader.info()
    assert info.frames == info.topics["gamestate"] == len(left)
    assert info.last_frame_ns == left[-1]


def test_what_was_excluded_is_in_no_stream_and_no_count(tmp_path: Path) -> None:
    check_holed(SessionReader(write_holed(tmp_path / "a")))


def test_a_repaired_session_keeps_its_holes(tmp_path: Path) -> None:
    path = write_holed(tmp_path / "a", is_closed=False)
    report = repair(part_path(path))
    assert report.out is not None
    check_holed(SessionReader(Path(report.out)))


def test_a_span_within_a_span_ends_neither(tmp_path: Path) -> None:
    holes = (Excluded(300 * MS, 1500 * MS, "paused"), Excluded(500 * MS, 600 * MS, "hidden"))
    reader = SessionReader(write_holed(tmp_path / "a", holes=holes))
    assert [event.t_ns // MS for event in reader.events()] == [0, 100, 200, 1500, 1600, 1700, 1800, 1900]
    assert reader.info().last_frame_ns == 1900 * MS


def test_frames_beyond_a_hole_decode_though_they_depend_on_those_in_it(tmp_path: Path) -> None:
    whole = SessionReader(write_holed(tmp_path / "whole", holes=()))
    holed = SessionReader(write_holed(tmp_path / "holed"))
    assert not whole.excluded
    expected = {frame.t_ns: frame.rgb for frame in whole.frames()}
    # A key frame of each second: those after the hole, from 1200 ms on, depend on the one at 1000 ms, which is in it.
    for frame in holed.frames():
        np.testing.assert_array_equal(frame.rgb, expected[frame.t_ns])
    for frame in holed.frames_at([1300 * MS, 1900 * MS]):
        np.testing.assert_array_equal(frame.rgb, expected[frame.t_ns])
    # And each is its own picture, but for the rounding of colours.
    assert all(np.abs(rgb.astype(int) - draw(t_ns // (100 * MS), 64, 48)).mean() < 4 for t_ns, rgb in expected.items())


def test_where_a_frame_was_on_the_screen_is_told_again_each_second(tmp_path: Path) -> None:
    first = Placement.fit(Rect(-7, 20, 640, 480), 64, 48, 1.25)
    second = Placement.fit(Rect(300, 20, 900, 480), 64, 48, 1.25)
    with SessionWriter(tmp_path / "a", width_px=64, height_px=48, fps=10, meta={"title": "A game"}) as writer:
        writer.write_placement(0, first, "A game")
        for step in range(30):
            writer.write_frame(step * 100 * MS, draw(step, 64, 48))
            if step == 15:
                writer.write_placement(1550 * MS, second, "A game - menu")
    told = list(SessionReader(writer.path).placements())
    assert {placement for t_ns, placement in told if t_ns < 1550 * MS} == {first}
    assert {placement for t_ns, placement in told if t_ns >= 1550 * MS} == {second}
    assert len(told) >= 4


def test_a_state_that_came_late_stands_where_it_belongs(tmp_path: Path) -> None:
    with SessionWriter(tmp_path / "a", width_px=64, height_px=48, fps=10) as writer:
        for step in range(30):
            writer.write_frame(step * 100 * MS, draw(step, 64, 48))
            writer.write_game_state(max(step * 100 - 750, 0) * MS, {"tick": step}, seen_ns=step * 100 * MS)
    reader = SessionReader(writer.path)
    times_ns = [t_ns for t_ns, _ in reader.game_states()]
    assert times_ns == sorted(times_ns)
    seen = [message.publish_ns for message in reader.messages(frozenset(("gamestate",)))]
    assert seen[-1] == 2900 * MS
    assert [frame.t_ns for frame in reader.frames()] == [step * 100 * MS for step in range(30)]
