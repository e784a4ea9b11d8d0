"""What is counted of a run is what the run does, and measuring it leaves no trace."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.console import Console

from tests.training.killed_run import CONFIG
from tests.training.killed_run import run as run_loop
from tests.training.synthetic import load_with_lora, make_features, make_material
from vlm_agent.errors import ModelError
from vlm_agent.models.adapters import read_adapter_weights
from vlm_agent.models.tiny import write_tiny_checkpoint
from vlm_agent.training import passes as passes_module
from vlm_agent.training.batches import collate_rows, lay_out
from vlm_agent.training.config import EvaluationSettings
from vlm_agent.training.loop import TrainingLoop
from vlm_agent.training.metrics import METRICS_FILE, MetricsLog
from vlm_agent.training.order import count_steps, plan_epoch
from vlm_agent.training.planning.memory import cpu_setting, describe_trained, estimate_training
from vlm_agent.training.planning.outlook import describe_outlook, tell_idle_cores
from vlm_agent.training.planning.probes import PeakMemory, count_machine_bytes, count_passes_at_once, time_steps
from vlm_agent.training.planning.shapes import read_shape, shape_of
from vlm_agent.training.planning.work import count_kept_bytes, list_windows, weigh_work
from vlm_agent.training.progress import ProgressWatcher, SilentWatcher

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_tiny_checkpoint(tmp_path_factory.mktemp("probes") / "tiny")


@pytest.fixture(scope="module")
def case(model):
    loaded = load_with_lora(model, CONFIG)
    return loaded, make_material(loaded)


def count_visible(batch):
    """Pairs of a token and one it sees, counted one by one."""
    if batch.tree is None:
        rows, length = batch.ids.shape
        return rows * sum(range(1, length + 1))
    pairs = 0
    for segment, (first, last) in enumerate(batch.tree.spans):
        seen = [at for start, stop in batch.tree.path(segment) for at in range(start, stop)]
        pairs += sum(at <= token for token in range(first, last) for at in seen)
    return pairs


@pytest.mark.parametrize("layout", ["rows", "packed", "shared"])
def test_work_is_what_the_loop_does(case, layout):
    _, material = case
    config = replace(CONFIG, epochs=2.0, batch_windows=4)
    work = weigh_work(material.train, material.validation, layout, config, at_once=1)
    padded = pairs = targets = visits = largest = 0
    for epoch in range(2):
        for step in plan_epoch(material.train, config, epoch):
            for indices in step:
                rows = [material.train[index] for index in indices]
                batch = collate_rows(lay_out(rows, layout), 0, torch.device("cpu"))
                shape = batch.ids.shape
                padded += math.prod(shape)
                pairs += count_visible(batch)
                targets += sum(row.num_target_tokens for row in rows)
                visits += sum(len(row.image_keys) for row in rows)
                largest = max(largest, math.prod(shape))
    assert work.steps == count_steps(material.train, config)
    assert (work.tokens, work.pairs) == pytest.approx((padded, pairs), rel=0.05)
    assert (work.targets, work.picture_visits) == (targets, visits)
    assert work.largest.tokens == pytest.approx(largest, rel=0.05)
    assert (work.windows, work.pictures) == (24, 12)
    assert work.row_tokens == sum(len(row.ids) for row in (*material.train, *material.validation))
    assert work.evaluated_tokens == (1 + 2) * sum(len(row.ids) for row in material.validation)
    assert work.longest_window == max(list_windows([*material.train, *material.validation]))


def test_windows_in_a_shared_row_are_counted_apart(case):
    _, material = case
    for row in material.train[:3]:
        first, second = list_windows([row])
        shared = row.tree.bounds[1]
        assert row.tree.parents == (-1, 0, 0)
        assert first + second - shared == len(row.ids)


def test_a_sample_stands_for_all(case):
    _, material = case
    whole = weigh_work(material.train, [], "shared", CONFIG, at_once=1)
    double = weigh_work(material.train, [], "shared", CONFIG, at_once=1, scale=2.0)
    assert double.steps == 2 * whole.steps
    assert double.tokens == pytest.approx(2 * whole.tokens)
    assert (double.windows, double.pictures) == (48, 24)
    capped = weigh_work(material.train, [], "shared", replace(CONFIG, max_steps=6), at_once=1, scale=2.0)
    assert capped.steps == 6
    assert capped.tokens == pytest.approx(double.tokens * 6 / double.steps)


def test_measuring_changes_no_weight_and_leaves_no_gradient(case):
    loaded, material = case
    before, threads = read_adapter_weights(loaded.peft), torch.get_num_threads()
    timing = time_steps(loaded, material, CONFIG, most_steps=3, most_s=60.0)
    after = read_adapter_weights(loaded.peft)
    assert timing.num_steps == 3
    assert timing.token_s > 0
    assert timing.picture_s > 0
    assert all(before[name].equal(value) for name, value in after.items())
    assert all(parameter.grad is None for parameter in loaded.model.parameters())
    assert torch.get_num_threads() == threads
    assert time_steps(loaded, material, CONFIG, most_steps=20, most_s=1e-9).num_steps == 1


def test_a_run_that_was_told_its_outlook_has_the_same_bits(model, tmp_path):
    config = replace(CONFIG, max_steps=6)
    plain = run_loop(model, tmp_path / "plain", config)
    console = Console(file=(tmp_path / "shown").open("w"), width=200)
    told = run_loop(model, tmp_path / "told", config, ProgressWatcher(console))
    console.file.close()
    assert all(told.weights[name].equal(value) for name, value in plain.weights.items())
    losses = [
        [(line["step"], line.get("loss"), line.get("eval_loss")) for line in MetricsLog(out / METRICS_FILE).read()]
        for out in (tmp_path / "plain", tmp_path / "told")
    ]
    assert losses[0] == losses[1]
    first = (tmp_path / "shown").read_text().splitlines()[0]
    assert first.startswith("24 windows of ")
    assert re.search(r"6 steps: about \d+ s, up to 0\.1 GB of memory; 21 of 21 language layers in 4 bits", first)
    again = Console(file=(tmp_path / "again").open("w"), width=200)
    run_loop(model, tmp_path / "told", config, ProgressWatcher(again))
    again.file.close()
    assert (tmp_path / "again").read_text() == ""


def test_an_outlook_of_a_run_that_goes_on(case):
    loaded, material = case
    outlook = describe_outlook(loaded, material, CONFIG, done_steps=4)
    assert "24 steps, 4 of them done: about" in outlook


def test_an_outlook_names_cores_that_wait(case):
    _, material = case
    work = weigh_work(material.train, [], "shared", replace(CONFIG, batch_windows=24, accumulation=8), at_once=2)
    assert work.passes == work.steps
    assert tell_idle_cores(work, 2).startswith("; a step has 1 passes for 2 cores")
    assert tell_idle_cores(work, 1) == ""
    assert tell_idle_cores(weigh_work(material.train, [], "shared", CONFIG, at_once=2), 2) == ""


def test_memory_is_measured():
    # Large enough to come from the system: what earlier tests left free in the heap would not make the process grow.
    peak = PeakMemory(torch.device("cpu"))
    held = np.ones(400_000_000, np.uint8)
    assert held[::4096].sum() == len(held) // 4096 + (len(held) % 4096 > 0)
    del held
    grown = peak.grown_bytes
    if grown is None:
        pytest.skip("this system does not tell a process's peak")
    assert 300e6 < grown < 600e6
    assert 1e8 < count_machine_bytes() < 1e14


def test_what_is_alive_in_a_pass_is_estimated_within_15_percent(model):
    from torch.profiler import ProfilerActivity, profile

    config = replace(CONFIG, lora=replace(CONFIG.lora, dropout=0.0))
    loaded = load_with_lora(model, config)
    features, rows = make_features(loaded), make_material(loaded, num_frames=2).train
    work = weigh_work(rows, [], "shared", replace(config, batch_windows=8), at_once=1)
    shape = read_shape(model)

    def differentiate():
        trained = [parameter for parameter in loaded.model.parameters() if parameter.requires_grad]
        return torch.autograd.grad(passes_module.sum_losses(loaded, lay_out(rows, "shared"), features), trained)

    differentiate()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        differentiate()
    changes = sorted(
        (event.start_ns(), event.nbytes())
        for event in seen.profiler.kineto_results.events()
        if event.name() == "[memory]"
    )
    measured = int(np.cumsum([size for _, size in changes]).max())
    use = estimate_training(
        shape, cpu_setting(shape, "nf4"), describe_trained(shape, config, 4), work.largest, kept_bytes=0
    )
    assert use.activations + use.moment == pytest.approx(measured, rel=0.15)


def test_kept_bytes_by_hand(case):
    _, material = case
    work, shape = weigh_work(material.train, [], "shared", CONFIG, at_once=1), read_shape_of(case)
    features = 12 * 4 * shape.picture_levels * shape.hidden * 4
    rows = 27 * work.row_tokens

    def count(cache_bytes):
        return count_kept_bytes(work, shape, picture_tokens=4, value_bytes=4, cache_bytes=cache_bytes, best=10)

    assert count(1 << 30) == features + rows + 40
    assert count(0) == rows + 40
    row = material.train[0]
    arrays = (row.ids, row.targets, row.weights, row.positions, row.pictures, row.fields)
    assert sum(array.nbytes for array in arrays) == 27 * len(row.ids)


def read_shape_of(case):
    loaded, _ = case
    return shape_of(loaded.family, loaded.model.config)


def test_a_loaded_model_has_the_shape_of_its_folder(case, model):
    assert read_shape_of(case) == read_shape(model)
    assert count_passes_at_once(64, torch.device("cpu")) == torch.get_num_threads()
    assert count_passes_at_once(4096, torch.device("cpu")) == count_passes_at_once(64, torch.device("cuda")) == 1


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] . DefaultCPUAllocator: can't allocate memory: you tried"),
        MemoryError(),
    ],
)
def test_too_little_memory_is_one_line_that_names_the_last_checkpoint(model, tmp_path, monkeypatch, error):
    true_sum, calls = passes_module.sum_losses, []

    def full(*args):
        calls.append(1)
        if len(calls) > 8:
            raise error
        return true_sum(*args)

    monkeypatch.setattr(passes_module, "sum_losses", full)
    loaded = load_with_lora(model, CONFIG)
    config = replace(CONFIG, evaluation=EvaluationSettings(every_steps=0))
    told = r"too little memory for step 5; the last good weights are in .*step-000003; try --train\.batch-windows 1"
    with pytest.raises(ModelError, match=told) as caught:
        TrainingLoop(loaded, make_material(loaded), config, tmp_path, SilentWatcher()).run()
    assert "\n" not in str(caught.value)


def test_other_errors_keep_their_traceback(model, tmp_path, monkeypatch):
    def fail(*args):
        raise RuntimeError("shapes cannot be multiplied")

    monkeypatch.setattr(passes_module, "sum_losses", fail)
    loaded = load_with_lora(model, CONFIG)
    config = replace(CONFIG, evaluation=EvaluationSettings(every_steps=0))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        TrainingLoop(loaded, make_material(loaded), config, tmp_path, SilentWatcher()).run()
