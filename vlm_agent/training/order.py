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
    rng = np.random.default_rng((config.seed, epoch))
    passes: list[list[int]] = []
    shuffled = rng.permutation(len(rows)).tolist()
    bucket_rows = config.batch_windows * BUCKET_PASSES
    for start in range(0, len(shuffled), bucket_rows):
        bucket = sorted(shuffled[start : start + bucket_rows], key=lambda index: len(rows[index].ids))
        passes += _fill_passes(bucket, rows, config.batch_windows)
    passes = [passes[index] for index in rng.permutation(len(passes))]
    return [passes[start : start + config.accumulation] for start in range(0, len(passes), config.accumulation)]


def _fill_passes(bucket: Sequence[int], rows: Sequence[Row], batch_windows: int) -> list[list[int]]:
    passes: list[list[int]] = []
    room = 0
    for index in bucket:
        if rows[index].num_windows > room:
            passes.append([])
            room = batch_windows
        passes[-1].append(index)
        room -= rows[index].num_windows
    return passes


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
