"""Play of our own game, written as a tree of IL_bot's and imported: the same play, and a dataset can be made of it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from labeling.stage import LabelArgs, label_and_build
from tests.importing.made_imports import EPOCH_MS, MS, event_row, import_one, save_picture, write_log
from vlm_agent.actions.events import KeyChanged
from vlm_agent.dataset.store import open_dataset
from vlm_agent.rollouts.recording import LONG_GOAL, DemonstrationConfig, record_demonstrations
from vlm_agent.sessions.reader import SessionReader

START_NS = EPOCH_MS * MS


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("original")
    [path] = record_demonstrations(folder, (3,), DemonstrationConfig(minutes=0.7, fps=1.5))
    return SessionReader(path)


@pytest.fixture(scope="module")
def tree(original, tmp_path_factory):
    """What IL_bot's recorder and exporter would have left of that play."""
    folder = tmp_path_factory.mktemp("tree") / "20250827_101500"
    write_log(folder, [event_row(event) for event in original.events()])
    (folder / "gamestates").mkdir()
    for t_ns, state in original.game_states():
        (folder / "gamestates" / f"{EPOCH_MS + t_ns // MS}.json").write_text(json.dumps(state))
    for frame in original.frames():
        save_picture(folder / "runelite_screenshots" / f"{EPOCH_MS + frame.t_ns // MS}.png", frame.rgb)
    return folder


@pytest.fixture(scope="module")
def imported(tree, tmp_path_factory):
    return import_one(tree, tmp_path_factory.mktemp("sessions"), goal=LONG_GOAL)


def test_events_are_those_of_the_original(original, imported):
    report, reader = imported
    before, after = list(original.events()), list(reader.events())
    assert len(before) == len(after) > 200
    kinds = {type(event) for event in before}
    assert len(kinds) >= 3  # moves, buttons and keys or the wheel: else this test shows little
    for old, new in zip(before, after, strict=True):
        assert type(new) is type(old)
        assert abs(new.t_ns - START_NS - old.t_ns) <= MS
        if isinstance(old, KeyChanged):
            assert (new.key, new.pressed) == (old.key, old.pressed)
        else:
            assert (new.x, new.y) == (old.x, old.y)
            assert getattr(new, "button", None) == getattr(old, "button", None)
            assert getattr(new, "pressed", None) == getattr(old, "pressed", None)
    assert report.decided["clicks"] == "a press and then a release"
    assert not report.left_out


def test_states_and_frames_are_those_of_the_original(original, imported):
    _, reader = imported
    assert [state for _, state in reader.game_states()] == [state for _, state in original.game_states()]
    for old, new in zip(original.frames(), reader.frames(), strict=True):
        assert abs(new.t_ns - START_NS - old.t_ns) <= MS
        assert np.abs(new.rgb.astype(int) - old.rgb).mean() < 2


def test_a_dataset_is_built_from_it(original, imported, tmp_path):
    report, reader = imported
    ours = windows_of(label_and_build(LabelArgs(sessions=reader.path, out=tmp_path / "imported")))
    theirs = windows_of(label_and_build(LabelArgs(sessions=original.path, out=tmp_path / "original")))
    assert len(ours) > 30
    assert {window.goal for window in ours.values()} == {LONG_GOAL}
    assert all(window.state and window.state["player"] for window in ours.values())
    assert sum(len(window.target.actions) for window in ours.values()) >= 10
    # Clips are cut elsewhere without short goals, and a stroke is dated within its clip; most windows are the same.
    common = ours.keys() & theirs.keys()
    same = [t_ns for t_ns in common if ours[t_ns].target == theirs[t_ns].target]
    assert len(common) > 20
    assert len(same) > 0.9 * len(common)


def windows_of(built):
    """The windows with the long goal, by the original's time."""
    dataset = open_dataset(built.folder)
    windows = [window for split in built.dataset.windows for window in dataset.windows(split)]
    return {window.t_ns % START_NS: window for window in windows if window.goal_level == "long"}
