"""The loop learns, stops, and goes on after any interruption with the bits it would have had."""

from __future__ import annotations

import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.training import often_killed
from tests.training.killed_run import CONFIG, run
from tests.training.synthetic import load_with_lora, make_examples, make_features, make_material, make_rows
from vlm_agent.errors import DataError, ModelError
from vlm_agent.models.adapters import WEIGHTS_FILE
from vlm_agent.models.tiny import write_tiny_checkpoint
from vlm_agent.training import loop as loop_module
from vlm_agent.training import passes as passes_module
from vlm_agent.training.checkpoints import list_checkpoints
from vlm_agent.training.config import EvaluationSettings
from vlm_agent.training.loop import Material, TrainingLoop
from vlm_agent.training.metrics import METRICS_FILE, MetricsLog
from vlm_agent.training.order import plan_epoch
from vlm_agent.training.passes import MeasuredLoss, measure_loss
from vlm_agent.training.progress import SilentWatcher

pytestmark = pytest.mark.model

NUM_STEPS = 24
HALF = replace(CONFIG, epochs=2)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("loop") / "tiny")


@pytest.fixture(scope="module")
def whole_run(model, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole")
    return out, run(model, out)


def _measured(out: Path) -> list[dict]:
    return [{k: v for k, v in line.items() if k != "seconds"} for line in MetricsLog(out / METRICS_FILE).read()]


def _same_weights(left: dict, right: dict) -> bool:
    return left.keys() == right.keys() and all(left[name].equal(right[name]) for name in left)


class StopAt(SilentWatcher):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step(self, step: int, num_steps: int, loss: float) -> None:
        if step == self.step:
            raise KeyboardInterrupt


def test_it_learns(whole_run):
    out, result = whole_run
    lines = _measured(out)
    losses = [line["loss"] for line in lines if "loss" in line]
    evaluations = {line["step"]: line["eval_loss"] for line in lines if "eval_loss" in line}
    assert len(losses) == result.num_steps == NUM_STEPS
    assert list(evaluations) == [0, 4, 8, 12, 16, 20, 24]
    assert losses[-1] < 0.6 * losses[0]
    assert result.state.best_loss == min(list(evaluations.values())[1:]) < 0.6 * evaluations[0]
    assert evaluations[result.state.best_step] == result.state.best_loss
    assert len(list_checkpoints(out / "checkpoints")) == 2


@pytest.fixture(scope="module")
def half_run(model, tmp_path_factory):
    out = tmp_path_factory.mktemp("half")
    return out, run(model, out, HALF)


@pytest.mark.parametrize("step", [1, 3, 4, 10, 12])
def test_stopped_at_any_step_it_goes_on_with_the_same_bits(model, half_run, tmp_path, step):
    out, result = half_run
    with pytest.raises(KeyboardInterrupt):
        run(model, tmp_path, HALF, StopAt(step))
    again = run(model, tmp_path, HALF)
    assert _measured(tmp_path) == _measured(out)
    assert _same_weights(again.weights, result.weights)


def test_killed_twenty_times_it_has_the_curve_of_a_run_that_was_left_alone(model, tmp_path):
    seed = random.randrange(1_000_000)
    command = [sys.executable, "-m", "tests.training.often_killed", str(model), str(tmp_path / "run"), "20", str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"seed {seed}: {done.stderr}"
    assert len(done.stdout.split()) == 20
    result = run(model, tmp_path / "alone", often_killed.SAVED_OFTEN)
    assert result.num_steps == often_killed.NUM_STEPS
    assert _measured(tmp_path / "run") == _measured(tmp_path / "alone"), f"seed {seed}"
    ends = [list_checkpoints(tmp_path / name / "checkpoints")[-1] for name in ("run", "alone")]
    assert ends[0].name == ends[1].name
    for path in ends[0].iterdir():
        assert path.read_bytes() == (ends[1] / path.name).read_bytes(), f"seed {seed}: {path.name}"


def test_on_several_cores_it_has_the_same_bits(model, whole_run, tmp_path):
    out, result = whole_run
    again = run(model, tmp_path, num_cores=3)
    assert _measured(tmp_path) == _measured(out)
    assert _same_weights(again.weights, result.weights)


def test_several_processes_learn_the_same(model, whole_run, tmp_path):
    """Three share the two passes of a step, so that one has none; sums only round otherwise."""
    out, result = whole_run
    command = [sys.executable, "-m", "tests.training.killed_run", str(model), str(tmp_path / "run"), "3"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines, wanted = _measured(tmp_path / "run"), _measured(out)
    assert [line["step"] for line in lines] == [line["step"] for line in wanted]
    for line, want in zip(lines, wanted, strict=True):
        assert line.pop("eval_loss_by_field", None) == want.pop("eval_loss_by_field", None)
        assert line == pytest.approx(want, rel=2e-3)
    assert lines[0]["eval_loss"] == pytest.approx(wanted[0]["eval_loss"], rel=1e-6)
    assert lines[1]["loss"] == pytest.approx(wanted[1]["loss"], rel=1e-6)
    weights = load_file(list_checkpoints(tmp_path / "run" / "checkpoints")[-1] / "best.safetensors")
    for name, weight in result.weights.items():
        torch.testing.assert_close(weights[name], weight, rtol=0.05, atol=2e-3)


def test_a_picture_is_read_once_a_step_however_many_passes_show_it(model, tmp_path):
    loaded = load_with_lora(model, CONFIG)
    config = replace(CONFIG, batch_windows=1, accumulation=8, epochs=2, evaluation=EvaluationSettings(every_steps=0))
    rows = make_rows(loaded, make_examples(loaded, 6, goals=4), max_windows=1)
    features = make_features(loaded, limit_bytes=0)
    read: list[str] = []
    load_frame = features._pictures._load_frame
    features._pictures._load_frame = lambda key: (read.append(key), load_frame(key))[1]
    TrainingLoop(loaded, Material(rows, [], features, "rows"), config, tmp_path, SilentWatcher()).run()
    plan = [step for epoch in range(2) for step in plan_epoch(rows, config, epoch)]
    shown = [[rows[index].image_keys[0] for indices in step for index in indices] for step in plan]
    assert features.num_computed == sum(map(len, shown)) == 48
    expected = [set(keys + following) for keys, following in zip(shown, [*shown[1:], []], strict=True)]
    fresh = [keys - before for keys, before in zip(expected, [set(), *expected[:-1]], strict=True)]
    assert len(read) == sum(map(len, fresh)) <= sum(len(set(keys)) for keys in shown) < 48


def test_a_finished_run_does_nothing_more(model, whole_run):
    out, result = whole_run
    before = _measured(out)
    again = run(model, out)
    assert _measured(out) == before
    assert _same_weights(again.weights, result.weights)


def test_half_written_and_damaged_checkpoints(model, whole_run, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(model, tmp_path, watcher=StopAt(8))
    (tmp_path / "checkpoints" / "step-000009.partial").mkdir()
    checkpoints = list_checkpoints(tmp_path / "checkpoints")
    assert [path.name for path in checkpoints] == ["step-000003", "step-000006"]
    weights = checkpoints[-1] / "optimizer.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(DataError, match="damaged checkpoint"):
        run(model, tmp_path)
    for path in checkpoints[-1].iterdir():
        path.unlink()
    checkpoints[-1].rmdir()
    run(model, tmp_path)
    assert _measured(tmp_path) == _measured(whole_run[0])


def test_it_stops_early_and_keeps_the_best(model, tmp_path, monkeypatch):
    config = replace(CONFIG, evaluation=EvaluationSettings(every_steps=2, patience=3))
    with pytest.raises(KeyboardInterrupt):
        run(model, tmp_path / "two", replace(config, save_every_steps=2), StopAt(3))
    two_steps = load_file(tmp_path / "two" / "checkpoints" / "step-000002" / WEIGHTS_FILE)
    losses = iter([5.0, 3.0, 4.0, 3.5, 3.0])
    monkeypatch.setattr(loop_module, "measure_loss", lambda *_: MeasuredLoss(next(losses), {}))
    result = run(model, tmp_path / "whole", config)
    assert result.state.has_stopped
    assert (result.state.best_step, result.state.best_loss, result.state.step) == (2, 3.0, 8)
    again = run(model, tmp_path / "whole", config)
    assert again.state == result.state
    assert _same_weights(again.weights, result.weights)
    assert _same_weights(result.weights, two_steps)


def test_a_loss_that_is_no_number_is_one_error_and_keeps_the_weights(model, tmp_path, monkeypatch):
    loaded = load_with_lora(model, CONFIG)
    true_sum = passes_module.sum_losses
    calls = []

    def poisoned(*args):
        calls.append(1)
        return true_sum(*args) * (float("nan") if len(calls) > 8 else 1.0)  # passes run side by side: not "== 9"

    monkeypatch.setattr(passes_module, "sum_losses", poisoned)
    config = replace(CONFIG, evaluation=EvaluationSettings(every_steps=0))
    with pytest.raises(ModelError, match=r"step 5 \(loss nan.*learning-rate") as caught:
        TrainingLoop(loaded, make_material(loaded), config, tmp_path, SilentWatcher()).run()
    assert "\n" not in str(caught.value)
    assert [path.name for path in list_checkpoints(tmp_path / "checkpoints")] == ["step-000003", "step-000004"]
    monkeypatch.undo()
    result = run(model, tmp_path, config)
    assert result.state.step == NUM_STEPS
    assert all(value.isfinite().all() for value in result.weights.values())


def test_evaluation_weighs_tokens_and_not_windows(model):
    loaded = load_with_lora(model, CONFIG)
    material = make_material(loaded)
    rows = material.train[:5]
    single = [measure_loss(loaded, [[row]], make_features(loaded)).mean for row in rows]
    tokens = [row.num_target_tokens for row in rows]
    want = sum(loss * count for loss, count in zip(single, tokens, strict=True)) / sum(tokens)
    for passes in ([rows[:2], rows[2:]], [rows]):
        got = measure_loss(loaded, passes, make_features(loaded)).mean
        assert got == pytest.approx(want, rel=1e-5)


def test_only_the_language_layers_get_gradients(model, tmp_path):
    loaded = load_with_lora(model, CONFIG)
    before = {name: value.clone() for name, value in loaded.model.state_dict().items() if "lora" not in name}
    TrainingLoop(loaded, make_material(loaded), replace(CONFIG, max_steps=3), tmp_path, SilentWatcher()).run()
    after = loaded.model.state_dict()
    assert all(after[name].equal(value) for name, value in before.items())
    trained = [name for name, value in loaded.model.named_parameters() if value.requires_grad]
    assert len(trained) == 3 * 7 * 2
    assert all(
        "language_model.layers" in name and value.dtype == torch.float32
        for name, value in ((name, loaded.model.get_parameter(name)) for name in trained)
    )
