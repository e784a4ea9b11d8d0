"""The benchmark of training on a tiny model: the rows that it promises, and that what is done stays done."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from vlm_agent.training.trl_engine import can_run

pytestmark = [
    pytest.mark.model,
    pytest.mark.skipif(not can_run(torch.device("cpu")), reason="this TRL computes its loss on cards alone"),
]

ROOT = Path(__file__).parents[2]


def _bench(kept: Path) -> list[dict]:
    # `bench` comes first on the path of its scripts, and this checkout behind it.
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = ["--json", "--quick", "--windows", "8", "--epochs", "1", "--keep", str(kept)]
    command = [sys.executable, "bench/training.py", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_every_layout_and_trl_do_the_same_task(tmp_path):
    kept = tmp_path / "kept.jsonl"
    rows = _bench(kept)
    assert [(row["engine"].split()[0], row["layout"], row["share"], row["images"]) for row in rows] == [
        ("trl", "rows", 4, 2),
        ("vlm-agent", "shared", 4, 2),
        ("trl", "conversation", 1, 4),
        ("vlm-agent", "conversation", 1, 4),
    ]
    for theirs, ours in (rows[:2], rows[2:]):
        assert ours["loss"] == pytest.approx(theirs["loss"], abs=1e-3)
        assert theirs["ratio_to_trl"] == theirs["predicted_ratio"] == 1
        assert ours["ratio_to_trl"] == pytest.approx(ours["reached"] * ours["predicted_ratio"], rel=1e-3)
        assert min(ours["windows_per_s"], ours["peak_mb"]) > 0
    # Four windows over one picture share what comes before their goals; a conversation is one row for both.
    assert rows[1]["predicted_ratio"] > 2
    assert rows[3]["predicted_ratio"] > 1
    # A command that is given again goes on where it was: nothing that is done is measured anew.
    lines = kept.read_text().splitlines()
    changed = json.dumps({**json.loads(lines[1]), "windows_per_s": 12345.0})
    kept.write_text("\n".join([lines[0], changed, *lines[2:]]) + "\n")
    again = _bench(kept)
    assert again[1]["windows_per_s"] == 12345.0
    assert again[2:] == rows[2:]
