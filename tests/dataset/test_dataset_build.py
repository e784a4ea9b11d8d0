"""A dataset built from recorded sessions: what is in it, that it is whole, and that it reads back."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from recorded_play import LONG_GOAL, MS, SHORT_GOALS, SPEC, record_play

from vlm_agent.actions.spec import ActionSpec
from vlm_agent.actions.types import ActionChunk, Move
from vlm_agent.clips import TOLD_LATE_NS, Clip, CutConfig, LabeledClip, goal_at
from vlm_agent.dataset.build import DatasetConfig, _deal, _goals, _states_at, build_dataset
from vlm_agent.dataset.events import PressConfig
from vlm_agent.dataset.recordings import choose_spec, cut_recording, read_recording
from vlm_agent.dataset.splits import SplitConfig
from vlm_agent.dataset.statistics import statistics_table
from vlm_agent.dataset.store import open_dataset
from vlm_agent.dataset.windows import Moment, WindowConfig
from vlm_agent.errors import DataError
from vlm_agent.sessions.types import Goal


def label(recording):
    """Give every clip the session's own short goal."""
    clips = cut_recording(recording, CutConfig())
    return [
        labeled
        if labeled.dropped is not None
        else LabeledClip(labeled.clip, goal_at(recording.goals, labeled.clip.goal_ns, "short"))
        for labeled in clips
    ]


def build(paths, out, config=None):
    recordings = [read_recording(path, 600) for path in paths]
    pairs = [(recording, label(recording)) for recording in recordings]
    return build_dataset(pairs, out, choose_spec(recordings, 600), config)


@pytest.fixture(scope="module")
def sessions(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("sessions")
    return [record_play(folder / f"s{seed}", seed=seed) for seed in range(3)]


@pytest.fixture(scope="module")
def dataset(sessions, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "dataset"
    build(sessions, out)
    return open_dataset(out)


def test_every_window_twice_with_the_long_goal_and_with_the_clip_s(dataset):
    windows = [window for split in dataset.splits for window in dataset.windows(split)]
    assert Counter(window.goal_level for window in windows) == {"long": 60, "short": 60}
    assert {window.goal for window in windows if window.goal_level == "long"} == {LONG_GOAL}
    by_moment = {(window.session, window.t_ns, window.goal_level): window for window in windows}
    assert len(by_moment) == len(windows)
    for (session, t_ns, level), window in by_moment.items():
        twin = by_moment[session, t_ns, "short" if level == "long" else "long"]
        assert (twin.frame_id, twin.target, twin.recent) == (window.frame_id, window.target, window.recent)
        if level == "short":
            assert window.goal == SHORT_GOALS[t_ns // MS // 3600 % 3]


def test_a_long_goal_that_is_also_the_short_one_is_asked_once(tmp_path):
    path = record_play(tmp_path / "s", seconds=6, short_goals=(LONG_GOAL,))
    build([path], tmp_path / "dataset")
    windows = [window for split in ("train",) for window in open_dataset(tmp_path / "dataset").windows(split)]
    assert {window.goal_level for window in windows} == {"long"}


def test_states_frames_and_actions_are_those_of_the_tick(dataset):
    for window in dataset.windows("train"):
        assert window.state["timestamp"] == window.t_ns // MS
        seed = int(window.session[1:])
        shade = seed * 50 + window.t_ns // MS // 200
        assert abs(int(dataset.frame(window)[0, 0, 0]) - shade) <= 3
        assert dataset.frame(window).shape == (64, 96, 3)
        clicks = [action for action in window.target.actions if type(action).__name__ == "Click"]
        assert len(clicks) == sum(window.t_ns // MS <= t + 30 < window.t_ns // MS + 600 for t in range(0, 13_000, 1000))


@pytest.mark.parametrize(("max_age_ms", "left_out"), [(None, 6), (0, 8), (2_400, 4), (60_000, 0)])
def test_no_window_shows_what_was_there_long_ago(tmp_path, max_age_ms, left_out):
    """The screen was not captured from 3000 to 7600 ms: ticks from 4200 ms on would show what was there before."""
    path = record_play(tmp_path / "s", unseen_ms=range(3_000, 7_601))
    config = DatasetConfig(WindowConfig(max_picture_age_ms=max_age_ms), SplitConfig(0.0))
    manifest = build([path], tmp_path / "dataset", config)
    assert manifest.window_drops.get("picture_too_old", 0) == left_out
    dataset = open_dataset(tmp_path / "dataset")
    ticks = {window.t_ns // MS: window for window in dataset.windows("train")}
    age_ms = 1_200 if max_age_ms is None else max_age_ms
    for t_ms, window in ticks.items():
        shown_ms = t_ms if not 3_000 <= t_ms <= 7_600 else 2_800
        assert t_ms - shown_ms <= age_ms
        assert abs(int(dataset.frame(window)[0, 0, 0]) - shown_ms // 200) <= 3


def test_no_session_is_in_two_splits(dataset):
    sessions = {split: {window.session for window in dataset.windows(split)} for split in dataset.splits}
    assert sessions["train"].isdisjoint(sessions["validation"])
    records = {record.session: record.split for record in dataset.manifest.sessions}
    assert all(records[session] == split for split, names in sessions.items() for session in names)


def test_a_lone_session_is_split_by_time_and_no_window_sees_over_the_gap(tmp_path):
    path = record_play(tmp_path / "s", seconds=60)
    manifest = build([path], tmp_path / "dataset", DatasetConfig(split=SplitConfig(0.3)))
    dataset = open_dataset(tmp_path / "dataset")
    last_trained = max(window.t_ns for window in dataset.windows("train"))
    for window in dataset.windows("validation"):
        oldest_ms = max((age for age, _ in window.recent), default=0)
        assert window.t_ns - oldest_ms * MS > last_trained + 600 * MS
    assert manifest.window_drops["guard"] > 0


def test_pictures_are_stored_once(dataset):
    files = list((dataset.folder / "frames").rglob("*.jpg"))
    assert len(files) == dataset.manifest.frames
    assert {window.frame_id for split in dataset.splits for window in dataset.windows(split)} == {f.stem for f in files}


def test_a_still_screen_is_one_picture(tmp_path):
    from vlm_agent.dataset.writer import DatasetWriter

    with DatasetWriter(tmp_path / "d", SPEC, 6000) as writer:
        frame = np.zeros((4, 4, 3), np.uint8)
        assert writer.add_frame(frame) == writer.add_frame(frame.copy())
        assert writer.add_frame(np.zeros((2, 8, 3), np.uint8)) != writer.add_frame(frame)
        assert writer.frames == 2


def test_small_letters_survive_the_jpeg(tmp_path):
    from PIL import Image, ImageDraw

    from vlm_agent.dataset.pictures import read_jpeg, write_jpeg

    image = Image.new("RGB", (120, 40), (60, 40, 30))
    ImageDraw.Draw(image).text((2, 12), "Sapphire 13", fill=(255, 255, 0))
    drawn = np.asarray(image)
    write_jpeg(tmp_path / "a.jpg", drawn)
    error = read_jpeg(tmp_path / "a.jpg").astype(float) - drawn
    assert 10 * np.log10(255**2 / np.square(error).mean()) > 34


def test_loads_with_datasets(dataset):
    import datasets

    loaded = datasets.load_dataset(str(dataset.folder), cache_dir=str(dataset.folder.parent / "cache"))
    assert {split: len(rows) for split, rows in loaded.items()} == dataset.manifest.windows
    row = loaded["train"][0]
    assert json.loads(row["state"])["timestamp"] == row["t_ns"] // MS
    assert (dataset.folder / "frames" / row["frame"][:2] / f"{row['frame']}.jpg").is_file()


def test_the_same_sessions_give_the_same_dataset(dataset, sessions, tmp_path):
    again = build(list(reversed(sessions)), tmp_path / "dataset")
    assert again.windows == dataset.manifest.windows
    forward = build(sessions, tmp_path / "dataset")
    assert forward.sha256 == dataset.manifest.sha256
    assert read_all(tmp_path / "dataset") == read_all(dataset.folder)
    other = build(sessions, tmp_path / "dataset", DatasetConfig(split=SplitConfig(seed=5)))
    assert other.sha256 != forward.sha256


def read_all(folder):
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_the_manifest_tells_what_is_in_it(dataset):
    manifest = dataset.manifest
    assert manifest.spec == SPEC
    assert manifest.history_ms == 6000
    assert sum(record.windows for record in manifest.sessions) == sum(manifest.windows.values())
    assert all(len(record.sha256) == 64 for record in manifest.sessions)
    assert manifest.window_drops == {"past_clip_end": 3}
    counts = manifest.statistics["train"]
    windows = list(dataset.windows("train"))
    assert counts["windows"] == len(windows)
    assert sum(counts["events"].values()) == sum(len(w.target.actions) for w in windows)
    assert counts["idle_share"] == pytest.approx(sum(not w.target.actions for w in windows) / len(windows), abs=1e-4)
    assert statistics_table(manifest.statistics).row_count == 2


def test_windows_are_a_sequence(dataset):
    windows = dataset.windows("train")
    assert windows[-1] == list(windows)[-1]
    assert list(windows[2:5]) == list(windows)[2:5]
    assert list(windows[7:1:-2]) == list(windows)[7:1:-2]
    with pytest.raises(IndexError):
        windows[len(windows)]


def test_an_older_dataset_is_replaced_only_by_a_whole_one(sessions, tmp_path, monkeypatch):
    out = tmp_path / "dataset"
    before = build(sessions[:1], out)

    def no_space(path, rgb):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("vlm_agent.dataset.writer.write_jpeg", no_space)
    with pytest.raises(DataError, match=r"dataset: No space left on device; make room"):
        build(sessions, out)
    assert [path.name for path in tmp_path.iterdir()] == ["dataset"]
    assert open_dataset(out).manifest == before
    monkeypatch.undo()
    after = build(sessions, out)
    assert [path.name for path in tmp_path.iterdir()] == ["dataset"]
    assert open_dataset(out).manifest == after


def test_nothing_to_build_is_said_with_its_reasons_and_leaves_nothing(tmp_path):
    path = record_play(tmp_path / "in" / "s", long_goal=None, short_goals=())
    with pytest.raises(DataError, match=r"no window is left of 1 sessions: .*no_goal"):
        build([path], tmp_path / "dataset")
    assert [entry.name for entry in tmp_path.iterdir()] == ["in"]


def test_a_folder_that_is_no_dataset_is_left_alone(sessions, tmp_path):
    (tmp_path / "thesis.txt").write_text("dear")
    with pytest.raises(DataError, match="is not a dataset"):
        build(sessions, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_sessions_of_two_games_are_refused(tmp_path):
    other = ActionSpec(96, 64, keys=("w",))
    paths = [record_play(tmp_path / "a", seconds=3), record_play(tmp_path / "b", seconds=3, spec=other)]
    with pytest.raises(DataError, match="different action specs"):
        build(paths, tmp_path / "dataset")


def test_without_a_game_s_spec_what_was_pressed_is_the_spec(tmp_path):
    recording = read_recording(record_play(tmp_path / "a", spec=None, states=False), 600)
    assert recording.spec is None
    spec = choose_spec([recording], 600)
    assert (spec.keys, spec.buttons) == (("space",), ("left",))
    assert (spec.extent_width, spec.extent_height) == (96, 64)


def test_a_session_with_a_broken_spec_is_named(tmp_path):
    from vlm_agent.sessions.writer import SessionWriter

    with SessionWriter(tmp_path / "a", width_px=96, height_px=64, fps=5, meta={"action_spec": {"keys": 5}}) as writer:
        writer.write_frame(0, np.zeros((64, 96, 3), np.uint8))
    with pytest.raises(DataError, match=r"a\.mcap: not an action spec"):
        read_recording(tmp_path / "a.mcap", 600)


def test_opening_what_is_no_dataset(tmp_path, dataset):
    with pytest.raises(DataError, match="not a folder"):
        open_dataset(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"holds no dataset: expected dataset\.json"):
        open_dataset(tmp_path)
    (tmp_path / "dataset.json").write_text("{")
    with pytest.raises(DataError, match="not a dataset manifest"):
        open_dataset(tmp_path)
    (tmp_path / "dataset.json").write_text('{"format": 99}')
    with pytest.raises(DataError, match="format 99"):
        open_dataset(tmp_path)
    (tmp_path / "dataset.json").write_text('{"format": 1, "sessions": []}')
    with pytest.raises(DataError, match="not a dataset manifest"):
        open_dataset(tmp_path)
    with pytest.raises(DataError, match="no split 'test', only"):
        dataset.windows("test")


def test_opening_through_the_folder_that_holds_it(dataset):
    assert open_dataset(dataset.folder.parent).manifest == dataset.manifest


def test_a_dataset_of_another_spec_is_refused_with_what_differs(dataset):
    assert open_dataset(dataset.folder, spec=SPEC.with_extent(1000, 1000)).spec == SPEC
    other = ActionSpec(96, 64, keys=("w",), buttons=("left", "right"))
    with pytest.raises(DataError) as caught:
        open_dataset(dataset.folder, spec=other)
    # Only what differs, as it is and as it was wanted.
    assert str(caught.value) == (
        f"{dataset.folder} was built for another action spec: keys ('space', 'left') (wanted ('w',)); build it again"
    )


def test_broken_files_of_a_dataset_are_named(sessions, tmp_path):
    build(sessions[:1], tmp_path / "dataset")
    dataset = open_dataset(tmp_path / "dataset")
    window = dataset.windows("train")[0]
    dataset.frame_path(window).write_bytes(b"no picture")
    with pytest.raises(DataError, match=window.frame_id):
        dataset.frame(window)
    (dataset.folder / "windows" / "train.parquet").write_bytes(b"no table")
    with pytest.raises(DataError, match=r"train\.parquet"):
        dataset.windows("train")


def test_a_state_holds_from_its_time_on_and_none_before_it_came():
    states = [(10, {"n": 1}), (20, {"n": 2}), (21, {"n": 3})]
    found = list(_states_at(states, [0, 9, 10, 19, 20, 30]))
    assert found == [None, None, {"n": 1}, {"n": 1}, {"n": 2}, {"n": 3}]
    assert list(_states_at([], [0, 9])) == [None, None]


@pytest.mark.parametrize(("told_late_ns", "goals"), [(TOLD_LATE_NS, ["new"]), (TOLD_LATE_NS + 1, ["old"])])
def test_a_goal_that_is_told_just_after_a_tick_holds_at_it(told_late_ns, goals):
    told = (Goal(0, "old", "long", "human"), Goal(600 * MS + told_late_ns, "new", "long", "human"))
    moment = Moment(600 * MS, LabeledClip(Clip(0, 0, 6000 * MS)), ActionChunk(), ())
    assert [goal.text for goal in _goals(moment, SimpleNamespace(goals=told))] == goals


def test_between_splits_lies_a_whole_history_and_a_horizon(sessions):
    recording = read_recording(sessions[0], 600)
    config = DatasetConfig(WindowConfig(history_ticks=4), SplitConfig(0.3))
    [[train, validation]] = _deal([recording], replace(SPEC, horizon_ms=500), config)
    assert validation.start_ns - train.stop_ns == 5 * 500 * MS


def test_settings_of_windows_and_presses_are_those_of_the_dataset_and_counts_those_of_all_sessions(sessions, tmp_path):
    press = PressConfig(full_press_ms=10)
    config = DatasetConfig(WindowConfig(history_ticks=3, stride_ticks=2, press=press, by_onset=False))
    spec = replace(SPEC, keys=("left",))

    def build_for(paths, name, config):
        pairs = [(recording, label(recording)) for recording in (read_recording(path, 600) for path in paths)]
        return build_dataset(pairs, tmp_path / name, spec, config)

    manifest = build_for(sessions[:2], "two", config)
    alone = [build_for([path], "one", replace(config, split=SplitConfig(0))) for path in sessions[:2]]
    dataset = open_dataset(tmp_path / "two")
    windows = [window for split in dataset.splits for window in dataset.windows(split)]
    assert manifest.history_ms == 1800
    assert max(age for window in windows for age, _ in window.recent) <= 1800
    assert sum(manifest.windows.values()) == sum(one.windows["train"] for one in alone) == 40
    # Of every other tick; nothing is a full press where that may take ten milliseconds.
    states = {action.state for window in windows for action in window.target.actions if not isinstance(action, Move)}
    assert states == {"down", "up"}
    for name in ("points_in", "points_out"):
        assert manifest.thinning[name] == sum(one.thinning[name] for one in alone) > 0
    assert manifest.window_drops == {
        name: sum(one.window_drops.get(name, 0) for one in alone) for name in manifest.window_drops
    }
    assert manifest.event_drops == {"key_not_in_spec": 10}
    assert [(one.session, one.windows) for one in manifest.sessions] == [("s0", 20), ("s1", 20)]
