"""How much there is to compute in a run: passes, steps, tokens and pictures, from its rows or from a sample of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from vlm_agent.training.batches import count_pairs, count_tokens, lay_out
from vlm_agent.training.config import PassLayout, TrainConfig
from vlm_agent.training.order import count_steps, plan_epoch
from vlm_agent.training.planning.memory import PassSize, count_copies
from vlm_agent.training.planning.shapes import ModelShape
from vlm_agent.training.rows import Row

ROW_BYTES_PER_TOKEN = 27
"""A token in a row: its id, target, weight, three positions, picture and field."""


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
    pairs: float
    """Pairs of a token and one it sees in all passes of the run: what attention costs."""
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
    train: Sequence[Row],
    validation: Sequence[Row],
    layout: PassLayout,
    config: TrainConfig,
    *,
    at_once: int,
    scale: float = 1.0,
) -> Work:
    """Return what a run computes.

    Args:
        train: rows to learn from; at least one.
        validation: rows that are evaluated on.
        layout: how the rows of a pass are laid out.
        config: batches, epochs, evaluations.
        at_once: passes that run side by side.
        scale: all rows for each of `train`, where these are a sample.
    """
    steps_of_rows = plan_epoch(train, config, 0)
    passes = [lay_out([train[row] for row in rows], layout) for step in steps_of_rows for rows in step]
    tokens = [count_tokens(rows) for rows in passes]
    per_epoch = len(passes) / config.accumulation * scale
    steps = count_steps(train, config) if scale == 1 else _count_scaled_steps(per_epoch, config)
    # How often the epoch's work is done in all.
    epochs = steps / max(math.ceil(per_epoch), 1)
    biggest = passes[max(range(len(passes)), key=lambda index: tokens[index])]
    return Work(
        windows=round(sum(row.num_windows for row in train) * scale),
        steps=steps,
        passes=len(passes) * scale * epochs,
        tokens=sum(tokens) * scale * epochs,
        pairs=sum(count_pairs(rows) for rows in passes) * scale * epochs,
        targets=sum(row.num_target_tokens for row in train) * scale * epochs,
        pictures=round(len({key for row in train for key in row.image_keys}) * scale),
        picture_visits=sum(len(row.image_keys) for row in train) * scale * epochs,
        evaluated_tokens=_count_evaluations(steps, config) * sum(len(row.ids) for row in validation),
        largest=size_pass(biggest, min(at_once, config.accumulation)),
        longest_window=max(list_windows([*train, *validation])),
        row_tokens=round(sum(len(row.ids) for row in train) * scale) + sum(len(row.ids) for row in validation),
    )


def size_pass(rows: Sequence[Row], at_once: int = 1) -> PassSize:
    """Return the size of a pass over rows as they were laid out."""
    copies = [count_copies(row.tree) for row in rows]
    return PassSize(
        tokens=count_tokens(rows),
        targets=sum(row.num_target_tokens for row in rows),
        is_tree=any(row.has_branches for row in rows),
        gathered=sum(gathered for gathered, _ in copies),
        masked=sum(masked for _, masked in copies),
        at_once=at_once,
    )


def count_kept_bytes(
    work: Work, shape: ModelShape, *, picture_tokens: int, value_bytes: int, cache_bytes: int, best: int
) -> int:
    """Return what a run keeps beside the model: features, rows, and the best weights so far.

    Args:
        work: gives pictures and rows.
        shape: gives the size of a feature.
        picture_tokens: of one picture.
        value_bytes: of one value of a feature.
        cache_bytes: most memory for features.
        best: parameters of these; 0 beside a card, where they lie in the machine's memory.
    """
    features = work.pictures * picture_tokens * shape.picture_levels * shape.hidden * value_bytes
    return min(features, cache_bytes) + ROW_BYTES_PER_TOKEN * work.row_tokens + 4 * best


def _count_scaled_steps(per_epoch: float, config: TrainConfig) -> int:
    steps = math.ceil(per_epoch * config.epochs)
    return steps if config.max_steps is None else min(steps, config.max_steps)


def _count_evaluations(steps: int, config: TrainConfig) -> int:
    every = config.evaluation.every_steps
    return 0 if not every else 1 + math.ceil(steps / every)


def list_windows(rows: Sequence[Row]) -> list[int]:
    """Return the tokens of every window in rows."""
    paths = (row.tree.path(leaf) for row in rows for leaf in row.tree.leaves)
    return [sum(stop - start for start, stop in path) for path in paths]
