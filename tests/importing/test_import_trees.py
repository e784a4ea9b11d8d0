"""IL_bot's whole trees: game states and pictures beside the log."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.importing.made_imports import (
    EPOCH_MS,
    HEIGHT_PX,
    MS,
    WIDTH_PX,
    event_row,
    import_one,
    log_text,
    picture,
    row,
    save_picture,
    write_tree,
)
from vlm_agent.actions.events import PointerMoved
from vlm_agent.errors import DataError

START_NS = EPOCH_MS * MS


def test_a_whole_tree(tmp_path):
    tree = write_tree(tmp_path / "20250827_101500", [event_row(PointerMoved(100 * MS, 5, 6))])
    report, reader = import_one(tree, tmp_path / "out", goal="craft sapphire rings")
    assert report.session == "20250827_101500"
    assert report.read == {"frames": 15, "states": 5, "events": 1, "goals": 1}
    frames = list(reader.frames())
    assert [frame.t_ns for frame in frames] == [START_NS + ms * MS for ms in range(0, 3000, 200)]
    assert all(np.abs(frame.rgb.astype(int) - picture(n)).mean() < 4 for n, frame in enumerate(frames))
    states = list(reader.game_states())
    assert states[1] == (START_NS + 600 * MS, json.loads((tree / "gamestates" / f"{EPOCH_MS + 600}.json").read_text()))
    [goal] = reader.goals()
    assert (goal.text, goal.level, goal.source, goal.t_ns) == ("craft sapphire rings", "long", "human", START_NS)


def test_states_of_other_exporters_are_counted(tmp_path):
    tree = write_tree(tmp_path / "tree", [row(EPOCH_MS, "move", 1, 1)], seconds=1)
    (tree / "gamestates" / f"{EPOCH_MS + 1}.json").write_text('{"bank_open": false}')
    (tree / "gamestates" / f"{EPOCH_MS + 2}.json").write_text('{"score": 3}')
    report, reader = import_one(tree, tmp_path / "out")
    assert report.repaired == {"game_state_v1_brought_to_v2": 1}
    assert report.kept == {"game_state_of_an_unknown_exporter": 1}
    states = [state for _, state in reader.game_states()]
    assert states[1] == {"bank": {"bankOpen": False}, "raw": {"bank_open": False}}
    assert states[2] == {"score": 3}


def test_bad_states_and_pictures_are_left_out(tmp_path):
    tree = write_tree(tmp_path / "tree", [row(EPOCH_MS, "move", 1, 1)])
    states, shots = tree / "gamestates", tree / "runelite_screenshots"
    (states / f"{EPOCH_MS + 1}.json").write_text("{")
    (states / f"{EPOCH_MS + 2}.json").write_text("[1, 2]")
    (states / f"{EPOCH_MS + 3}.json").write_text('{"bank": {"bankOpen": NaN}}')
    (states / f"{EPOCH_MS + 4}.json").write_text("[" * 70 + "]" * 70)
    (states / "latest.json").write_text("{}")
    (shots / f"{EPOCH_MS + 5}.png").write_bytes(b"no picture")
    save_picture(shots / f"{EPOCH_MS + 6}.png", picture(1, (WIDTH_PX + 2, HEIGHT_PX)))
    report, reader = import_one(tree, tmp_path / "out")
    assert report.left_out == {
        "state_is_not_json": 1,
        "state_is_too_deep": 1,
        "state_is_no_object": 1,
        "file_name_without_a_time": 1,
        "broken_picture": 1,
        "picture_of_another_size": 1,
    }
    assert report.repaired["number_that_is_not_finite_in_a_state"] == 1
    assert (report.read["frames"], report.read["states"]) == (15, 6)
    assert reader.frame_size == (WIDTH_PX, HEIGHT_PX)


def test_states_and_rows_of_another_age_are_left_out_and_begin_no_session(tmp_path):
    rows = [row(EPOCH_MS + 100 * step, "move", step, 1) for step in range(9)]
    tree = write_tree(tmp_path / "tree", [row(5, "move", 1, 1), *rows, row(EPOCH_MS * 2, "move", 1, 1)])
    for name in (0, EPOCH_MS // 1000, EPOCH_MS + 10**9):
        (tree / "gamestates" / f"{name}.json").write_text("{}")
    report, reader = import_one(tree, tmp_path / "out", goal="craft a ring")
    assert report.left_out == {"more_than_24_hours_from_the_rest": 5}
    assert reader.info().duration_s < 60
    assert [goal.text for goal in reader.goals()] == ["craft a ring"]


def test_clocks_that_do_not_fit_are_refused(tmp_path):
    tree = write_tree(tmp_path / "tree", [row(16_776, "move", 1, 1)])
    with pytest.raises(DataError, match="can't be laid together"):
        import_one(tree, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "text", ["", log_text([]), log_text([row("nan", "move", 1, 1)])], ids=["empty", "header", "bad"]
)
def test_a_log_of_nothing_is_refused(tmp_path, text):
    (tmp_path / "actions.csv").write_text(text)
    with pytest.raises(DataError):
        import_one(tmp_path, tmp_path / "out", kind="ilbot")
    assert not (tmp_path / "out").exists()
