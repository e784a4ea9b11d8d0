"""The benchmark for a card: refused in one line without one, and tried whole on a tiny model."""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.line_support import Ended
from vlm_agent.training.trl_engine import can_run

pytestmark = pytest.mark.model

ROOT = Path(__file__).parents[2]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Runs the script as its user does, but in this process, which has its libraries."""
    # `bench` comes first on the path of its scripts.
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    monkeypatch.chdir(ROOT)

    def run(*words: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["bench/training_gpu.py", *words])
        code: object = 0
        try:
            runpy.run_path(str(ROOT / "bench" / "training_gpu.py"), run_name="__main__")
        except SystemExit as ended:
            code = ended.code or 0
        assert isinstance(code, int)
        told = capfd.readouterr()
        return Ended(code, told.out, told.err)

    return run


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card")
def test_without_a_card_it_says_so_in_one_line(bench):
    done = bench("--json")
    assert done.code == 2
    assert done.err == "error: this benchmark needs a CUDA card; --tiny tries it on the CPU\n"
    assert not done.out


@pytest.mark.skipif(not can_run(torch.device("cpu")), reason="this TRL computes its loss on cards alone")
def test_on_a_tiny_model_there_is_a_row_for_each_layout_and_for_trl(bench):
    done = bench("--json", "--tiny", "--windows", "4", "--epochs", "1")
    assert done.code == 0, done.err
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert [(row["engine"], row["layout"]) for row in rows] == 2 * [
        ("hf", "rows"), ("hf", "packed"), ("hf", "shared"), ("trl", "rows")
    ]  # fmt: skip
    for row in rows:
        assert row["windows_per_s"] > 0
        assert row["tokens_per_s"] > 100 * row["windows_per_s"]
        assert row["share_of_peak"] is None
        assert 0 < row["loss"] < 10
    assert len({row["frame"] for row in rows}) == 2
