"""Reading a session's hand and screen."""

from __future__ import annotations

import numpy as np
import pytest

from tests.evaluation.likeness.players import MS, Hand, play, record
from vlm_agent.actions.events import ButtonChanged, KeyChanged, PointerMoved, WheelTurned
from vlm_agent.errors import DataError
from vlm_agent.evaluation.likeness.streams import measure_sampling, read_scene, read_stream
from vlm_agent.sessions.writer import SessionWriter


def test_pointer_presses_keys_and_wheel(tmp_path) -> None:
    events = [
        PointerMoved(100 * MS, 10, 20),
        PointerMoved(120 * MS, 12, 20),
        ButtonChanged(150 * MS, 14, 20, "left", True),
        KeyChanged(160 * MS, "a", True),
        KeyChanged(190 * MS, "a", True),  # the keyboard repeats a held key
        ButtonChanged(230 * MS, 14, 20, "left", False),
        KeyChanged(260 * MS, "a", False),
        WheelTurned(300 * MS, 15, 21, 0, -1),
        ButtonChanged(400 * MS, 15, 21, "right", True),  # never comes up
    ]
    stream = read_stream(record(tmp_path / "s", events, stop_ns=1_000 * MS), "human")
    assert [(t_ns // MS, *point) for t_ns, point in zip(stream.times_ns, stream.points.tolist(), strict=True)] == [
        *((100, 10, 20), (120, 12, 20), (150, 14, 20), (230, 14, 20), (300, 15, 21), (400, 15, 21)),
    ]
    assert [(one.name, one.t_ns // MS, one.hold_ms, one.point) for one in stream.presses] == [
        *(("left", 150, 80.0, (14, 20)), ("right", 400, None, (15, 21))),
    ]
    assert [(one.name, one.hold_ms) for one in stream.keys] == [("a", 100.0)]
    assert (stream.wheel_ns // MS).tolist() == [300]
    assert stream.spans_ns == ((0, 1_000 * MS + 1),)
    assert stream.frame_size_px == (800, 600)
    assert stream.policy is None


@pytest.mark.parametrize("step_ms", [8, 20, 50])
def test_the_sampling_of_a_device_is_found_though_it_repeats_no_point(tmp_path, step_ms: int) -> None:
    stream = read_stream(record(tmp_path / "s", play(Hand(step_ms=step_ms), 3)), "human")
    assert stream.sampling_ms == pytest.approx(step_ms)


def test_a_few_reports_tell_nothing_of_the_sampling() -> None:
    assert measure_sampling(record_times(0, 20, 40, 60)) is None
    assert measure_sampling(record_times(*range(0, 400, 20), *range(5_000, 5_200, 20))) == 20.0


def record_times(*times_ms: int) -> np.ndarray:
    return np.array(times_ms, dtype=np.int64) * MS


def test_only_the_part_of_the_one_who_is_asked_about_counts(tmp_path) -> None:
    with SessionWriter(tmp_path / "s", width_px=800, height_px=600, fps=10) as writer:
        writer.write_control(0, "agent")
        writer.write_control(2_000 * MS, "human")
        writer.write_control(3_000 * MS, "agent")
        writer.write_event(PointerMoved(5_000 * MS, 1, 1))
    path = tmp_path / "s.mcap"
    assert read_stream(path, "human").spans_ns == ((2_000 * MS, 3_000 * MS),)
    assert read_stream(path, "agent").spans_ns == ((0, 2_000 * MS), (3_000 * MS, 5_000 * MS + 1))
    assert read_stream(path, "human").duration_ms == 1_000


@pytest.mark.parametrize(
    ("is_of", "asked", "names"), [("human", "agent", "a human's"), ("agent", "human", "an agent's")]
)
def test_a_session_of_the_other_side_is_refused_by_name(tmp_path, is_of, asked, names) -> None:
    path = record(tmp_path / "s", play(Hand(), 1), who=is_of)
    with pytest.raises(DataError, match=rf"s\.mcap: expected a session of an? {asked}, got {names}"):
        read_stream(path, asked)


def test_a_damaged_session_is_named(tmp_path) -> None:
    path = record(tmp_path / "hurt", play(Hand(), 1))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"hurt\.mcap.*vlm-agent repair"):
        read_stream(path, "human")


STATE = {
    "timestamp": 600,
    "mouse": {"canvasX": 1},
    "hoverText": "Bank",
    "player": {"worldX": 7, "isMoving": False},
    "bank": {"bankOpen": False, "slots": []},
    "dialog": None,
    "objects": [{"name": "booth", "clickbox": {"x": 10, "y": 20, "width": 30, "height": 40}}],
    "widgets": {"close": {"bounds": {"x": 5, "y": 6, "width": 0, "height": 8}}},
}


def change(**values):
    return read_scene(0, {**STATE, **values}).situation


@pytest.mark.parametrize(
    "same",
    [
        {"timestamp": 1200},
        {"mouse": {"canvasX": 400}},
        {"hoverText": ""},
        {"player": {"worldX": 9, "isMoving": False}},
        {"objects": []},
    ],
)
def test_clock_pointer_places_and_lists_change_no_situation(same) -> None:
    assert change(**same) == change()


@pytest.mark.parametrize(
    "other",
    [
        {"bank": {"bankOpen": True, "slots": []}},
        {"player": {"worldX": 7, "isMoving": True}},
        {"dialog": {"level": 3}},
        {"phase": "smelting"},
    ],
)
def test_windows_phases_and_dialogs_change_the_situation(other) -> None:
    assert change(**other) != change()


def test_targets_are_what_has_bounds_and_a_size() -> None:
    assert read_scene(0, STATE).targets.tolist() == [[10, 20, 30, 40]]
