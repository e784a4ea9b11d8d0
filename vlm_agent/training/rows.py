"""Tokenized windows as rows: windows over the same pictures share one row, their common start computed once.

A row is a token tree: the shared start, then one branch per window. A branch sees the shared start and itself, and its
positions go on from there, so every loss is what it would be in a row of its own, for about half the tokens where a
window is asked with both its long and its short goal.
This module does not know where windows come from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vlm_agent.models.encoding import IGNORED_LABEL, Encoded
from vlm_agent.training.fields import NO_FIELD, AnswerTokens

PAD_BRANCH = -1
"""Branch number of padding."""


@dataclass(frozen=True)
class Example:
    """One tokenized window."""

    encoded: Encoded
    """Prompt and answer."""
    image_keys: tuple[str, ...]
    """Identifiers of its pictures, in order."""
    weight: float = 1.0
    """How much each token of its answer counts."""
    is_step: bool = False
    """Whether its answer names a step; else it is of actions."""
    tokens: AnswerTokens | None = None
    """What its answer's tokens are about, and how much each counts beside `weight`; none where nobody said."""


@dataclass(frozen=True)
class Row:
    """Windows over the same pictures, laid out as one token tree of n tokens."""

    ids: NDArray[np.int32]
    """Token ids, (n,): the shared start, then each branch."""
    targets: NDArray[np.int32]
    """The token to be predicted at each place, (n,), `IGNORED_LABEL` where nothing is learnt."""
    weights: NDArray[np.float32]
    """How much the loss at each place counts, (n,), 0 where nothing is learnt."""
    positions: NDArray[np.int32]
    """M-RoPE positions, (3, n)."""
    branch: NDArray[np.int16]
    """0 for the shared start, k for the k-th window, (n,)."""
    num_windows: int
    """How many windows the row holds."""
    image_keys: tuple[str, ...]
    """Identifiers of the row's pictures."""
    fields: NDArray[np.int8] | None = None
    """What the token to be predicted is about, index into `FIELDS`, (n,), `NO_FIELD` where nothing is learnt; none
    where no window said it."""

    @property
    def num_target_tokens(self) -> int:
        """How many tokens are learnt."""
        return int((self.targets != IGNORED_LABEL).sum())

    @property
    def target_fields(self) -> NDArray[np.int8]:
        """What each learnt token is about, index into `FIELDS`, (target tokens,)."""
        is_target = self.targets != IGNORED_LABEL
        return np.full(is_target.sum(), NO_FIELD, np.int8) if self.fields is None else self.fields[is_target]

    @property
    def total_weight(self) -> float:
        """What the row's loss is divided by for its mean."""
        return float(self.weights.sum(dtype=np.float64))


def make_row(examples: Sequence[Example], find_positions: Callable[[Encoded], Tensor]) -> Row:
    """Lay windows over the same pictures out as one row.

    Args:
        examples: at least one; all with the same pictures.
        find_positions: gives the (3, tokens) positions of a conversation.
    """
    shared = _count_shared([example.encoded for example in examples])
    first = examples[0].encoded
    ids, targets = [np.asarray(first.input_ids[:shared])], [np.full(shared, IGNORED_LABEL)]
    weights = [np.zeros(shared)]
    fields = [np.full(shared, NO_FIELD)]
    positions, branch = [find_positions(first)[:, :shared].numpy()], [np.zeros(shared)]
    for number, example in enumerate(examples, start=1):
        encoded = example.encoded
        ids.append(np.asarray(encoded.input_ids[shared:]))
        targets.append(np.asarray([*encoded.labels[shared + 1 :], IGNORED_LABEL]))
        weights.append(np.where(targets[-1] == IGNORED_LABEL, 0.0, example.weight))
        fields.append(np.full(len(targets[-1]), NO_FIELD))
        if example.tokens is not None:
            is_target = targets[-1] != IGNORED_LABEL
            weights[-1][is_target] *= example.tokens.weights
            fields[-1][is_target] = example.tokens.fields
        positions.append(find_positions(encoded)[:, shared:].numpy())
        branch.append(np.full(len(ids[-1]), number))
    return Row(
        np.concatenate(ids).astype(np.int32),
        np.concatenate(targets).astype(np.int32),
        np.concatenate(weights).astype(np.float32),
        np.concatenate(positions, axis=1).astype(np.int32),
        np.concatenate(branch).astype(np.int16),
        len(examples),
        examples[0].image_keys,
        np.concatenate(fields).astype(np.int8),
    )


def group_examples(examples: Sequence[Example], max_windows: int) -> list[list[Example]]:
    """Return examples grouped by their pictures, in order of first sight, at most `max_windows` to a group.

    Those without a picture stay alone: they share next to nothing.
    """
    open_groups: dict[tuple[str, ...], list[Example]] = {}
    groups = []
    for example in examples:
        group = open_groups.get(example.image_keys) if example.image_keys else None
        if group is None or len(group) == max_windows:
            group = open_groups[example.image_keys] = []
            groups.append(group)
        group.append(example)
    return groups


def _count_shared(encoded: Sequence[Encoded]) -> int:
    # The last prompt token predicts the first answer token, so it always belongs to the branch.
    limit = min(one.num_prompt_tokens for one in encoded) - 1
    if len(encoded) == 1:
        return 0
    starts = np.asarray([one.input_ids[:limit] for one in encoded])
    differs = (starts != starts[0]).any(axis=0)
    return int(differs.argmax()) if differs.any() else limit


@dataclass(frozen=True)
class Batch:
    """Padded rows on the model's device."""

    ids: Tensor
    """(rows, length) int64."""
    targets: Tensor
    """(rows, length) int64, `IGNORED_LABEL` where nothing is learnt."""
    weights: Tensor
    """(rows, length) float32, 0 where nothing is learnt."""
    positions: Tensor
    """(3, rows, length) int64."""
    allowed: Tensor | None
    """(rows, 1, length, length) bool: who may look at whom; none means everything before."""
    image_keys: tuple[str, ...]
    """Identifiers of all pictures, row by row."""


def collate_rows(rows: Sequence[Row], pad_id: int, device: torch.device) -> Batch:
    """Pad rows to the longest and move them to a device."""
    length = max(len(row.ids) for row in rows)
    ids = np.full((len(rows), length), pad_id, np.int64)
    targets = np.full((len(rows), length), IGNORED_LABEL, np.int64)
    weights = np.zeros((len(rows), length), np.float32)
    branch = np.full((len(rows), length), PAD_BRANCH, np.int64)
    positions = np.zeros((3, len(rows), length), np.int64)
    for index, row in enumerate(rows):
        size = len(row.ids)
        ids[index, :size], targets[index, :size], weights[index, :size] = row.ids, row.targets, row.weights
        branch[index, :size], positions[:, index, :size] = row.branch, row.positions
    is_plain = len(rows) == 1 and rows[0].num_windows == 1
    return Batch(
        torch.from_numpy(ids).to(device),
        torch.from_numpy(targets).to(device),
        torch.from_numpy(weights).to(device),
        torch.from_numpy(positions).to(device),
        None if is_plain else _allow(torch.from_numpy(branch).to(device)),
        tuple(key for row in rows for key in row.image_keys),
    )


def _allow(branch: Tensor) -> Tensor:
    # Padding may look at itself: a place that sees nothing at all would turn into NaN.
    length = branch.shape[1]
    sees = (branch[:, None, :] == 0) | (branch[:, None, :] == branch[:, :, None])
    return (sees & torch.ones(length, length, dtype=torch.bool, device=branch.device).tril()).unsqueeze(1)
