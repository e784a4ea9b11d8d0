"""open_sima2's folders: held keys of raw frames, and the flattened answers of labeled segments."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.importing.made_imports import EPOCH_MS, MS, import_at, import_one, picture, write_raw_frames, write_segment
from vlm_agent.actions.events import KeyChanged
from vlm_agent.errors import DataError
from vlm_agent.importing.sima2 import own_keys
from vlm_agent.sessions.types import RawMotion

START_NS = EPOCH_MS * MS
STEP_NS = 100 * MS
HELD = [[], ["w"], ["w"], ["w", "d"], ["d"], [], ["space", "w"]]
CHANGES = [
    (1, "w", True),
    (3, "d", True),
    (4, "w", False),
    (5, "d", False),
    (6, "space", True),
    (6, "w", True),
    (7, "space", False),
    (7, "w", False),
]
"""(frame, key, pressed) of `HELD`; the last two are let go a step after the end."""


def changed(start_ns):
    return [KeyChanged(start_ns + step * STEP_NS, key, pressed) for step, key, pressed in CHANGES]


def test_raw_frames(tmp_path):
    report, reader = import_one(write_raw_frames(tmp_path / "raw_playthrough", HELD), tmp_path / "out")
    assert report.session == "20250827_101500"
    assert report.read == {"frames": 7, "events": 8}
    assert report.repaired == {"let_go_at_the_end": 2}
    assert list(reader.events()) == changed(START_NS)
    for number, frame in enumerate(reader.frames()):
        assert frame.t_ns == START_NS + number * STEP_NS
        assert np.abs(frame.rgb.astype(int) - picture(number)).mean() < 8
    assert not list(reader.goals())


def test_labeled_segments_with_chords(tmp_path):
    folder = tmp_path / "labeled_segments"
    write_segment(folder / "20250827_101500_seg000", HELD)
    write_segment(folder / "20250827_101500_seg001", [["s"]] * 3, goal="Climb the stairs")
    reports, (first, second) = import_at(folder, tmp_path / "out")
    assert [report.session for report in reports] == ["20250827_101500_seg000", "20250827_101500_seg001"]
    assert list(first.events()) == changed(0)
    assert list(second.events()) == [KeyChanged(0, "s", True), KeyChanged(3 * STEP_NS, "s", False)]
    assert [(goal.text, goal.level, goal.source) for goal in second.goals()] == [("Climb the stairs", "short", "model")]
    assert len(list(first.frames())) == 7
    assert reports[0].decided["times"] == "10 frames a second, assumed"
    _, (first, _) = import_at(folder, tmp_path / "slow", frames_per_s=5.0)
    assert [event.t_ns for event in first.events()] == [2 * event.t_ns for event in changed(0)]


@pytest.mark.parametrize(
    ("sequence", "following", "own"),
    [
        ("w w w", "w w none", "w"),
        ("d w w w", "w w s", "d w"),
        ("d w d w d", "d w d s", "d w"),
        ("none w", "w s", "none"),
        ("d w none none", None, "d w"),
        ("w none none", None, "w"),
        ("none none", None, "none"),
        ("w d s", "none none", "w"),
        ("", "w", ""),
    ],
)
def test_the_keys_of_a_frame_itself(sequence, following, own):
    after = tuple(following.split()) if following is not None else None
    assert own_keys(tuple(sequence.split()), after) == tuple(own.split())


def test_a_pause_lets_go_what_was_held(tmp_path):
    folder = write_raw_frames(tmp_path / "raw", [["w"], ["w"]], step_ms=40_000)
    report, reader = import_one(folder, tmp_path / "out")
    assert [(event.t_ns - START_NS, event.pressed) for event in reader.events()] == [
        (0, True),
        (STEP_NS, False),
        (40_000 * MS, True),
        (40_100 * MS, False),
    ]
    assert report.kept == {"pause": 1}


def test_a_key_is_held_over_a_hole(tmp_path):
    folder = write_raw_frames(tmp_path / "raw", [["w"], []], step_ms=8_000)
    _, reader = import_one(folder, tmp_path / "out")
    assert [(event.t_ns - START_NS, event.pressed) for event in reader.events()] == [(0, True), (8_000 * MS, False)]


def test_motion_goals_and_unknown_keys(tmp_path):
    folder = write_raw_frames(tmp_path / "raw", [["w"]] * 3, goal="Find  the door")
    labels = sorted(folder.glob("*.json"))
    labels[1].write_text(json.dumps({"action_sequence": ["w", "warp"], "mouse_look": {"x": 4, "y": -3.0}}))
    report, reader = import_one(folder, tmp_path / "out")
    assert list(reader.raw_motions()) == [RawMotion(START_NS + STEP_NS, 4, -3)]
    assert [goal.text for goal in reader.goals()] == ["Find the door"]
    assert report.left_out == {"unknown_key": 1}


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"action_sequence": "w"}', '{"messages": []}', '{"action_sequence": [1]}']
)
def test_a_broken_label_is_left_out(tmp_path, text):
    folder = write_raw_frames(tmp_path / "raw", [["w"]] * 3)
    sorted(folder.glob("*.json"))[1].write_text(text)
    report, reader = import_one(folder, tmp_path / "out", kind="sima2")
    assert sum(report.left_out.values()) == 1
    assert len(list(reader.frames())) == 2


def test_a_missing_picture_is_counted(tmp_path):
    folder = write_raw_frames(tmp_path / "raw", [["w"]] * 3)
    sorted(folder.glob("*.jpg"))[1].unlink()
    report, _ = import_one(folder, tmp_path / "out")
    assert report.left_out == {"label_without_picture": 1}


def test_several_raw_sessions_in_one_folder(tmp_path):
    folder = write_raw_frames(tmp_path / "raw", HELD)
    for path in sorted(folder.glob("20250827_*")):
        path.with_name(path.name.replace("20250827", "20250828")).write_bytes(path.read_bytes())
    reports, readers = import_at(folder, tmp_path / "out")
    assert [report.session for report in reports] == ["20250827_101500", "20250828_101500"]
    assert list(readers[0].events()) == list(readers[1].events())


def test_raw_frames_and_their_segments_at_once_are_refused(tmp_path):
    write_raw_frames(tmp_path / "dataset" / "raw_playthrough", HELD)
    write_segment(tmp_path / "dataset" / "labeled_segments" / "20250827_101500_seg000", HELD)
    with pytest.raises(DataError, match="one of the two"):
        import_at(tmp_path / "dataset", tmp_path / "out")
