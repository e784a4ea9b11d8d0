"""Every command that writes a folder refuses one that another process writes, in one line, and touches nothing."""

from __future__ import annotations

import fcntl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.line_support import read_tree, type_line
from vlm_agent.locks import LOCK_FILE
from vlm_agent.rollouts.recording import DemonstrationConfig, record_demonstrations


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sessions and a dataset of them."""
    folder = tmp_path_factory.mktemp("made")
    record_demonstrations(folder / "sessions", (4, 5), DemonstrationConfig(minutes=0.03))
    told = type_line("vlm-agent", "label", "--sessions", folder / "sessions", "--out", folder, "--labeler", "game")
    assert told.code == 0, told.err
    return folder


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold a lock as another process does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


INSIDE = (
    "label --sessions {made}/sessions",
    "eval --dataset {made}/dataset",
    "audit --model base --dataset {made}/dataset",
    "curve --dataset {made}/dataset",
    "demo",
)
BESIDE = ("export --dataset {made}/dataset",)


@pytest.mark.parametrize("line", [*INSIDE, *BESIDE])
def test_a_folder_that_another_process_writes_is_refused(line, made, tmp_path):
    out = tmp_path / "out"
    with held(tmp_path / ".out.lock" if line in BESIDE else out / LOCK_FILE):
        before = read_tree(tmp_path)
        ended = type_line("vlm-agent", *line.format(made=made).split(), "--out", out)
        assert ended.error.startswith(f"error: {out} is being written by another process; wait until it has ended")
        assert read_tree(tmp_path) == before


def test_a_dataset_is_as_before_after_a_second_run(made):
    before = read_tree(made)
    with held(made / LOCK_FILE):
        ended = type_line("vlm-agent", "label", "--sessions", made / "sessions", "--out", made, "--labeler", "game")
    assert "is being written" in ended.error
    (made / LOCK_FILE).unlink()
    assert read_tree(made) == before
    assert not any(name.startswith(".") for name in before)


def test_a_second_record_demo_waits_and_finds_all_done(tmp_path):
    lock = held(tmp_path / LOCK_FILE)
    lock.__enter__()
    threading.Timer(0.5, lambda: lock.__exit__(None, None, None)).start()
    ended = type_line("vlm-agent", "record-demo", "--out", tmp_path, "--num-sessions", "1", "--minutes", "0.01")
    assert (ended.code, ended.err) == (0, f"waiting: {tmp_path} is being written by another process\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ringcraft-0.mcap", "ringcraft-0.mkv"]
