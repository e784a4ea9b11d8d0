"""Bad input of every kind, through the real commands: one clear line, exit code 2, and everything as it was before."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest

from tests.line_support import read_tree, small_disk, type_line
from tests.recorded_play import record_play
from tests.training.synthetic import SPEC, write_dataset
from vlm_agent.models.tiny import write_tiny_checkpoint

GOAL = "craft sapphire rings"
LABEL, TRAIN, AGENT = "label_segments.py", "train_vision_agent.py", "agent.py"
ONE_STEP = ("--train.max-steps", 1, "--train.accumulation", 1, "--train.evaluation.every-steps", 0)


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    return record_play(tmp_path_factory.mktemp("bad-input") / "sessions" / "sound", seconds=8)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("bad-input") / "dataset", num_ticks=3)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return write_tiny_checkpoint(tmp_path_factory.mktemp("bad-input") / "tiny")


@pytest.fixture(scope="module")
def run(tmp_path_factory, checkpoint, dataset):
    out = tmp_path_factory.mktemp("bad-input") / "run"
    ended = type_line(TRAIN, "--dataset", dataset, "--out", out, "--model", checkpoint, *ONE_STEP)
    assert ended.code == 0, ended.err
    return out


@pytest.fixture
def refuse(tmp_path, monkeypatch):
    """Type a command that must be refused at once: one line on stderr, nothing anywhere changed."""
    monkeypatch.chdir(tmp_path)

    def refuse_line(*words):
        before = read_tree(tmp_path)
        ended = type_line(*words)
        assert ended.err == f"{ended.error}\n"
        assert read_tree(tmp_path) == before
        return ended.error

    return refuse_line


# A wrong path.


@pytest.mark.parametrize(
    "words",
    [
        ("vlm-agent", "info", "nowhere/a.mcap"),
        ("vlm-agent", "repair", "nowhere/a.mcap"),
        (LABEL, "--sessions", "nowhere", "--out", "out"),
        (TRAIN, "--dataset", "nowhere", "--out", "out"),
        (AGENT, "--goal", GOAL, "--model", "nowhere", "--out", "out"),
        ("vlm-agent", "compare", "--tuned", "nowhere", "--out", "out"),
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_a_wrong_path(refuse, words):
    assert "nowhere" in refuse(*words)


@pytest.mark.model
def test_a_wrong_path_beside_a_right_one(refuse, session, dataset, run):
    assert "nowhere" in refuse(LABEL, "--sessions", session, "--out", "out", "--labeler", "nowhere")
    assert "nowhere" in refuse(TRAIN, "--dataset", dataset, "--out", "out", "--model", "nowhere")
    assert "nowhere" in refuse("vlm-agent", "compare", "--base", "nowhere", "--tuned", run, "--out", "out")


# An empty folder, and a folder or file where the other is expected.


@pytest.mark.model
def test_an_empty_folder(refuse, tmp_path, dataset):
    (tmp_path / "empty").mkdir()
    assert "empty" in refuse("vlm-agent", "info", "empty")
    assert "empty" in refuse("vlm-agent", "repair", "empty")
    assert "holds no sessions" in refuse(LABEL, "--sessions", "empty", "--out", "out")
    assert "empty" in refuse(TRAIN, "--dataset", "empty", "--out", "out")
    assert "not a model folder" in refuse(TRAIN, "--dataset", dataset, "--out", "out", "--model", "empty")
    assert "not a model folder" in refuse(AGENT, "--goal", GOAL, "--model", "empty", "--out", "out")
    assert "empty" in refuse("vlm-agent", "compare", "--tuned", "empty", "--out", "out")


@pytest.mark.model
def test_a_folder_that_holds_something_else(refuse, session, dataset, checkpoint):
    assert "holds no sessions" in refuse(LABEL, "--sessions", dataset, "--out", "out")
    assert "dataset" in refuse(TRAIN, "--dataset", session.parent, "--out", "out")
    assert "not a model folder" in refuse(AGENT, "--goal", GOAL, "--model", dataset, "--out", "out")
    assert "holds no adapter" in refuse(
        "vlm-agent", "compare", "--base", checkpoint, "--tuned", checkpoint, "--out", "out"
    )


def test_an_out_that_is_a_file(refuse, session, tmp_path):
    (tmp_path / "out").write_text("mine")
    assert "out" in refuse("vlm-agent", "record-demo", "--out", "out", "--num-sessions", 1, "--minutes", 0.01)
    assert "out" in refuse(LABEL, "--sessions", session, "--out", "out")


# A corrupt session.


def _damage(session, folder, change):
    folder.mkdir()
    for path in session.parent.iterdir():
        shutil.copy(path, folder)
    broken = folder / session.name
    broken.write_bytes(change(broken.read_bytes()))
    return broken


@pytest.mark.parametrize(
    "change",
    [
        lambda content: b"",
        lambda content: b"not a session at all",
        lambda content: content[: len(content) // 2],
        lambda content: content[:3000] + bytes(byte ^ 0xFF for byte in content[3000:3200]) + content[3200:],
    ],
    ids=["empty", "garbage", "cut off", "flipped"],
)
def test_a_corrupt_session(refuse, session, tmp_path, change):
    broken = _damage(session, tmp_path / "broken", change)
    assert broken.name in refuse("vlm-agent", "info", broken)
    assert broken.name in refuse(LABEL, "--sessions", "broken", "--out", "out")


def test_a_corrupt_video(refuse, session, tmp_path):
    broken = _damage(session, tmp_path / "broken", lambda content: content)
    video = broken.with_suffix(".mkv")
    video.write_bytes(video.read_bytes()[:300])
    ended = type_line(LABEL, "--sessions", "broken", "--out", "out")
    assert video.stem in ended.error
    assert not list(tmp_path.glob("out/dataset*"))


def test_a_session_of_which_nothing_can_be_saved(refuse, tmp_path):
    (tmp_path / "a.mcap").write_bytes(b"\x89MCAP0\r\n" + bytes(200))
    assert "a.mcap" in refuse("vlm-agent", "repair", "a.mcap")


# Things that don't belong together.


@pytest.mark.model
def test_a_dataset_of_another_spec(refuse, run, tmp_path):
    write_dataset(tmp_path / "other", replace(SPEC, keys=("a", "space", "w")), 3)
    words = (TRAIN, "--dataset", "other", "--out", "out", "--model", run)
    assert "another action spec" in refuse(*words)


@pytest.mark.model
def test_an_adapter_of_another_games_actions(refuse, run, checkpoint):
    assert "another game's actions" in refuse(AGENT, "--goal", GOAL, "--model", run, "--out", "out")
    words = ("vlm-agent", "compare", "--base", checkpoint, "--tuned", run, "--out", "out")
    assert "other actions than ringcraft" in refuse(*words)


@pytest.mark.model
def test_an_adapter_of_another_base(refuse, run, dataset, checkpoint, tmp_path):
    write_tiny_checkpoint(tmp_path / "other", seed=1)
    words = ("vlm-agent", "compare", "--base", "other", "--tuned", run, "--out", "out")
    assert "another base" in refuse(*words)
    # The weights that the run names have been replaced since.
    moved = tmp_path / "moved"
    shutil.copytree(run, moved)
    recipe = json.loads((moved / "adapter" / "recipe.json").read_text())
    recipe["base"]["source"] = str(tmp_path / "other")
    (moved / "adapter" / "recipe.json").write_text(json.dumps(recipe))
    assert "another base" in refuse(AGENT, "--goal", GOAL, "--model", "moved", "--out", "out")
    assert "another base" in refuse(TRAIN, "--dataset", dataset, "--out", "out", "--model", "moved")


@pytest.mark.model
def test_a_damaged_adapter(refuse, run, dataset, tmp_path):
    shutil.copytree(run, tmp_path / "damaged")
    weights = tmp_path / "damaged" / "adapter" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert "damaged" in refuse(AGENT, "--goal", GOAL, "--model", "damaged", "--out", "out")
    (tmp_path / "damaged" / "adapter" / "recipe.json").write_text("{")
    assert "recipe.json" in refuse(AGENT, "--goal", GOAL, "--model", "damaged", "--out", "out")
    assert "recipe.json" in refuse("vlm-agent", "compare", "--tuned", "damaged", "--out", "out")


# Names that nothing has.


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((AGENT, "--goal", "bake a cake", "--out", "out"), "got 'bake a cake'"),
        (("vlm-agent", "run", "--goal", "bake a cake", "--out", "out"), "got 'bake a cake'"),
        (("vlm-agent", "play", "--goal", "bake a cake", "--out", "out"), "got 'bake a cake'"),
        (("vlm-agent", "compare", "--tuned", "x", "--goal", "bake a cake"), "got 'bake a cake'"),
        ((AGENT, "--goal", GOAL, "--env", "chess", "--out", "out"), "unknown environment 'chess'"),
        (("vlm-agent", "compare", "--tuned", "x", "--env", "chess"), "unknown environment 'chess'"),
        (("vlm-agent", "play", "chess"), "unknown environment 'chess'"),
        (("vlm-agent", "trian"), "unknown command 'trian'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_an_unknown_name(refuse, words, told):
    assert told in refuse(*words)


@pytest.mark.model
def test_an_unknown_model(refuse, dataset):
    # Looks like a name on the hub; without a hub it is a model that isn't there.
    name = "nobody/no-such-model"
    assert name in refuse(AGENT, "--goal", GOAL, "--model", name, "--out", "out")
    assert name in refuse(TRAIN, "--dataset", dataset, "--out", "out", "--model", name)


# A full disk.


def _fill(words, disk):
    """Type a command whose disk fills; return what is left on it."""
    ended = type_line(*words)
    assert any(told in ended.error for told in ("No space left", "File too large", "disk")), ended.error
    left = read_tree(disk)
    assert not [name for name in left if name.endswith((".tmp", ".partial"))]
    return left


@pytest.mark.parametrize("size_kb", [4, 200])
def test_a_full_disk_while_recording(tmp_path, size_kb):
    with small_disk(tmp_path / "disk", size_kb) as disk:
        left = _fill(("vlm-agent", "record-demo", "--out", disk / "s", "--num-sessions", 1, "--minutes", 0.1), disk)
        # A session has its name only when it is whole; what was recorded so far can be saved with `vlm-agent repair`.
        assert not [name for name in left if name.endswith((".mcap", ".mkv"))]


@pytest.mark.parametrize("size_kb", [4, 40])
def test_a_full_disk_while_labeling(session, tmp_path, size_kb):
    with small_disk(tmp_path / "disk", size_kb) as disk:
        left = _fill((LABEL, "--sessions", session, "--out", disk / "out"), disk)
        assert not [name for name in left if "dataset" in name]


@pytest.mark.model
@pytest.mark.parametrize("size_kb", [4, 200])
def test_a_full_disk_while_training(dataset, checkpoint, tmp_path, size_kb):
    with small_disk(tmp_path / "disk", size_kb) as disk:
        words = (TRAIN, "--dataset", dataset, "--out", disk / "run", "--model", checkpoint, *ONE_STEP)
        assert "run/adapter" not in _fill(words, disk)


@pytest.mark.model
def test_a_full_disk_while_playing(checkpoint, tmp_path):
    with small_disk(tmp_path / "disk", 8) as disk:
        words = (AGENT, "--goal", GOAL, "--model", checkpoint, "--max-ticks", 2, "--out", disk / "episodes")
        left = _fill(words, disk)
        assert not [name for name in left if name.endswith((".mcap", ".mkv"))]
