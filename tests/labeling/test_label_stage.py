"""The stage as a person runs it: sessions in, labels and a dataset out, one line where the input is wrong."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from recorded_play import LONG_GOAL, MS, SHORT_GOALS, record_play

from labeling.checks import CheckConfig
from labeling.labelers import LabelConfig, ModelLabeler
from labeling.stage import LabelArgs, find_sessions, label_and_build, make_labeler
from labeling.store import LabelStore
from vlm_agent.dataset.store import open_dataset
from vlm_agent.errors import DataError, ModelError
from vlm_agent.sessions.types import Goal

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def sessions(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sessions")
    for seed in range(2):
        record_play(folder / f"s{seed}", seed=seed)
    return folder


def script(*args, **options):
    command = [sys.executable, "label_segments.py", *map(str, args)]
    return subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=False, **options)


class CountingModel:
    def __init__(self, fail_after=None, answers=()):
        self.calls = 0
        self.fail_after = fail_after
        self.answers = answers

    def __call__(self, messages, images):
        self.calls += 1
        if self.fail_after is not None and self.calls > self.fail_after:
            raise KeyboardInterrupt
        return self.answers[(self.calls - 1) % len(self.answers)] if self.answers else f"do step number {self.calls}"


def labeler(model):
    return ModelLabeler(model, "canned", LabelConfig())


def test_the_game_s_goals_become_a_dataset(sessions, tmp_path):
    report = label_and_build(LabelArgs(sessions, tmp_path, labeler="game"))
    assert (report.sessions, report.reused) == (2, 0)
    assert report.labeled == report.clips - sum(report.dataset.clip_drops.values())
    dataset = open_dataset(tmp_path)
    short = {w.goal for split in dataset.splits for w in dataset.windows(split) if w.goal_level == "short"}
    assert short == set(SHORT_GOALS)
    labels = LabelStore(tmp_path / "labels").read("s0")
    assert {label.labeler for label in labels} == {"game"}
    line = report.describe()
    assert line.startswith(
        f"2 sessions, {report.clips} clips: {report.labeled} labeled ({report.labeled} by the game; 0 reused)"
    )
    assert "2 past_clip_end" in line
    assert "\n" not in line


def test_a_model_labels_from_contact_sheets(sessions, tmp_path):
    seen = []

    def generate(messages, images):
        seen.append(images[0].shape)
        return "look at the grey screen"

    report = label_and_build(LabelArgs(sessions, tmp_path), labeler=labeler(generate))
    assert len(seen) == report.labeled
    assert set(seen) == {(2 * (256 + 4) - 4, 3 * (384 + 4) - 4, 3)}
    goals = {w.goal for w in open_dataset(tmp_path).windows("train") if w.goal_level == "short"}
    assert goals == {"look at the grey screen"}


def test_it_goes_on_where_it_was_stopped(sessions, tmp_path):
    args = LabelArgs(sessions, tmp_path, label=LabelConfig(batch_clips=1))
    stopped = CountingModel(fail_after=3)
    with pytest.raises(KeyboardInterrupt):
        label_and_build(args, labeler=labeler(stopped))
    assert len(LabelStore(tmp_path / "labels").read("s0")) == 3
    assert not (tmp_path / "dataset").exists()
    model = CountingModel()
    report = label_and_build(args, labeler=labeler(model))
    assert report.reused == 3
    assert model.calls == report.labeled - 3
    again = CountingModel()
    assert label_and_build(args, labeler=labeler(again)).reused == report.labeled
    assert again.calls == 0


def test_what_a_person_corrected_is_kept(sessions, tmp_path):
    args = LabelArgs(sessions, tmp_path, labeler="game")
    label_and_build(args)
    store = LabelStore(tmp_path / "labels")
    labels = store.read("s0")
    store.write("s0", [replace(labels[0], goal="say hello", source="human", labeler="review"), *labels[1:]])
    label_and_build(args, labeler=labeler(CountingModel()))
    assert store.read("s0")[0].goal == "say hello"
    assert store.read("s0")[1].goal.startswith("do step")


def test_drops_are_counted_by_reason_and_the_long_goal_still_serves(sessions, tmp_path):
    model = CountingModel(answers=["{}", "", "The goal can't be seen."])
    report = label_and_build(LabelArgs(sessions, tmp_path), labeler=labeler(model))
    assert report.labeled == 0
    # Every other clip: two questions, and one where the first answer is final.
    drops = report.dataset.clip_drops
    assert drops["empty"] - drops["no_goal_said"] in (0, 1)
    assert drops["empty"] + drops["no_goal_said"] == report.clips - drops.get("too_short", 0)
    assert model.calls == 2 * drops["empty"] + drops["no_goal_said"]
    assert {w.goal_level for w in open_dataset(tmp_path).windows("train")} == {"long"}
    assert f"{drops['no_goal_said']} no_goal_said" in report.describe()


def test_progress_bars_are_drawn_on_the_console(sessions, tmp_path):
    from rich.console import Console

    drawn = io.StringIO()
    label_and_build(LabelArgs(sessions, tmp_path), console=Console(file=drawn, force_terminal=True, width=80))
    assert "labeling" in drawn.getvalue()
    assert "building" in drawn.getvalue()


def test_real_recordings_without_goals_or_states_are_labeled_by_a_model(shared_data, tmp_path):
    answers = labeler(lambda messages, images: "write an e-mail")
    report = label_and_build(LabelArgs(shared_data / "owamcap", tmp_path), labeler=answers)
    dataset = open_dataset(tmp_path)
    windows = [w for split in dataset.splits for w in dataset.windows(split)]
    # Two recordings of 2.5 s; both end in another window.
    assert len(windows) == sum(report.dataset.windows.values()) >= 5
    assert {w.state for w in windows} == {None}
    assert {dataset.frame(w).shape[:2] for w in windows} == {(w.frame_height_px, w.frame_width_px) for w in windows}
    assert sum(len(w.target.actions) for w in windows) > 15


def test_the_script_end_to_end(sessions, tmp_path):
    done = script("--sessions", sessions, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("2 sessions, ")
    assert open_dataset(tmp_path).manifest.windows


def test_help_is_quick_and_imports_nothing_heavy():
    command = [sys.executable, "-X", "importtime", "label_segments.py", "--help"]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=False)
    assert done.returncode == 0
    assert "--sessions" in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if "|" in line}
    assert imported.isdisjoint({"torch", "transformers", "datasets", "pygame", "av", "matplotlib", "pyarrow"})


def test_wrong_input_is_one_line_exit_2_and_nothing_written(sessions, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    corrupt = tmp_path / "corrupt"
    corrupt.mkdir()
    whole = (sessions / "s0.mcap").read_bytes()
    (corrupt / "s0.mcap").write_bytes(whole[: len(whole) // 2])
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    (unfinished / "s0.mcap.part").write_bytes(whole)
    cases = {
        tmp_path / "nowhere": "does not exist",
        empty: "holds no sessions",
        corrupt: "s0.mcap",
        unfinished: "vlm-agent repair",
    }
    for path, word in cases.items():
        done = script("--sessions", path, "--out", tmp_path / "out")
        assert done.returncode == 2, (path, done.stderr)
        assert done.stderr.startswith("error: ")
        assert word in done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert not (tmp_path / "out").exists()


def test_a_missing_video_is_one_line_and_leaves_no_dataset(sessions, tmp_path):
    record_play(tmp_path / "in" / "a", seconds=4)
    (tmp_path / "in" / "a.mkv").unlink()
    done = script("--sessions", tmp_path / "in", "--out", tmp_path / "out")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.glob("out/dataset*"))


def test_a_full_disk_is_one_line_and_leaves_no_dataset(sessions, tmp_path):
    # The shell's limit on the size of a file fails a write as a full disk does: with an OSError in the middle of it.
    command = f"ulimit -f 1; exec {sys.executable} label_segments.py --sessions {sessions} --out {tmp_path}/out"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, text=True, capture_output=True, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.glob("out/dataset*"))


def test_an_unknown_labeler_is_told_before_any_session_is_read(sessions, tmp_path, monkeypatch):
    monkeypatch.setattr("labeling.stage.read_recording", lambda path, horizon_ms: pytest.fail("read too early"))
    with pytest.raises(ModelError, match="no-model"):
        label_and_build(LabelArgs(sessions, tmp_path / "out", labeler=str(tmp_path / "no-model")))
    assert not (tmp_path / "out").exists()


def test_killed_in_the_middle_it_goes_on(sessions, tmp_path):
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from labeling.labelers import LabelConfig, ModelLabeler\n"
        "from labeling.stage import LabelArgs, label_and_build\n"
        "def slow(messages, images):\n"
        "    time.sleep(0.2)\n"
        "    return 'open the bank'\n"
        "args = LabelArgs(Path(sys.argv[1]), Path(sys.argv[2]), label=LabelConfig(batch_clips=1))\n"
        "label_and_build(args, labeler=ModelLabeler(slow, 'canned', LabelConfig()))\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(sessions), str(tmp_path)], cwd=ROOT) as process:
        path = tmp_path / "labels" / "s0.jsonl"
        deadline = time.monotonic() + 60
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.3)
        os.kill(process.pid, signal.SIGKILL)
    kept = [json.loads(line) for line in path.read_text().splitlines()]
    assert kept
    model = CountingModel()
    report = label_and_build(LabelArgs(sessions, tmp_path), labeler=labeler(model))
    assert report.reused == len(kept)
    assert model.calls == report.labeled - len(kept)


def test_sessions_are_found_in_order(tmp_path):
    for name in ("b.mcap", "a.mcap", "a.mkv", "notes.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in find_sessions(tmp_path)] == ["a.mcap", "b.mcap"]
    assert find_sessions(tmp_path / "a.mcap") == [tmp_path / "a.mcap"]
    with pytest.raises(DataError, match="does not exist"):
        find_sessions(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["told", "game"])
def test_what_was_told_needs_no_model(name):
    assert make_labeler(name, LabelConfig()).name == name


def record_told(stem, *, by_person, by_game=()):
    """A session of 12 s in which goals are told at given seconds."""
    return record_play(
        stem,
        short_goals=(),
        told=[
            *(Goal(round(s * 1000) * MS, text, "short", "human") for s, text in by_person),
            *(Goal(round(s * 1000) * MS, text, "short", "game") for s, text in by_game),
        ],
    )


def goals_of(out, session="s"):
    return [(label.goal or label.dropped, label.source) for label in LabelStore(out / "labels").read(session)]


def test_what_a_person_told_is_never_replaced(tmp_path):
    record_told(
        tmp_path / "in" / "s",
        by_person=[(2.4, "steal the bread"), (6, "")],
        by_game=[(0, "open the bank"), (3.6, "withdraw gold"), (7.2, "close the bank")],
    )
    args = LabelArgs(tmp_path / "in", tmp_path / "told")
    assert args.labeler == "told"
    told = label_and_build(args)
    assert dict(goals_of(tmp_path / "told")) == {"steal the bread": "human", "long_goal_only": "human"}
    assert told.sources == {"human": 2}
    assert (
        f"2 told by a person; 0 reused), {told.dataset.clip_drops['long_goal_only']} long_goal_only" in told.describe()
    )
    assert f"{told.unused} more have a goal that the game told: --labeler game" in told.describe()
    game = label_and_build(replace(args, out=tmp_path / "game", labeler="game"))
    by_game = {"open the bank": "game", "withdraw gold": "game", "close the bank": "game"}
    assert dict(goals_of(tmp_path / "game")) == {"steal the bread": "human", **by_game}
    assert game.sources["human"] == 2
    model = label_and_build(replace(args, out=tmp_path / "model"), labeler=labeler(lambda *_: "look around"))
    assert dict(goals_of(tmp_path / "model")) == {"steal the bread": "human", "look around": "model"}
    assert f"2 told by a person, {model.labeled - 2} by a model; 0 reused" in model.describe()
    # In the dataset too, with who told it.
    dataset = open_dataset(tmp_path / "model")
    told_in = {(w.goal, w.goal_source) for split in dataset.splits for w in dataset.windows(split)}
    assert told_in == {("steal the bread", "human"), ("look around", "model"), (LONG_GOAL, "game")}


def test_a_model_is_not_asked_about_clips_that_a_person_named(tmp_path):
    record_told(tmp_path / "in" / "s", by_person=[(0, "steal the bread"), (6, "eat the bread")])
    model = CountingModel()
    report = label_and_build(LabelArgs(tmp_path / "in", tmp_path / "out"), labeler=labeler(model))
    assert model.calls == 0
    assert report.sources == {"human": report.labeled}


def test_labels_of_an_older_check_are_made_anew_and_counted(sessions, tmp_path):
    args = LabelArgs(sessions, tmp_path)
    first = label_and_build(args, labeler=labeler(CountingModel()))
    stricter = LabelConfig(check=CheckConfig(max_words=5))
    again = label_and_build(args, labeler=ModelLabeler(CountingModel(), "canned", stricter))
    assert (again.reused, again.outdated) == (0, first.labeled)
    assert f"0 reused; {first.labeled} made anew" in again.describe()


def test_labels_of_another_recording_of_that_name_are_not_taken_for_it_s(tmp_path):
    record_told(tmp_path / "in" / "s", by_person=[(0, "steal the bread")], by_game=[(0, "open the bank")])
    args = LabelArgs(tmp_path / "in", tmp_path / "out", labeler="game")
    first = label_and_build(args)
    record_told(tmp_path / "other" / "s", by_person=[(0, "bake a bread")], by_game=[(0, "close the bank")])
    second = label_and_build(replace(args, sessions=tmp_path / "other"))
    assert {goal for goal, _ in goals_of(tmp_path / "out")} == {"bake a bread"}
    assert (second.reused, second.outdated, second.of_another_recording) == (0, first.labeled, 0)
    store = LabelStore(tmp_path / "out" / "labels")
    labels = store.read("s")
    store.write("s", [replace(labels[0], goal="say hello", source="human", labeler="review"), *labels[1:]])
    record_told(tmp_path / "third" / "s", by_person=[(0, "eat a bread")])
    third = label_and_build(replace(args, sessions=tmp_path / "third"))
    assert goals_of(tmp_path / "out")[0] == ("say hello", "human")
    assert third.of_another_recording == 1
    assert "1 labels a person wrote were for another recording of that name" in third.describe()
