"""How a run learned, from its measurements."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from vlm_agent.errors import DataError
from vlm_agent.evaluation.learning import smooth, write_section
from vlm_agent.training.metrics import read_losses


def write_metrics(folder: Path, unseen: list[float]) -> Path:
    lines = [{"step": step, "loss": 1 / step} for step in range(1, 11)]
    lines += [{"step": 5 * index, "eval_loss": loss} for index, loss in enumerate(unseen)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 11, "lo')
    return folder


@pytest.mark.parametrize(
    ("unseen", "words"),
    [
        ([2.0, 1.0, 0.5], "went from 2.000 (step 0) to 0.500 (step 10); its best was the last."),
        ([2.0, 0.5, 0.505], "about its best."),
        ([2.0, 0.5, 1.0], "after a best of 0.500 at step 5: it learnt too long."),
        ([], "Trained for 10 steps; sessions it did not learn from were not asked on the way."),
    ],
)
def test_the_losses_are_told(tmp_path: Path, unseen: list[float], words: str) -> None:
    losses = read_losses(write_metrics(tmp_path, unseen))
    assert len(losses.train) == 10  # a kill cut the last line off
    section = write_section(losses)
    assert section.sentences[0].endswith(words)
    assert section.plots[0].light.startswith("data:image/svg+xml")


def test_a_folder_without_measurements_has_none(tmp_path: Path) -> None:
    assert read_losses(tmp_path).train == ()
    (tmp_path / "metrics.jsonl").write_text('{"step": 0, "eval_loss": 2.0}\n')
    assert read_losses(tmp_path).train == ()
    (tmp_path / "metrics.jsonl").write_text("nonsense\n")
    with pytest.raises(DataError, match="not the measurements of a run"):
        read_losses(tmp_path)


def test_smoothing_keeps_the_mean() -> None:
    steps, losses = smooth(np.arange(1.0, 81.0), np.tile([0.0, 2.0], 40))
    assert len(steps) == 40
    assert losses == pytest.approx(np.ones(40))
    assert steps.mean() == pytest.approx(40.5)
