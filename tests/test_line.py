"""The whole line on any Qwen-VL checkpoint: a path is all it takes, from recorded play to a comparison.

The checkpoints are tiny and random, the commands are the real ones, and every stage must have done some work.
"""

from __future__ import annotations

import json
import math
import shutil

import pytest

from tests.line_support import type_line
from vlm_agent.dataset.store import open_dataset
from vlm_agent.models.checkpoints import BUNDLED_FOLDER
from vlm_agent.models.tiny import write_tiny_checkpoint
from vlm_agent.sessions.reader import SessionReader

pytestmark = pytest.mark.model

GOAL = "craft sapphire rings"
SMALL_PROMPT = ["--recipe.image-max-tokens", 48, "--recipe.state-text-max-chars", 120]
SHORT_TRAINING = [
    *("--train.max-steps", 3),
    *("--train.batch-windows", 2),
    *("--train.accumulation", 1),
    *("--train.evaluation.max-windows", 4),
]


def succeed(*words: object) -> str:
    """Type a command that must end well; return what it printed."""
    ended = type_line(*words)
    assert ended.code == 0, ended.err
    return ended.out


@pytest.fixture(scope="module")
def sessions(tmp_path_factory):
    folder = tmp_path_factory.mktemp("line") / "sessions"
    out = succeed("vlm-agent", "record-demo", "--out", folder, "--num-sessions", 2, "--minutes", 0.2)
    assert "2 sessions" in out
    return folder


@pytest.fixture(scope="module")
def dataset(sessions):
    """One dataset serves every model: it is built once."""
    out = sessions.parent / "labeled"
    told = succeed("label_segments.py", "--sessions", sessions, "--out", out, "--labeler", "game")
    assert "2 sessions" in told.splitlines()[-1]
    return out


PUBLISHED_AS = {
    "qwen3_vl-nf4": "unsloth-Qwen3-VL-8B-unsloth-bnb-4bit",
    "qwen2_5_vl": "Qwen2.5-VL-7B-text-template",
}


@pytest.fixture(scope="module", params=PUBLISHED_AS)
def kind(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def checkpoint(request, kind, has_shared_data, tmp_path_factory):
    """One of each family, one of them packed; as it was published, where files of published checkpoints are beside."""
    folder = tmp_path_factory.mktemp("line") / kind
    if has_shared_data:
        return shutil.copytree(request.getfixturevalue("published")(PUBLISHED_AS[kind]), folder)
    return write_tiny_checkpoint(folder, kind.removesuffix("-nf4"), nf4=kind.endswith("-nf4"))


def names_steps(checkpoint) -> bool:
    """One of the two acts at once, the other names the next step first."""
    return checkpoint.name.endswith("nf4")


@pytest.fixture(scope="module")
def run(checkpoint, dataset):
    out = checkpoint.parent / "run"
    told = succeed(
        *("train_vision_agent.py", "--dataset", dataset, "--out", out, "--model", checkpoint),
        *SHORT_TRAINING,
        *SMALL_PROMPT,
        *(("--recipe.names-steps", "--train.snap-clicks", 25) if names_steps(checkpoint) else ()),
    )
    assert "3 steps, loss" in told
    return out


def test_sessions_hold_play(sessions):
    found = sorted(sessions.glob("*.mcap"))
    assert len(found) == 2
    for path in found:
        info = SessionReader(path).info()
        assert info.frames >= 100
        for topic in ("mouse", "gamestate", "goal"):
            assert info.topics[topic] > 0


def test_the_game_labels_and_a_dataset_is_built(sessions, dataset):
    labels = [json.loads(line) for path in (dataset / "labels").glob("*.jsonl") for line in path.open()]
    assert {label["source"] for label in labels if label["goal"]} == {"game"}
    store = open_dataset(dataset)
    assert min(store.manifest.windows[split] for split in ("train", "validation")) > 10
    windows = list(store.windows("train"))
    assert {window.goal_level for window in windows} == {"long", "short"}
    assert sum(len(window.target.actions) for window in windows) > 10
    assert all(window.state for window in windows)


def test_a_checkpoint_labels(checkpoint, sessions, tmp_path):
    [first, _] = sorted(sessions.glob("*.mcap"))
    succeed("label_segments.py", "--sessions", first, "--out", tmp_path, "--labeler", checkpoint)
    labels = [json.loads(line) for path in (tmp_path / "labels").glob("*.jsonl") for line in path.open()]
    assert len(labels) >= 2
    # A random model says nothing sensible; it must have been asked, and what came of it must be written down.
    assert all(label["labeler"].startswith(f"{checkpoint}@") for label in labels)
    assert all((label["goal"] is None) != (label["dropped"] is None) for label in labels)
    assert sum(open_dataset(tmp_path).manifest.windows.values()) > 10


def test_training_trains(checkpoint, run):
    record = json.loads((run / "run.json").read_text())
    assert record["base"]["source"] == str(checkpoint)
    assert record["base"]["quantization"] == "nf4"
    assert record["base"]["family"] in checkpoint.name
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").open()]
    steps = [entry for entry in metrics if "loss" in entry]
    assert [entry["step"] for entry in steps] == [1, 2, 3]
    assert all(math.isfinite(entry["loss"]) and entry["grad_norm"] > 0 for entry in steps)
    assert all(entry["windows"] >= 1 and entry["target_tokens"] > 0 for entry in steps)
    assert any("eval_loss" in entry for entry in metrics)
    for name in ("adapter_model.safetensors", "adapter_config.json", "recipe.json"):
        assert (run / "adapter" / name).is_file()


def test_the_agent_plays(checkpoint, run, tmp_path):
    told = succeed(
        *("agent.py", "--goal", GOAL, "--model", run, "--max-ticks", 3, "--seed", 7, "--out", tmp_path),
        *("--temperature", 1.0),
    )
    assert "decisions" in told
    reader = SessionReader(tmp_path / "run-7.mcap")
    decisions = [decision for _, decision in reader.decisions()]
    assert 1 <= len(decisions) <= 3
    assert all(decision["num_prompt_tokens"] > 48 for decision in decisions)
    assert all(bool(decision["step"]) == names_steps(checkpoint) for decision in decisions)
    assert reader.info().frames >= len(decisions)


def test_the_comparison_compares(checkpoint, run, tmp_path):
    succeed(
        *("vlm-agent", "compare", "--base", checkpoint, "--tuned", run, "--seeds", 2, "--max-ticks", 2),
        *("--workers", 1, "--bootstrap-resamples", 200, "--out", tmp_path),
        *("--parts.windows", 8, "--parts.readout-windows", 4, "--parts.audit-windows", 4),
    )
    found = json.loads((tmp_path / "comparison.json").read_text())
    assert found["metric"]
    assert found["n_seeds"] == 2
    for name in ("base", "tuned", "demonstrator", "noop", "random"):
        assert math.isfinite(found[name]["mean"])
        low, high = found[name]["ci95"]
        assert low <= found[name]["mean"] <= high
    for name in ("base", "tuned"):
        assert 2 <= found[name]["decisions"] <= 4
    assert len(found["difference"]["ci95"]) == 2
    # The adapter is in the model that played: it changes what the model says next.
    assert found["made"]["probe"]["max_logit_change"] > 0
    report = (tmp_path / "index.html").read_text()
    assert "data:image/" in report
    # The run's dataset is still there, so that the models were asked about its windows too.
    assert found["parts"]["offline"]["windows"] <= 8


def test_real_recordings_are_counted(shared_data):
    for name, frames, messages in (("0.5.1", 16, 167), ("0.4.2", 32, 611)):
        told = succeed("vlm-agent", "info", shared_data / "owamcap" / f"{name}.mcap", "--json")
        found = json.loads(told)
        assert found["frames"] == frames
        assert sum(found["topics"].values()) == messages
        assert found["duration_s"] > 0


@pytest.mark.skipif(
    not (BUNDLED_FOLDER / "model.safetensors").is_file(),
    reason="nano's weights are not in this checkout; `vlm-agent pretrain-nano` makes them",
)
def test_nano_labels_real_recordings(shared_data, tmp_path):
    import datasets

    out = tmp_path / "out"
    succeed("label_segments.py", "--sessions", shared_data / "owamcap", "--labeler", "nano", "--out", out)
    labels = [json.loads(line) for path in (out / "labels").glob("*.jsonl") for line in path.open()]
    assert labels
    assert all(label["goal"] and label["source"] == "model" for label in labels)
    manifest = open_dataset(out).manifest
    loaded = datasets.load_dataset(str(out / "dataset"), cache_dir=str(tmp_path / "cache"))
    assert {split: table.num_rows for split, table in loaded.items()} == manifest.windows
    assert sum(manifest.windows.values()) > 0
    assert {row["state"] for table in loaded.values() for row in table} == {None}
