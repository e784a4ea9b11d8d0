"""What one forward and backward pass takes: rows laid out by a layout, as tensors on the model's device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vlm_agent.models.encoding import IGNORED_LABEL
from vlm_agent.models.token_trees import TokenTree
from vlm_agent.training.config import PassLayout
from vlm_agent.training.number_losses import NumberBatch, collate_numbers
from vlm_agent.training.rows import Row, join_rows, merge_rows


@dataclass(frozen=True)
class Batch:
    """Rows on the model's device: several of one window each, padded, or one that holds trees."""

    ids: Tensor
    """(rows, length) int64."""
    targets: Tensor
    """(rows, length) int64, `IGNORED_LABEL` where nothing is learnt."""
    weights: Tensor
    """(rows, length) float32, 0 where nothing is learnt."""
    positions: Tensor
    """(3, rows, length) int64."""
    tree: TokenTree | None
    """Who sees whom in the one row; none means everything before, which real tokens see no padding by."""
    image_keys: tuple[str, ...]
    """Identifiers of all pictures, row by row."""
    numbers: NumberBatch | None
    """The numbers among its targets of which more is asked than their digits."""


def count_tokens(rows: Sequence[Row]) -> int:
    """Return the tokens of a pass over rows as they were laid out, padding counted."""
    return sum(len(row.ids) for row in rows) if _has_trees(rows) else len(rows) * max(len(row.ids) for row in rows)


def count_pairs(rows: Sequence[Row]) -> int:
    """Return the pairs of a token and one it sees in such a pass, padding counted."""
    if _has_trees(rows):
        return sum(row.tree.count_pairs() for row in rows)
    longest = max(len(row.ids) for row in rows)
    return longest * (longest + 1) // 2 * len(rows)


def count_masked_pairs(rows: Sequence[Row]) -> int:
    """Return the pairs that attention computes over rows of one window each where padding is told by a mask.

    Rows of one length need no mask, and the upper half is left out.
    """
    longest = max(len(row.ids) for row in rows)
    is_padded = any(len(row.ids) < longest for row in rows)
    return len(rows) * longest**2 if is_padded else count_pairs(rows)


def _has_trees(rows: Sequence[Row]) -> bool:
    return any(row.has_branches for row in rows)


def lay_out(rows: Sequence[Row], layout: PassLayout) -> list[Row]:
    """Return a pass's rows as a layout has them.

    `rows`: every window a row of its own, to be padded. `packed`: all windows side by side in one row. `shared`: one
    row in which what windows have in common is there once. `conversation`: conversations side by side in one row.
    """
    match layout:
        case "rows":
            return [window for row in rows for window in row.split()]
        case "packed":
            return [join_rows([window for row in rows for window in row.split()])]
        case "shared":
            return [merge_rows(rows)]
        case "conversation":
            return [join_rows(rows)]


def collate_rows(rows: Sequence[Row], pad_id: int, device: torch.device) -> Batch:
    """Move rows to a device; windows are padded to the longest, trees are put side by side."""
    if _has_trees(rows):
        rows = [join_rows(rows)]
    length = max(len(row.ids) for row in rows)
    ids = np.full((len(rows), length), pad_id, np.int64)
    targets = np.full((len(rows), length), IGNORED_LABEL, np.int64)
    weights = np.zeros((len(rows), length), np.float32)
    positions = np.zeros((3, len(rows), length), np.int64)
    for index, row in enumerate(rows):
        size = len(row.ids)
        ids[index, :size], targets[index, :size], weights[index, :size] = row.ids, row.targets, row.weights
        positions[:, index, :size] = row.positions
    is_target = targets != IGNORED_LABEL
    # Losses are found for all target tokens, row by row: that is where numbers are counted.
    number_of = np.cumsum(is_target).reshape(is_target.shape) - 1
    numbers = [(int(number_of[i, at]), number) for i, row in enumerate(rows) for at, number in row.list_numbers()]
    return Batch(
        torch.from_numpy(ids).to(device),
        torch.from_numpy(targets).to(device),
        torch.from_numpy(weights).to(device),
        torch.from_numpy(positions).to(device),
        rows[0].tree if rows[0].has_branches else None,
        tuple(key for row in rows for key in row.image_keys),
        collate_numbers(numbers, targets[is_target], device),
    )
