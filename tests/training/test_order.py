"""In which order rows come, and at which rate: by hand, and as functions of seed, epoch and step alone."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlm_agent.models.token_trees import NO_PARENT, TokenTree
from vlm_agent.training.config import TrainConfig
from vlm_agent.training.order import count_steps, fill_passes, learning_rate, plan_epoch
from vlm_agent.training.rows import Row

pytestmark = pytest.mark.model


def fake_row(num_windows: int, length: int) -> Row:
    targets = np.zeros(length, np.int32)
    targets[[-2 - 2 * window for window in range(num_windows)]] = 1
    targets[targets == 0] = -100
    bounds = (0, *range(length - num_windows + 1, length + 1))
    tree = TokenTree(bounds, (NO_PARENT,) * num_windows)
    positions, fields = np.zeros((3, length), np.int32), np.zeros(length, np.int8)
    ids, weights = np.zeros(length, np.int32), np.ones(length, np.float32)
    return Row(ids, targets, weights, positions, ids.astype(np.int16), (), fields, tree)


def flat(plan) -> list[int]:
    return [row for step in plan for indices in step for row in indices]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 99), batch=st.integers(2, 5), accumulation=st.integers(1, 4), num_frames=st.integers(1, 40))
def test_an_epoch_holds_every_row_once_and_is_a_function_of_seed_and_epoch(seed, batch, accumulation, num_frames):
    rows = [fake_row(1 + index % 2, 10 + index * 7 % 50) for index in range(num_frames)]
    config = TrainConfig(seed=seed, batch_windows=batch, accumulation=accumulation, epochs=2)
    plan = plan_epoch(rows, config, 1)
    assert sorted(flat(plan)) == list(range(num_frames))
    assert all(len(step) == accumulation for step in plan[:-1])
    assert all(sum(rows[row].num_windows for row in indices) <= batch for step in plan for indices in step)
    assert plan == plan_epoch(rows, config, 1)
    assert count_steps(rows, config) == len(plan_epoch(rows, config, 0)) + len(plan)
    if num_frames > 20:
        assert plan != plan_epoch(rows, config, 0)
        assert plan != plan_epoch(rows, replace(config, seed=seed + 1), 1)


def test_rows_of_a_pass_are_about_as_long_and_passes_come_in_no_order_of_length():
    rows = [fake_row(1, 10 + index * 37 % 64) for index in range(64)]
    passes = [indices for step in plan_epoch(rows, TrainConfig(batch_windows=4), 0) for indices in step]
    lengths = [[len(rows[index].ids) for index in indices] for indices in passes]
    # 64 lengths, each once: in passes of four neighbours.
    assert all(max(some) - min(some) == 3 for some in lengths)
    starts = [some[0] for some in lengths]
    assert starts not in (sorted(starts), sorted(starts, reverse=True))


def test_rows_are_shuffled_before_they_are_sorted():
    """Not by their place among all: what comes together differs from epoch to epoch."""
    rows = [fake_row(1, 10 + index % 2) for index in range(400)]
    first = flat(plan_epoch(rows, TrainConfig(batch_windows=2), 0))[:60]
    assert max(first) > 300
    assert min(first) < 100
    mates = [
        {frozenset(indices) for step in plan_epoch(rows, TrainConfig(batch_windows=2), epoch) for indices in step}
        for epoch in (0, 1)
    ]
    assert len(mates[0] & mates[1]) < 20


@pytest.mark.parametrize(
    ("changes", "passes"),
    [
        ({"batch_windows": 2}, [[0, 1], [2], [3, 4]]),
        ({"batch_windows": 3}, [[0, 1], [2, 3], [4]]),
        ({"batch_windows": 1}, [[0], [1], [2], [3], [4]]),
        ({"batch_tokens": 40}, [[0, 1], [2], [3], [4]]),
        ({"batch_tokens": 60}, [[0, 1], [2, 3], [4]]),
        ({"batch_tokens": 59}, [[0, 1], [2], [3], [4]]),
    ],
)
def test_passes_are_filled_up_to_their_limit_padding_counted(changes, passes):
    rows = [fake_row(windows, length) for windows, length in ((1, 10), (1, 20), (2, 30), (1, 30), (1, 40))]
    assert fill_passes(range(5), rows, TrainConfig(**changes)) == passes


def test_the_rate_rises_evenly_then_falls_as_half_a_cosine_to_a_tenth():
    config = TrainConfig(learning_rate=2.0, warmup_fraction=0.1)
    rates = [learning_rate(step, 100, config) for step in range(100)]
    assert rates[:11] == pytest.approx([2.0 * (step + 1) / 11 for step in range(11)])
    assert rates[10:] == pytest.approx(
        [2.0 * (0.1 + 0.9 * (1 + math.cos(math.pi * done / 90)) / 2) for done in range(90)]
    )
    assert rates[55] == pytest.approx(1.1)
    assert learning_rate(100, 100, config) == pytest.approx(0.2)
    still = [learning_rate(step, 4, replace(config, warmup_fraction=0.0)) for step in range(5)]
    assert still == pytest.approx([2.0, 0.2 + 0.9 * (1 + math.sqrt(0.5)), 1.1, 0.2 + 0.9 * (1 - math.sqrt(0.5)), 0.2])


def test_partial_epochs_and_step_limits_count():
    rows = [fake_row(1, 10) for _ in range(80)]
    one = count_steps(rows, TrainConfig(epochs=1))
    assert one == 10
    assert count_steps(rows, TrainConfig(epochs=0.25)) == 3
    assert count_steps(rows, TrainConfig(epochs=2.5)) == 25
    assert count_steps(rows, TrainConfig(epochs=3, max_steps=7)) == 7
    assert count_steps(rows, TrainConfig(epochs=1, max_steps=7)) == 7
    assert count_steps(rows, TrainConfig(epochs=1, max_steps=70)) == 10
