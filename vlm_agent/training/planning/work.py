"""How much there is to compute in a run: passes, steps, tokens and pictures, from its rows or from a sample of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from vlm_agent.training.config import TrainConfig
from vlm_agent.training.order import count_steps, plan_epoch
from vlm_agent.training.planning.memory import PassSize
from vlm_agent.training.planning.shapes import ModelShape
from vlm_agent.training.rows import Row

ROW_BYTES_PER_TOKEN = 27
"""A token in a row: its id, target, weight, three positions, branch and field."""


@dataclass(frozen=True)
class Work:
    """What a run computes."""

    windows: int
    """Windows in one epoch, those that come several times counted as often."""
    steps: int
    """Optimizer steps of the whole run."""
    passes: float
    """Forward and backward passes of the run."""
    tokens: float
    """Tokens of all passes of the run, padding included."""
    squared_tokens: float
    """Sum over rows of their padded length squared: what attention costs."""
    targets: float
    """Learnt tokens of the run."""
    pictures: int
    """Different pictures."""
    picture_visits: float
    """How often a picture is needed in the run."""
    evaluated_tokens: float
    """Tokens of all evaluations."""
    largest: PassSize
    """The pass that takes most memory."""
    longest_window: int
    """Tokens of the longest window."""
    row_tokens: int
    """Tokens held in memory."""


def weigh_work(
    train: Sequence[Row], validation: Sequence[Row], config: TrainConfig, *, at_once: int, scale: float = 1.0
) -> Work:
    """Return what a run computes.

    Args:
        train: rows to learn from; at least one.
        validation: rows that are evaluated on.
        config: batches, epochs, evaluations.
        at_once: passes that run side by side.
        scale: all rows for each of `train`, where these are a sample.
    """
    passes = [[train[row] for row in rows] for step in plan_epoch(train, config, 0) for rows in step]
    lengths = [max(len(row.ids) for row in rows) for rows in passes]
    padded = [len(rows) * length for rows, length in zip(passes, lengths, strict=True)]
    squared = sum(len(rows) * length**2 for rows, length in zip(passes, lengths, strict=True))
    per_epoch = len(passes) / config.accumulation * scale
    steps = count_steps(train, config) if scale == 1 else _count_scaled_steps(per_epoch, config)
    # How often the epoch's work is done in all.
    epochs = steps / max(math.ceil(per_epoch), 1)
    biggest = max(range(len(passes)), key=lambda index: padded[index])
    return Work(
        windows=round(sum(row.num_windows for row in train) * scale),
        steps=steps,
        passes=len(passes) * scale * epochs,
        tokens=sum(padded) * scale * epochs,
        squared_tokens=squared * scale * epochs,
        targets=sum(row.num_target_tokens for row in train) * scale * epochs,
        pictures=round(len({key for row in train for key in row.image_keys}) * scale),
        picture_visits=sum(len(row.image_keys) for row in train) * scale * epochs,
        evaluated_tokens=_count_evaluations(steps, config) * sum(len(row.ids) for row in validation),
        largest=PassSize(
            rows=len(passes[biggest]),
            tokens=lengths[biggest],
            targets=sum(row.num_target_tokens for row in passes[biggest]),
            is_masked=len(passes[biggest]) > 1 or passes[biggest][0].num_windows > 1,
            at_once=min(at_once, config.accumulation),
        ),
        longest_window=max(list_windows([*train, *validation])),
        row_tokens=round(sum(len(row.ids) for row in train) * scale) + sum(len(row.ids) for row in validation),
    )


def count_kept_bytes(
    work: Work, shape: ModelShape, *, picture_tokens: int, value_bytes: int, cache_bytes: int, lora: int
) -> int:
    """Return what a run keeps beside the model: features, rows, and the best adapter so far.

    Args:
        work: gives pictures and rows.
        shape: gives the size of a feature.
        picture_tokens: of one picture.
        value_bytes: of one value of a feature.
        cache_bytes: most memory for features.
        lora: parameters of the adapter.
    """
    features = work.pictures * picture_tokens * shape.picture_levels * shape.hidden * value_bytes
    return min(features, cache_bytes) + ROW_BYTES_PER_TOKEN * work.row_tokens + 4 * lora


def _count_scaled_steps(per_epoch: float, config: TrainConfig) -> int:
    steps = math.ceil(per_epoch * config.epochs)
    return steps if config.max_steps is None else min(steps, config.max_steps)


def _count_evaluations(steps: int, config: TrainConfig) -> int:
    every = config.evaluation.every_steps
    return 0 if not every else 1 + math.ceil(steps / every)


def list_windows(rows: Sequence[Row]) -> list[int]:
    """Return the tokens of every window in rows."""
    lengths = []
    for row in rows:
        shared = int((row.branch == 0).sum())
        lengths += [shared + int((row.branch == number).sum()) for number in range(1, row.num_windows + 1)]
    return lengths
