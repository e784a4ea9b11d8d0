"""The log of a run: whole lines, appended, and taken back as far as the run goes back."""

from __future__ import annotations

import pytest

from vlm_agent.errors import DataError
from vlm_agent.training.metrics import METRICS_FILE, Losses, MetricsLog, read_losses


def test_lines_are_appended_and_taken_back_behind_a_step(tmp_path):
    path = tmp_path / METRICS_FILE
    for step in range(5):
        MetricsLog(path).append(step=step, loss=float(step))
    MetricsLog(path).append(step=4, eval_loss=9.0)
    log = MetricsLog(path)
    assert [line["step"] for line in log.read()] == [0, 1, 2, 3, 4, 4]
    log.rewind(3)
    assert log.read() == [{"step": step, "loss": float(step)} for step in range(4)]
    log.rewind(-1)
    assert log.read() == []


def test_a_line_that_a_kill_cut_off_is_no_line_even_where_it_could_be_read(tmp_path):
    path = tmp_path / METRICS_FILE
    path.write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "loss": 1')
    assert MetricsLog(path).read() == [{"step": 1, "loss": 2.0}]
    path.write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "loss": 1.0}')
    assert MetricsLog(path).read() == [{"step": 1, "loss": 2.0}]
    path.write_text('{"step": 1\n')
    with pytest.raises(DataError, match="not the measurements of a run"):
        MetricsLog(path).read()


def test_losses_of_training_and_of_unseen_sessions_are_told_apart(tmp_path):
    assert read_losses(tmp_path) == Losses()
    log = MetricsLog(tmp_path / METRICS_FILE)
    log.append(step=0, eval_loss=3.0)
    log.append(step=1, loss=2.0)
    log.append(step=1, eval_loss=2.5)
    assert read_losses(tmp_path) == Losses(train=((1, 2.0),), validation=((0, 3.0), (1, 2.5)))
