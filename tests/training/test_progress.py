"""What a run says of itself where nobody watches a bar."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from vlm_agent.training.passes import MeasuredLoss
from vlm_agent.training.progress import ProgressWatcher

pytestmark = pytest.mark.model


def watch(num_steps: int) -> list[str]:
    written = io.StringIO()
    watcher = ProgressWatcher(Console(file=written, width=100))
    for step in range(1, num_steps + 1):
        watcher.on_step(step, num_steps, 0.5)
    return [line.split(" ")[1] for line in written.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("num_steps", "lines"),
    [
        (3, ["1/3", "2/3", "3/3"]),
        (45, [f"{step}/45" for step in range(3, 46, 3)]),
        (1000, [f"{step}/1000" for step in range(50, 1001, 50)]),
        (41, [f"{step}/41" for step in (*range(3, 41, 3), 41)]),
    ],
)
def test_a_run_writes_about_twenty_lines_the_last_step_among_them(num_steps, lines):
    assert watch(num_steps) == lines


def test_the_loss_of_unseen_sessions_stands_beside_the_steps_from_then_on():
    written = io.StringIO()
    watcher = ProgressWatcher(Console(file=written, width=100))
    watcher.on_step(1, 2, 0.75)
    watcher.on_evaluation(1, MeasuredLoss(1.25, {}), is_best=True)
    watcher.on_step(2, 2, 0.5)
    assert written.getvalue().splitlines() == ["step 1/2 loss 0.750", "step 2/2 loss 0.500, unseen 1.250 (best)"]
