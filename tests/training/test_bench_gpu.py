"""The benchmark for a card: refused in one line without one, and tried whole on a tiny model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from vlm_agent.training.trl_engine import can_run

pytestmark = pytest.mark.model

ROOT = Path(__file__).parents[2]


def _bench(*words: str) -> subprocess.CompletedProcess[str]:
    # `bench` comes first on the path of its scripts, and this checkout behind it.
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "bench/training_gpu.py", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card")
def test_without_a_card_it_says_so_in_one_line():
    done = _bench("--json")
    assert done.returncode == 2
    assert done.stderr == "error: this benchmark needs a CUDA card; --tiny tries it on the CPU\n"
    assert not done.stdout


@pytest.mark.skipif(not can_run(torch.device("cpu")), reason="this TRL computes its loss on cards alone")
def test_on_a_tiny_model_there_is_a_row_for_each_layout_and_for_trl():
    done = _bench("--json", "--tiny", "--windows", "4", "--epochs", "1")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(row["engine"], row["layout"]) for row in rows] == 2 * [
        ("hf", "rows"), ("hf", "packed"), ("hf", "shared"), ("trl", "rows")
    ]  # fmt: skip
    for row in rows:
        assert row["windows_per_s"] > 0
        assert row["tokens_per_s"] > 100 * row["windows_per_s"]
        assert row["share_of_peak"] is None
        assert 0 < row["loss"] < 10
    assert len({row["frame"] for row in rows}) == 2
