"""Play of our own game, written as a tree of IL_bot's and imported: the same play, and a dataset can be made of it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from labeling.stage import LabelArgs, label_and_build
from tests.importing.made_imports import (
    EPOCH_MS,
    MS,
    event_row,
    import_at,
    import_one,
    save_picture,
    tick,
    write_log,
    write_raw_frames,
    write_ticks,
)
from vlm_agent.actions.events import KeyChanged
from vlm_agent.actions.types import Key
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
    _, reader = imported
    built = [
        label_and_build(LabelArgs(sessions=path, out=tmp_path / name))
        for name, path in (("imported", reader.path), ("original", original.path))
    ]
    ours, theirs = ({window.t_ns % START_NS: window for window in windows_of(one)} for one in built)
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
    """The windows with the long goal."""
    dataset = open_dataset(built.folder)
    windows = [window for split in built.dataset.windows for window in dataset.windows(split)]
    return [window for window in windows if window.goal_level == "long"]


def write_three_frames(folder):
    for number, seconds in enumerate((8, 9, 10)):
        held = [["w"] if step % 7 < 3 else ["w", "d"] if step % 7 < 5 else [] for step in range(5 * seconds)]
        write_raw_frames(folder / str(number), held, step_ms=200, start_ms=EPOCH_MS + number * 10**6)
        for path in sorted((folder / str(number)).iterdir()):
            path.rename(path.with_name(path.name.replace("20250827", f"2025082{number}")))


def write_three_logs(folder):
    for number in range(3):
        ticks = [
            tick(
                ["w"] if step % (20 + 3 * number) < 10 else [],
                buttons=[1] if step % 30 == 7 else [],
                menu=step % 100 > 60,
                x=step * 7 % 1280,
            )
            for step in range(180)
        ]
        write_ticks(folder / str(number), ticks)


@pytest.mark.parametrize("write", [write_three_frames, write_three_logs], ids=["sima2", "vpt"])
def test_a_dataset_is_built_of_the_other_kinds(tmp_path, write):
    write(tmp_path / "in")
    reports, _ = import_at(tmp_path / "in", tmp_path / "sessions", goal="walk to the door")
    assert len(reports) == 3
    built = label_and_build(LabelArgs(sessions=tmp_path / "sessions", out=tmp_path / "out"))
    windows = windows_of(built)
    assert len(windows) > 15
    assert {window.goal for window in windows} == {"walk to the door"}
    pressed = {action.key for window in windows for action in window.target.actions if isinstance(action, Key)}
    assert "w" in pressed


def test_a_dataset_is_built_of_owamcap(shared_data, tmp_path):
    import_at(shared_data / "owamcap", tmp_path / "sessions", goal="write a test")
    built = label_and_build(LabelArgs(sessions=tmp_path / "sessions", out=tmp_path / "out"))
    assert sum(built.dataset.windows.values()) > 3
