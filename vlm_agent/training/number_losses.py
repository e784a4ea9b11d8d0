"""Losses that know numbers: soft targets for digits, and losses on the values that a model's digits say.

At every node on the way to a true value (see `digit_trees`) the model gives a probability to each digit, and to all
tokens together that end the number there. From these come

- soft targets: the cross entropy of the eleven outcomes against the tree's targets instead of the true outcome. Its
  entropy, which no model can learn away, is not taken off: a loss with soft targets is higher than one without and not
  to be compared with it. Which of several tokens ends the number is asked for as before, given that it ends.
- a distribution over values: an outcome's probability among the legal ones, multiplied along the way; what leaves the
  way is spread evenly over the values behind it, as in `decoding.readout` where a branch is not walked.
- the quantile (pinball) loss of times on its quantiles 0.1, 0.5 and 0.9, and the Gaussian negative log likelihood of
  places with its mean and variance. These are the regression terms of a policy with a head for each ("unified loss":
  event cross entropy weighed by class, pinball loss of times, heteroscedastic Gaussian of places, each masked by
  event). Here events, buttons and keys are tokens; `--train.event-weights` weighs them, and a number that an action
  does not have is not in its answer, so the mask is the answer's own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vlm_agent.training.digit_trees import END, OUTCOMES
from vlm_agent.training.numbers import LearntNumber

LEVELS = (0.1, 0.5, 0.9)
"""Levels of the quantiles."""
LEVEL_REACH = 0.05
"""A quantile is the mean of those of all levels so far to either side."""
PINBALL_UNIT_MS = 100.0
"""A quantile loss of 1: being off by twice as much at the median. Of the size of a nat where times scatter so far."""

_TRUE, _DIGITS, _ENDS = 0, 1, 11
"""Columns of what is picked from a token's log probabilities: the true token's, the ten digits', those of the ends."""


@dataclass(frozen=True)
class NumberBatch:
    """The numbers in a pass with T target tokens: N of them, J nodes at most, K values at most."""

    columns: Tensor
    """Ids whose log probabilities are needed at each target token, (T, columns) int64; the first is the true one's."""
    at: Tensor
    """Target token of each node, (N, J) int64; 0 behind a number's last node."""
    is_end: Tensor
    """Which of the columns from `_ENDS` on are ends there, (N, J, ends) bool; the first where there is none."""
    taken: Tensor
    """The true outcome, (N, J) int64; the end behind the last node."""
    legal: Tensor
    """Which outcomes lead to a value, (N, J, 11) bool; the end alone behind the last node."""
    soft: Tensor
    """Targets, (N, J, 11) float64."""
    is_soft: Tensor
    """Where they are learnt, (N, J) bool."""
    branches: Tensor
    """Branch of each value, (N, K) int64."""
    shares: Tensor
    """Part of its branch, (N, K) float64; 0 behind the last value."""
    offsets: Tensor
    """Each value less the true one, (N, K) float64; the last one's behind it."""
    steps: Tensor
    """Distance of neighbouring values, (N,) float64."""
    pinball: Tensor
    """Weights of the quantile loss, (N,) float64."""
    gaussian: Tensor
    """Weights of the Gaussian loss, (N,) float64."""
    has_soft: bool
    """Whether any of them has soft targets."""
    needs_values: bool
    """Whether anything is asked of any one's values."""


def collate_numbers(
    numbers: Sequence[tuple[int, LearntNumber]], targets: NDArray[np.int64], device: torch.device
) -> NumberBatch | None:
    """Return the numbers of a pass side by side; none where there are none.

    Args:
        numbers: each with the index of its first digit among the target tokens of the pass.
        targets: the target tokens, (T,).
        device: where to put them.
    """
    if not numbers:
        return None
    count = len(numbers)
    nodes = max(len(number.tree.taken) for _, number in numbers)
    most_values = max(len(number.tree.values) for _, number in numbers)
    most_ends = max(len(ends) for _, number in numbers for ends in number.ends)
    columns = np.repeat(targets[:, None], _ENDS + most_ends, axis=1)
    at = np.zeros((count, nodes), np.int64)
    is_end = np.zeros((count, nodes, most_ends), np.bool_)
    is_end[..., 0] = True
    taken = np.full((count, nodes), END, np.int64)
    legal = np.zeros((count, nodes, OUTCOMES), np.bool_)
    legal[..., END] = True
    soft = np.zeros((count, nodes, OUTCOMES))
    is_soft = np.zeros((count, nodes), np.bool_)
    branches = np.zeros((count, most_values), np.int64)
    shares, offsets = np.zeros((count, most_values)), np.zeros((count, most_values))
    for row, (first, number) in enumerate(numbers):
        tree, size, width = number.tree, len(number.tree.taken), len(number.tree.values)
        columns[first : first + size, _DIGITS:_ENDS] = number.digits
        for node, ends in enumerate(number.ends):
            columns[first + node, _ENDS : _ENDS + len(ends)] = ends
            is_end[row, node, 1 : len(ends)] = True
        at[row, :size] = range(first, first + size)
        taken[row, :size], legal[row, :size], soft[row, :size] = tree.taken, tree.legal, tree.targets
        is_soft[row, :size] = number.is_soft
        branches[row, :width], shares[row, :width] = tree.branches, tree.shares
        truth = tree.values[tree.branches == (size - 1) * OUTCOMES + END]
        offsets[row] = tree.values[-1] - truth
        offsets[row, :width] = tree.values - truth
    steps = np.array([number.tree.step for _, number in numbers], np.float64)
    weights = np.array([(number.pinball, number.gaussian) for _, number in numbers], np.float64)

    def move(array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(device)

    return NumberBatch(
        columns=move(columns),
        at=move(at),
        is_end=move(is_end),
        taken=move(taken),
        legal=move(legal),
        soft=move(soft),
        is_soft=move(is_soft),
        branches=move(branches),
        shares=move(shares),
        offsets=move(offsets),
        steps=move(steps),
        pinball=move(weights[:, 0]),
        gaussian=move(weights[:, 1]),
        has_soft=bool(is_soft.any()),
        needs_values=bool(weights.any()),
    )


def find_number_losses(logits: Tensor, batch: NumberBatch) -> Tensor:
    """Return the loss of every target token, float32 (T,); what is asked of a number's values is its first digit's.

    Args:
        logits: of the target tokens, (T, vocabulary).
        batch: their numbers.
    """
    picked = logits.log_softmax(-1).gather(1, batch.columns)
    losses = -picked[:, _TRUE]
    logs = _read_outcomes(picked, batch)
    if batch.has_soft:
        losses = _soften(losses, logs, batch)
    if batch.needs_values:
        values = read_values(logs, batch)
        terms = batch.gaussian * find_gaussian(values, batch.offsets, batch.steps)
        terms = terms + batch.pinball * find_pinball(values, batch.offsets, batch.steps) / PINBALL_UNIT_MS
        losses = losses.index_add(0, batch.at[:, 0], terms.to(losses.dtype))
    return losses


def _read_outcomes(picked: Tensor, batch: NumberBatch) -> Tensor:
    """Return the log probabilities of all outcomes at all nodes, (N, J, 11) float64."""
    here = picked[batch.at].double()
    ends = here[..., _ENDS:].masked_fill(~batch.is_end, -math.inf).logsumexp(-1, keepdim=True)
    return torch.cat([here[..., _DIGITS:_ENDS], ends], -1)


def _soften(losses: Tensor, logs: Tensor, batch: NumberBatch) -> Tensor:
    asked = -(batch.soft * logs).sum(-1)
    # Where the number ends, its last token also says what follows: that, given the end, is as sure as before.
    ending = losses[batch.at] + logs[..., END]
    asked = asked + torch.where(batch.taken == END, ending, 0.0)
    return losses.index_copy(0, batch.at[batch.is_soft], asked[batch.is_soft].to(losses.dtype))


def read_values(logs: Tensor, batch: NumberBatch) -> Tensor:
    """Return the distribution over values that outcomes say, (N, K) float64; a number's values add up to 1.

    Args:
        logs: log probabilities of the outcomes, (N, J, 11); only legal ones count.
        batch: whose numbers they are.
    """
    among_legal = logs.masked_fill(~batch.legal, -math.inf).log_softmax(-1)
    along = among_legal.gather(-1, batch.taken.unsqueeze(-1)).squeeze(-1)
    # What leads to a node: all that was taken before it.
    before = along.cumsum(-1) - along
    masses = (before.unsqueeze(-1) + among_legal).exp().flatten(1)
    return masses.gather(1, batch.branches) * batch.shares


def find_gaussian(values: Tensor, offsets: Tensor, steps: Tensor) -> Tensor:
    """Return the negative log likelihood of true numbers under the normal of each distribution's mean and variance.

    log(2 pi s^2) / 2 + (y - m)^2 / 2 s^2 (Nix and Weigend 1994, "Estimating the mean and variance of the target
    probability distribution"), in the unit of the values. To the variance comes that of rounding to the grid,
    step^2 / 12, which keeps a sure answer's loss finite.

    Args:
        values: distributions, (N, K).
        offsets: values less the true one, (N, K).
        steps: distance of neighbouring values, (N,).
    """
    error = (values * offsets).sum(-1)
    variance = ((values * offsets**2).sum(-1) - error**2).clamp_min(0.0) + steps**2 / 12
    return 0.5 * ((2 * math.pi * variance).log() + error**2 / variance)


def find_pinball(values: Tensor, offsets: Tensor, steps: Tensor) -> Tensor:
    """Return the mean quantile loss of true numbers at `LEVELS`, (N,), in the unit of the values.

    Of a level t and a quantile q: t (y - q) where y >= q, else (1 - t) (q - y) (Koenker and Bassett 1978, "Regression
    quantiles"). The quantile of a few digits' distribution jumps from value to value, and has no gradient in between;
    averaged over the levels within `LEVEL_REACH` it moves smoothly (a kernel quantile estimator, Sheather and Marron
    1990). With F the distribution function that is q = first value + sum of steps * clip((t + r - F) / 2 r, 0, 1).

    Args:
        values: distributions, (N, K).
        offsets: values less the true one, (N, K), in rising order.
        steps: distance of neighbouring values, (N,).
    """
    upto = values.cumsum(-1).unsqueeze(-1)
    levels = torch.tensor(LEVELS, dtype=values.dtype, device=values.device)
    passed = ((levels + LEVEL_REACH - upto) / (2 * LEVEL_REACH)).clamp(0.0, 1.0)
    quantiles = offsets[:, :1] + steps.unsqueeze(-1) * passed.sum(1)
    # Offsets are counted from the true number: it lies at 0.
    return torch.maximum(-levels * quantiles, (1 - levels) * quantiles).mean(-1)
