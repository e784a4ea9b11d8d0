"""In which order rows are trained, and at which rate: pure functions of the seed and the step.

Nothing here has state, so a run that was cut off goes on with exactly the batches and rates it would have had.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from vlm_agent.training.config import TrainConfig
from vlm_agent.training.rows import Row

BUCKET_PASSES = 32
"""Rows of so many passes are sorted by length together: little padding, still shuffled."""

FINAL_RATE_FRACTION = 0.1
"""The learning rate ends at this share of its height."""

Step = list[list[int]]
"""Row indices of every pass of one optimizer step."""


def plan_epoch(rows: Sequence[Row], config: TrainConfig, epoch: int) -> list[Step]:
    """Return the steps of an epoch; every row comes once, the order depends on seed and epoch alone."""
    passes = shuffle_passes(range(len(rows)), rows, config, np.random.default_rng((config.seed, epoch)))
    return [passes[start : start + config.accumulation] for start in range(0, len(passes), config.accumulation)]


def shuffle_passes(
    indices: Sequence[int], rows: Sequence[Row], config: TrainConfig, rng: np.random.Generator
) -> list[list[int]]:
    """Return some of the rows cut into passes, every one once, in an order that is drawn."""
    passes: list[list[int]] = []
    shuffled = [indices[place] for place in rng.permutation(len(indices))]
    bucket_rows = _rows_per_pass(rows, config) * BUCKET_PASSES
    for start in range(0, len(shuffled), bucket_rows):
        bucket = sorted(shuffled[start : start + bucket_rows], key=lambda index: len(rows[index].ids))
        passes += fill_passes(bucket, rows, config)
    return [passes[index] for index in rng.permutation(len(passes))]


def fill_passes(order: Sequence[int], rows: Sequence[Row], config: TrainConfig) -> list[list[int]]:
    """Cut rows in a given order into passes of at most `batch_tokens` tokens, padded, or `batch_windows` windows."""
    passes: list[list[int]] = []
    num_windows = longest = 0
    for index in order:
        num_windows += rows[index].num_windows
        longest = max(longest, len(rows[index].ids))
        if config.batch_tokens is None:
            is_full = num_windows > config.batch_windows
        else:
            is_full = bool(passes) and longest * (len(passes[-1]) + 1) > config.batch_tokens
        if is_full or not passes:
            passes.append([])
            num_windows, longest = rows[index].num_windows, len(rows[index].ids)
        passes[-1].append(index)
    return passes


def _rows_per_pass(rows: Sequence[Row], config: TrainConfig) -> int:
    if config.batch_tokens is None:
        return config.batch_windows
    return max(1, config.batch_tokens // max((len(row.ids) for row in rows), default=1))


def count_steps(rows: Sequence[Row], config: TrainConfig) -> int:
    """Return how many optimizer steps a whole run takes."""
    total = 0
    for epoch in range(math.ceil(config.epochs)):
        length = len(plan_epoch(rows, config, epoch))
        total += math.ceil(length * min(config.epochs - epoch, 1))
        if config.max_steps is not None and total >= config.max_steps:
            return config.max_steps
    return total


def learning_rate(step: int, num_steps: int, config: TrainConfig) -> float:
    """Return the rate of a step (counted from 0): a linear rise, then half a cosine down to a tenth."""
    warmup_steps = math.ceil(num_steps * config.warmup_fraction)
    if step < warmup_steps:
        return config.learning_rate * (step + 1) / (warmup_steps + 1)
    done = (step - warmup_steps) / max(1, num_steps - warmup_steps)
    height = 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
    return config.learning_rate * (FINAL_RATE_FRACTION + (1 - FINAL_RATE_FRACTION) * height)
