"""`vlm-agent eval`, killed at any moment and started again: its numbers do not differ."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.line_support import type_line
from tests.training.synthetic import write_dataset
from vlm_agent.models.tiny import write_tiny_checkpoint

pytestmark = pytest.mark.model

KILLS = 2
DEADLINE_S = 120


WORDS = ("eval", "--dataset", "dataset", "--model", "tiny", "--few-shot", "1", "--out")


def start(folder: Path, out: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "vlm_agent.cli", *WORDS, out]
    root = Path(__file__).parents[3]
    env = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def written_bytes(out: Path) -> int:
    return sum(path.stat().st_size for path in out.glob("*/*.jsonl"))


def test_killed_at_any_moment_it_ends_with_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    state = {"player": {"animation": -1}, "bank": {"x": 2, "y": 2, "width": 20, "height": 20}}
    write_dataset(tmp_path / "dataset", num_ticks=12, state=state)
    write_tiny_checkpoint(tmp_path / "tiny")
    whole = type_line("vlm-agent", *WORDS, "whole")
    assert whole.code == 0, whole.err
    total = written_bytes(tmp_path / "whole")
    moments = sorted(random.Random(0).uniform(0.02, 0.95) * total for _ in range(KILLS))
    for moment in moments:
        process = start(tmp_path, "killed")
        until = time.monotonic() + DEADLINE_S
        # Chance decides how much is written before the kill; where exactly in the work it strikes, the machine does.
        while written_bytes(tmp_path / "killed") < moment and process.poll() is None and time.monotonic() < until:
            time.sleep(0.002)
        assert process.poll() is None, process.communicate()[0].decode()
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert not (tmp_path / "killed" / "evaluation.json").exists()
    last = type_line("vlm-agent", *WORDS, "killed")
    assert last.code == 0, last.err
    for name in ("evaluation.json", "evaluation.md"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    for path in sorted((tmp_path / "whole").glob("*/*.jsonl")):
        assert (tmp_path / "killed" / path.parent.name / path.name).read_bytes() == path.read_bytes()
