"""Which windows come together in a row, and which layout takes the least arithmetic."""

from __future__ import annotations

from collections.abc import Sequence

from vlm_agent.errors import ConfigError
from vlm_agent.models.encoding import ChatEncoder
from vlm_agent.training.batches import lay_out
from vlm_agent.training.config import PassLayout, TrainConfig
from vlm_agent.training.flops import TrainingFlops
from vlm_agent.training.moments import spread
from vlm_agent.training.order import plan_epoch
from vlm_agent.training.rows import Example, Row, group_examples, make_row, merge_rows

LOOKED_AT_PASSES = 64
"""The arithmetic of so many passes of the first epoch, spread over it, decides the layout."""

WORTH = 0.99
"""A layout is taken over a plainer one if it takes no more than this share of its arithmetic."""


def build_rows(examples: Sequence[Example], encoder: ChatEncoder, layout: PassLayout, config: TrainConfig) -> list[Row]:
    """Return windows as rows: by pictures where the layout shares, else one a row; none is too large for a pass.

    Args:
        examples: tokenized windows.
        encoder: what they were tokenized by.
        layout: how passes will be laid out.
        config: gives `batch_windows` and `batch_tokens`.

    Raises:
        ConfigError: a window alone has more tokens than a pass may have.
    """
    if layout != "shared":
        rows = [make_row([example], encoder) for example in examples]
    elif config.batch_tokens is None:
        rows = [make_row(group, encoder) for group in group_examples(examples, config.batch_windows)]
    else:
        groups = group_examples(examples, len(examples))
        rows = [part for group in groups for part in _cut(make_row(group, encoder), config.batch_tokens)]
    longest = max((len(row.ids) for row in rows), default=0)
    if config.batch_tokens is not None and longest > config.batch_tokens:
        raise ConfigError(f"--train.batch-tokens {config.batch_tokens}: the longest window takes {longest} tokens")
    return rows


def _cut(row: Row, max_tokens: int) -> list[Row]:
    """Part a row's windows until each part has room."""
    windows = row.split()
    if len(row.ids) <= max_tokens or len(windows) == 1:
        return [row]
    half = len(windows) // 2
    return _cut(merge_rows(windows[:half]), max_tokens) + _cut(merge_rows(windows[half:]), max_tokens)


def pick_layout(
    examples: Sequence[Example], encoder: ChatEncoder, config: TrainConfig, flops: TrainingFlops
) -> PassLayout:
    """Return the layout that the settings name; for `auto` the plainest of those with the least arithmetic a window."""
    if config.layout != "auto":
        return config.layout
    if config.batch_windows == 1 and config.batch_tokens is None:
        return "rows"  # nothing to lay out
    picked: PassLayout = "rows"
    least = _count_per_window(examples, encoder, config, flops, picked)
    others: tuple[PassLayout, ...] = ("packed", "shared")
    for layout in others:
        cost = _count_per_window(examples, encoder, config, flops, layout)
        if cost <= WORTH * least:
            picked, least = layout, cost
    return picked


def _count_per_window(
    examples: Sequence[Example], encoder: ChatEncoder, config: TrainConfig, flops: TrainingFlops, layout: PassLayout
) -> float:
    rows = build_rows(examples, encoder, layout, config)
    passes = [[rows[index] for index in indices] for step in plan_epoch(rows, config, 0) for indices in step]
    laid_out = [lay_out(some, layout) for some in spread(passes, LOOKED_AT_PASSES)]
    num_windows = sum(row.num_windows for some in laid_out for row in some)
    return sum(flops.count(some) for some in laid_out) / max(1, num_windows)
