"""What is trained and how: whole models, the vision tower, layers run again, optimizers in 8 bits, a full disk."""

from __future__ import annotations

import errno
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from tests.training.killed_run import CONFIG, run
from tests.training.synthetic import (
    SPEC,
    load_with_lora,
    make_examples,
    make_features,
    make_material,
    make_rows,
    shake_lora,
    write_dataset,
)
from vlm_agent.chat import Recipe
from vlm_agent.errors import ConfigError, DataError, ModelError
from vlm_agent.models.adapters import WEIGHTS_FILE, adapts_vision
from vlm_agent.models.compat import enable_activation_checkpointing, is_recomputing
from vlm_agent.models.loading import load_model
from vlm_agent.models.tiny import write_tiny_checkpoint
from vlm_agent.policies import VlmPolicy, find_recipe
from vlm_agent.training import checkpoints as checkpoints_module
from vlm_agent.training.adapters import make_trainable, train_adapter
from vlm_agent.training.batches import lay_out
from vlm_agent.training.checkpoints import list_checkpoints
from vlm_agent.training.config import EvaluationSettings, LoraSettings, TrainConfig
from vlm_agent.training.loop import TrainingLoop
from vlm_agent.training.metrics import METRICS_FILE, MetricsLog
from vlm_agent.training.optimizers import flatten_state, make_optimizer, restore_state
from vlm_agent.training.passes import add_gradients, measure_loss
from vlm_agent.training.planning import needs
from vlm_agent.training.planning.candidates import read_candidate
from vlm_agent.training.planning.needs import must_recompute, settle_recomputing
from vlm_agent.training.progress import ProgressWatcher, SilentWatcher
from vlm_agent.training.trained import TrainedWeights

pytestmark = pytest.mark.model

FAMILIES = ["qwen3_vl", "qwen2_5_vl"]
SHORT = TrainConfig(
    lora=LoraSettings(rank=4), evaluation=EvaluationSettings(every_steps=2), learning_rate=2e-3, max_steps=4
)


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("modes")
    return {family: write_tiny_checkpoint(root / family, family) for family in FAMILIES}


@pytest.fixture(scope="module")
def model(models) -> Path:
    return models["qwen3_vl"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("modes-data") / "dataset", num_ticks=9)


def _lines(out: Path) -> list[dict]:
    return [{k: v for k, v in line.items() if k != "seconds"} for line in MetricsLog(out / METRICS_FILE).read()]


def _gradients(loaded) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in loaded.model.named_parameters() if p.grad is not None}


# Full training.


@pytest.mark.parametrize("family", FAMILIES)
def test_full_training_leaves_a_checkpoint_that_is_a_base(models, dataset, tmp_path, family):
    loaded = load_model(models[family], quantization="none", device="cpu", in_float32=True)
    config = replace(SHORT, full=True)
    result = train_adapter(dataset, loaded, config, tmp_path / "run")
    folder = tmp_path / "run" / "model"
    assert result.adapter == folder
    assert not (tmp_path / "run" / "adapter").exists()
    tuned, base = (load_file(path / "model.safetensors") for path in (folder, models[family]))
    assert {name: (value.shape, value.dtype) for name, value in tuned.items()} == {
        name: (value.shape, value.dtype) for name, value in base.items()
    }
    moved = {name for name, value in tuned.items() if not value.equal(base[name])}
    assert moved
    assert not any("visual" in name for name in moved)
    assert "lm_head.weight" in moved
    assert any(name.endswith("layernorm.weight") for name in moved)
    for name in ("config.json", "tokenizer.json", "preprocessor_config.json", "recipe.json"):
        assert (folder / name).is_file()
    lines = _lines(tmp_path / "run")
    assert lines[-1]["eval_loss"] < lines[0]["eval_loss"]
    # A run brings its own precision, and its recipe.
    for place in (tmp_path / "run", folder):
        again = load_model(place, device="cpu")
        assert again.quantization == "none"
        record = json.loads((folder / "recipe.json").read_text())
        assert record["frame_px"] == [SPEC.extent_width, SPEC.extent_height]
        assert find_recipe(again, SPEC) == Recipe.from_json(record["recipe"])
        candidate = read_candidate(str(place), "nf4")
        assert (candidate.recipe, candidate.quantization) == (find_recipe(again, SPEC), "none")
        with pytest.raises(ModelError, match="was trained with history_frames 1 and can't be asked with 2"):
            VlmPolicy(again, replace(candidate.recipe, history_frames=2))
    policy = VlmPolicy.from_run(tmp_path / "run", SPEC, device="cpu")
    policy.begin("press", SPEC, 0)


def test_full_training_goes_on_with_the_same_bits(model, dataset, tmp_path):
    config = replace(SHORT, full=True, save_every_steps=1)

    class StopAt(SilentWatcher):
        def on_step(self, step, num_steps, loss):
            if step == 3:
                raise KeyboardInterrupt

    def train(out, watcher=None):
        loaded = load_model(model, quantization="none", device="cpu", in_float32=True)
        return train_adapter(dataset, loaded, config, out, watcher=watcher)

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "cut", StopAt())
    train(tmp_path / "cut")
    train(tmp_path / "whole")
    assert _lines(tmp_path / "cut") == _lines(tmp_path / "whole")
    paths = [tmp_path / name / "model" / "model.safetensors" for name in ("cut", "whole")]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_full_training_where_it_cannot_be(model, dataset, tmp_path):
    with pytest.raises(ConfigError, match=r"--train\.full needs --quantization none"):
        train_adapter(dataset, load_model(model, device="cpu"), replace(SHORT, full=True), tmp_path / "run")
    train_adapter(dataset, load_model(model, quantization="none", device="cpu"), SHORT, tmp_path / "lora")
    tuned = load_model(tmp_path / "lora", device="cpu", trainable=True)
    with pytest.raises(ConfigError, match=r"--train\.full starts from a whole model"):
        train_adapter(dataset, tuned, replace(SHORT, full=True), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_products_in_bfloat16_over_weights_in_float32_have_about_the_same_loss(model):
    loaded = load_model(model, quantization="none", device="cpu", in_float32=True)
    rows = make_rows(loaded, make_examples(loaded, 3))
    exact, mixed = (
        measure_loss(some, [rows], make_features(some)).mean for some in (loaded, replace(loaded, mixes=True))
    )
    assert mixed != exact
    assert mixed == pytest.approx(exact, rel=2e-2)


# The vision tower.


@pytest.mark.parametrize("family", FAMILIES)
def test_an_adapter_of_the_vision_tower_gets_gradients_that_finite_differences_agree_with(models, family):
    config = replace(SHORT, lora=LoraSettings(rank=2, dropout=0.0, vision=True))
    loaded = make_trainable(load_model(models[family], quantization="none", device="cpu"), config)
    shake_lora(loaded)
    loaded.model.double()
    assert adapts_vision(loaded.peft)
    assert loaded.sees_anew
    features = make_features(loaded)
    assert features.limit_bytes == 0
    rows = [lay_out(make_rows(loaded, make_examples(loaded, 2)), "shared")]
    loaded.model.train()
    add_gradients(loaded, rows, features, 0)
    gradients = {name: value for name, value in _gradients(loaded).items() if ".visual." in name}
    assert len(gradients) == 3 * 2 * (4 if family == "qwen3_vl" else 5)
    name, gradient = max(gradients.items(), key=lambda item: float(item[1].abs().max()))
    place = divmod(int(gradient.abs().argmax()), gradient.shape[1])
    parameter, step, found = loaded.model.get_parameter(name), 1e-3, []
    for sign in (1, -1):
        parameter.data[place] += sign * step
        found.append(measure_loss(loaded, rows, features).mean)
        parameter.data[place] -= sign * step
    # Losses are summed up in float32.
    assert (found[0] - found[1]) / (2 * step) == pytest.approx(float(gradient[place]), rel=2e-2)


def test_an_adapter_of_the_vision_tower_is_trained_saved_and_played(model, dataset, tmp_path):
    config = replace(SHORT, lora=LoraSettings(rank=4, vision=True), learning_rate=1e-2)
    result = train_adapter(dataset, load_model(model, device="cpu"), config, tmp_path / "run")
    weights = load_file(result.adapter / WEIGHTS_FILE)
    seen = {name for name in weights if ".visual.blocks." in name}
    assert len(seen) == 3 * 4 * 2
    assert any(float(weights[name].abs().max()) > 0 for name in seen if "lora_B" in name)
    assert not any("visual" in name for name in weights if name not in seen)
    again = load_model(tmp_path / "run", device="cpu")
    assert again.sees_anew
    plain = load_model(model, device="cpu")
    assert not plain.sees_anew


# Layers that are run again.


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("layout", ["rows", "shared"])
def test_layers_run_again_give_the_same_gradients_dropout_included(models, family, layout):
    config = replace(SHORT, lora=LoraSettings(rank=4, dropout=0.3))
    loaded = load_with_lora(models[family], config)
    shake_lora(loaded)
    rows = make_rows(loaded, make_examples(loaded, 3), max_windows=2 if layout == "shared" else 1)
    passes = [lay_out(rows[:2], layout), lay_out(rows[2:], layout)]
    loaded.model.train()
    losses, gradients = [], []
    for recompute in (False, True):
        if recompute:
            enable_activation_checkpointing(loaded.model)
        assert is_recomputing(loaded.model) is recompute
        loaded.model.zero_grad()
        losses.append(add_gradients(loaded, passes, make_features(loaded), 5)[0])
        gradients.append(_gradients(loaded))
    assert losses[0] == losses[1]
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-5, atol=1e-7)


def test_layers_are_run_again_where_asked_and_where_a_card_would_be_too_small(model, monkeypatch):
    assert [must_recompute("auto", need, 10) for need in (9, 10, 11)] == [False, False, True]
    assert must_recompute("on", 1, 10)
    assert not must_recompute("off", 11, 10)
    for asked, want in (("auto", False), ("off", False), ("on", True)):
        loaded = load_with_lora(model, SHORT)
        settle_recomputing(loaded, make_material(loaded, 2, 1), replace(SHORT, recompute=asked))
        assert is_recomputing(loaded.model) is want
    for card_bytes, want in ((10**12, False), (10**9, True)):  # a context alone takes more than the smaller one
        loaded = load_with_lora(model, SHORT)
        monkeypatch.setattr(type(loaded), "device", torch.device("cuda"))
        monkeypatch.setattr(needs, "_count_card_bytes", lambda device, size=card_bytes: size)
        material = make_material(replace(loaded), 2, 1)
        settle_recomputing(loaded, material, SHORT)
        assert is_recomputing(loaded.model) is want


# Optimizers.


def test_steps_in_8_bits_come_near_those_in_32_and_go_on_from_a_checkpoint(model, tmp_path):
    config = replace(CONFIG, optimizer="adamw-8bit", lora=LoraSettings(rank=64, dropout=0.1), epochs=2)
    whole = run(model, tmp_path / "whole", config)
    state = load_file(list_checkpoints(tmp_path / "whole" / "checkpoints")[-1] / "optimizer.safetensors")
    assert {value.dtype for name, value in state.items() if name.endswith("state1")} == {torch.uint8, torch.float32}
    exact = run(model, tmp_path / "exact", replace(config, optimizer="adamw"))
    losses = [[line["loss"] for line in _lines(tmp_path / name) if "loss" in line] for name in ("whole", "exact")]
    assert losses[0][0] == losses[1][0]
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.1)
    assert whole.num_steps == exact.num_steps

    class StopAt(SilentWatcher):
        def on_step(self, step, num_steps, loss):
            if step == 8:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(model, tmp_path / "cut", config, StopAt())
    run(model, tmp_path / "cut", config)
    assert _lines(tmp_path / "cut") == _lines(tmp_path / "whole")


def test_an_optimizer_that_needs_a_card_is_one_line(model, dataset, tmp_path):
    config = replace(SHORT, optimizer="paged-adamw-8bit")
    with pytest.raises(ConfigError, match=r"--train\.optimizer paged-adamw-8bit needs a CUDA card") as caught:
        train_adapter(dataset, load_model(model, device="cpu"), config, tmp_path / "run")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["adamw", "adamw-8bit"])
def test_the_state_of_an_optimizer_is_read_and_put_back(name):
    def make():
        parameters = [torch.nn.Parameter(torch.ones(80, 64)), torch.nn.Parameter(torch.ones(3))]
        return parameters, make_optimizer(name, parameters)

    parameters, optimizer = make()
    for parameter in parameters:
        parameter.grad = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
    optimizer.step()
    state = flatten_state(optimizer, ["a", "b"])
    others, other = make()
    restore_state(other, ["a", "b"], others, state, Path("here"))
    again = flatten_state(other, ["a", "b"])
    assert again.keys() == state.keys()
    assert all(again[key].equal(value) and again[key].dtype == value.dtype for key, value in state.items())
    with pytest.raises(DataError, match="unknown weight a"):
        restore_state(other, ["b", "c"], others, state, Path("here"))


# What is said, and what is kept when it goes wrong.


def test_the_line_at_the_start_counts_what_is_in_4_bits(model, dataset, tmp_path):
    with (tmp_path / "shown").open("w") as file, ProgressWatcher(Console(file=file, width=300)) as watcher:
        train_adapter(
            dataset, load_model(model, device="cpu"), replace(SHORT, recompute="on"), tmp_path / "run", watcher=watcher
        )
    [line] = [line for line in (tmp_path / "shown").read_text().splitlines() if " windows of " in line]
    assert "; 21 of 21 language layers in 4 bits, 44 other modules whole; layers are run again" in line


def test_a_disk_that_is_full_at_a_checkpoint_leaves_the_last_good_one(model, tmp_path, monkeypatch):
    whole = run(model, tmp_path / "whole")
    true_write, calls = checkpoints_module.write_tensors, []

    def full(place, tensors):
        calls.append(place)
        if "step-000009" in str(place) and place.name == "optimizer.safetensors":
            place.write_bytes(b"some of it")
            raise OSError(errno.ENOSPC, "No space left on device", str(place))
        true_write(place, tensors)

    monkeypatch.setattr(checkpoints_module, "write_tensors", full)
    with pytest.raises(
        DataError, match=r"step 9 can't be written down \(No space left.*step-000006; make room"
    ) as caught:
        run(model, tmp_path / "run")
    assert "\n" not in str(caught.value)
    left = {path.name for path in (tmp_path / "run" / "checkpoints").iterdir()}
    assert left == {"step-000003", "step-000006"}
    monkeypatch.undo()
    again = run(model, tmp_path / "run")
    assert _lines(tmp_path / "run") == _lines(tmp_path / "whole")
    assert all(again.weights[name].equal(value) for name, value in whole.weights.items())


def test_a_checkpoint_of_other_weights_is_one_line(model, tmp_path):
    run(model, tmp_path / "run", replace(CONFIG, epochs=1))
    loaded = load_with_lora(model, replace(CONFIG, lora=LoraSettings(rank=8)))
    loop = TrainingLoop(loaded, make_material(loaded), CONFIG, tmp_path / "run", SilentWatcher())
    with pytest.raises(ModelError, match="weights don't fit") as caught:
        loop.run()
    assert "\n" not in str(caught.value)
    full = load_model(model, quantization="none", device="cpu")
    full.model.requires_grad_(True)
    with pytest.raises(ModelError, match=r"here: weights of another model: \d+ don't fit, the first"):
        TrainedWeights(full).write({"lm_head.weight": torch.zeros(1)}, Path("here"))
