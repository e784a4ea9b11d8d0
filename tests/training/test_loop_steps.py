"""The loop's own part: what it asks for at which step, and what it keeps. What a step computes is written down here."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
import torch

from tests.training.test_order import fake_row
from vlm_agent.training import loop as loop_module
from vlm_agent.training.checkpoints import list_checkpoints
from vlm_agent.training.config import EvaluationSettings, TrainConfig
from vlm_agent.training.loop import Material, TrainingLoop
from vlm_agent.training.order import learning_rate, plan_epoch
from vlm_agent.training.passes import MeasuredLoss
from vlm_agent.training.progress import SilentWatcher

pytestmark = pytest.mark.model

ROWS = [fake_row(1, 20 + index) for index in range(10)]
CONFIG = TrainConfig(
    evaluation=EvaluationSettings(every_steps=0), batch_windows=1, accumulation=2, epochs=2, learning_rate=0.5
)
"""Ten steps of two passes."""
GRADIENT = torch.tensor([3.0, 0.0, -4.0])


class Model(torch.nn.Module):
    config = SimpleNamespace(text_config=SimpleNamespace(hidden_size=3))

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(3))


@dataclass
class Done:
    """What a run did, step by step."""

    seeds: list[int] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    rows: list[list[int]] = field(default_factory=list)
    was_training: list[bool] = field(default_factory=list)
    gradients: list[list[float]] = field(default_factory=list)
    weights: list[list[float]] = field(default_factory=list)


class StopAt(SilentWatcher):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step(self, step: int, num_steps: int, loss: float) -> None:
        if step == self.step:
            raise KeyboardInterrupt


@pytest.fixture
def play(monkeypatch, tmp_path):
    """Run a loop whose gradients and measured losses are given; return its result and what it did."""

    def run(config=CONFIG, losses=None, folder=tmp_path, watcher=None, keep=None, look=None):
        model, done = Model(), Done()
        loaded = SimpleNamespace(model=model, peft=None, device=torch.device("cpu"), library="hf", runner=None)
        material = Material(ROWS, ROWS[:2] if losses else [], SimpleNamespace(expect=list), "rows")
        if look is not None:
            material = Material(material.train, material.validation, material.features, "rows", look)
        loop = TrainingLoop(loaded, material, config, folder, watcher or SilentWatcher(), keep)
        step = loop._optimizer.step

        def add_gradients(_, passes, features, seed, *rest):
            model.weight.grad = GRADIENT + (0 if model.weight.grad is None else model.weight.grad)
            done.seeds.append(seed)
            done.rows.append([len(row.ids) - 20 for rows in passes for row in rows])
            done.was_training.append(model.training)
            done.rates.append(loop._optimizer.param_groups[0]["lr"])
            return 1.5, 7

        def take_step():
            done.gradients.append(model.weight.grad.tolist())
            step()
            done.weights.append(model.weight.tolist())

        def measure(*_):
            model.eval()
            return MeasuredLoss(losses[loop._state.step], {})

        monkeypatch.setattr(loop._optimizer, "step", take_step)
        monkeypatch.setattr(loop_module, "add_gradients", add_gradients)
        monkeypatch.setattr(loop_module, "measure_loss", measure)
        return loop.run(), done

    return run


def evaluate(every_steps: int, **changes) -> TrainConfig:
    patience = changes.pop("patience", 0)
    return TrainConfig(**{**vars(CONFIG), "evaluation": EvaluationSettings(every_steps, patience), **changes})


def read_metrics(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_every_step_has_its_rows_its_rate_and_a_gradient_of_its_own(play, tmp_path):
    result, done = play()
    assert result.num_steps == 10
    planned = [
        [row for indices in step for row in indices] for epoch in (0, 1) for step in plan_epoch(ROWS, CONFIG, epoch)
    ]
    assert done.rows == planned
    assert done.rates == [learning_rate(step, 10, CONFIG) for step in range(10)]
    # Scaled down to a norm of 1, and nothing of the step before is left in it.
    assert done.gradients == [pytest.approx([0.6, 0.0, -0.8], abs=1e-6)] * 10
    lines = read_metrics(tmp_path)
    logged = {"loss": 1.5, "grad_norm": 5.0, "target_tokens": 7, "windows": 2}
    for number, line in enumerate(lines):
        assert line.pop("seconds") >= 0
        assert line == {**logged, "step": number + 1, "learning_rate": done.rates[number]}
    assert len(lines) == 10
    assert result.last_loss == 1.5
    # Adam's first step is the rate itself, whatever the gradient; where there is none a weight stays, undecayed.
    assert done.weights[0] == pytest.approx([1 - done.rates[0], 1.0, 1 + done.rates[0]], rel=1e-4)
    assert {weights[1] for weights in done.weights} == {1.0}


def test_every_pass_of_a_run_has_a_dropout_of_its_own_by_the_runs_seed(play, tmp_path):
    """A pass draws by its step's seed and its place in the step; see `passes.add_gradients`."""

    def drawn(seed, name):
        _, done = play(TrainConfig(**{**vars(CONFIG), "seed": seed}), folder=tmp_path / name)
        return [first + place for first in done.seeds for place in range(CONFIG.accumulation)]

    for name in "abc":
        (tmp_path / name).mkdir()
    one, same, other = drawn(3, "a"), drawn(3, "b"), drawn(4, "c")
    assert len(set(one)) == 20
    assert one == same
    assert not set(one) & set(other)


@pytest.mark.parametrize("step", [1, 4, 5, 9])
def test_a_stopped_run_goes_on_with_the_steps_it_would_have_had(play, tmp_path, step):
    (tmp_path / "whole").mkdir()
    often, losses = evaluate(2, save_every_steps=1), [9, 9, 3, 9, 5, 9, 6, 9, 7, 9, 8]
    ended, whole = play(often, losses, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        play(often, losses, watcher=StopAt(step))
    result, rest = play(often, losses)
    for name in ("rows", "seeds", "rates", "weights"):
        assert getattr(rest, name) == getattr(whole, name)[step - 1 :]
    assert result.state == ended.state
    assert result.state.best_step == 2
    assert result.weights["weight"].tolist() == whole.weights[1]


@pytest.mark.parametrize(("every", "steps"), [(4, [0, 4, 8, 10]), (5, [0, 5, 10]), (20, [0, 10]), (1, list(range(11)))])
def test_it_is_measured_at_the_start_every_so_many_steps_and_once_at_the_end(play, tmp_path, every, steps):
    _, done = play(evaluate(every), losses=[3.0] * 11)
    assert [line["step"] for line in read_metrics(tmp_path) if "eval_loss" in line] == steps
    assert done.was_training == [True] * 10


@pytest.mark.parametrize(
    ("losses", "patience", "best_step", "best_loss", "last_step"),
    [
        ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 0, 2, 2.0, 10),  # it only gets worse
        ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 2, 2, 2.0, 6),
        ([9.0, 8.0, 7.0, 6.0, 5.0, 4.0], 1, 10, 4.0, 10),
        ([9.0, 8.0, 7.0, 7.0, 8.0, 6.0], 3, 10, 6.0, 10),  # the last chance
        ([9.0, 8.0, 7.0, 7.0, 8.0, 6.0], 2, 4, 7.0, 8),  # as good is no better
        ([9.0, 5.0, 6.0, 4.0, 6.0, 3.0], 2, 10, 3.0, 10),  # a new best is waited for anew
    ],
)
def test_the_trained_weights_that_were_measured_best_are_the_result(
    play, losses, patience, best_step, best_loss, last_step
):
    """The untrained start is there to be compared with: whoever trains wants what was trained."""
    losses = [loss for loss in losses for _ in range(2)]
    result, done = play(evaluate(2, patience=patience), losses)
    state = result.state
    assert (state.best_step, state.best_loss, state.step) == (best_step, best_loss, last_step)
    assert state.has_stopped == (last_step < 10)
    assert result.weights["weight"].tolist() == done.weights[best_step - 1]
    assert result.weights["weight"].tolist() != [1.0, 1.0, 1.0]
    again, nothing = play(evaluate(2, patience=patience), losses)
    assert again.state == state
    assert again.weights["weight"].equal(result.weights["weight"])
    assert nothing.rows == []


def test_where_nothing_is_measured_the_last_weights_are_the_result(play):
    result, done = play()
    assert result.state.best_step is None
    assert result.weights["weight"].tolist() == done.weights[-1]


def test_checkpoints_and_adapters_are_kept_as_often_as_asked(play, tmp_path, monkeypatch):
    saved, kept = [], []
    save = loop_module.save_checkpoint
    monkeypatch.setattr(
        loop_module, "save_checkpoint", lambda folder, state, *rest, **more: (
            saved.append(state.step), save(folder, state, *rest, **more)
        )[1]
    )  # fmt: skip
    config = TrainConfig(**{**vars(CONFIG), "save_every_steps": 4, "keep_adapters_every_steps": 3})
    _, done = play(config, keep=lambda result: kept.append((result.state.step, result.weights["weight"].tolist())))
    assert saved == [4, 8, 10]
    assert kept == [(step, done.weights[step - 1]) for step in (3, 6, 9)]
    assert [path.name for path in list_checkpoints(tmp_path / "checkpoints")] == ["step-000008", "step-000010"]


def test_a_row_looks_as_it_does_in_its_epoch(play):
    seen = []
    play(look=lambda row, epoch: (seen.append((len(row.ids) - 20, epoch)), row)[1])
    assert sorted(seen) == sorted((index, epoch) for epoch in (0, 1) for index in range(10))
    assert [epoch for _, epoch in seen] == [0] * 10 + [1] * 10
