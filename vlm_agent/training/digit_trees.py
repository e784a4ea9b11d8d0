"""Numbers as trees of digits: what a decoder over digits says of values, and what smooth targets ask of its digits.

A number is written digit by digit without leading zeros, and ends where something else than a digit follows. Behind the
digits written so far there are eleven outcomes: one of ten digits, or the end. All values that may be written, by
their digits, are a tree; a model's probabilities at the nodes are a distribution over the values at its leaves (Song
and Bahri 2025, "Decoding-based regression"). In training only the nodes on the way to the true value are run. This
module knows neither tokens nor models.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

OUTCOMES = 11
"""Ten digits, and the end."""
END = 10
"""Index of the end among the outcomes; digits are their own."""


@dataclass(frozen=True)
class NumberRange:
    """What may be written: the multiples of a step from a smallest to a largest value."""

    minimum: int
    """Smallest value, 0 or more."""
    maximum: int
    """Largest value."""
    step: int
    """Values are multiples of this."""


@dataclass(frozen=True, eq=False)
class DigitTree:
    """The way to a true value through the tree of a range's K values, and what hangs beside it.

    The way has J nodes, one for each digit and one for the end. What is not on the way is known by the outcome at
    which it leaves it: the values behind that outcome are a branch, and the true value is a branch of its own.
    """

    taken: NDArray[np.int64]
    """The true value's outcome at each node, (J,)."""
    legal: NDArray[np.bool_]
    """Which outcomes lead to a value, (J, 11)."""
    targets: NDArray[np.float64]
    """Probabilities that are asked of the outcomes, (J, 11); they add up to 1, and are 0 where not legal."""
    values: NDArray[np.float64]
    """All values in rising order, (K,)."""
    step: int
    """Their distance."""
    branches: NDArray[np.int16]
    """The branch that each value belongs to, (K,): its node times 11 plus its outcome."""

    @property
    def shares(self) -> NDArray[np.float64]:
        """Each value's part of its branch, (K,): all of a branch have the same."""
        shares: NDArray[np.float64] = 1 / np.bincount(self.branches)[self.branches]
        return shares


@lru_cache(maxsize=16_384)
def grow_tree(span: NumberRange, truth: int, width: float) -> DigitTree:
    """Return the tree of a range along the way to a true value.

    The targets are those of a normal distribution around the true value, cut off at the ends of the range and laid on
    its grid: q(v) in proportion to exp(-(v - truth)^2 / 2 width^2) (the smoothed targets of Imani and White 2018,
    "Improving regression performance with distributional losses", and Farebrother et al. 2024, "Stop regressing"). An
    outcome's target is the share of the values behind it among those behind its node, so numbers of fewer digits, and
    the end as an outcome, need no rule of their own.

    Args:
        span: what may be written.
        truth: one of its values.
        width: standard deviation in the unit of the values; at 0 the targets are the true outcomes alone.

    Raises:
        ValueError: the true value is none of the range's.
    """
    values, digits = _spell(span)
    place = int(values.searchsorted(truth))
    if place == len(values) or values[place] != truth:
        raise ValueError(f"{truth} is no value of {span}")
    taken = digits[place, : len(str(truth)) + 1]
    weights = _weigh(values, truth, width)
    legal = np.zeros((len(taken), OUTCOMES), np.bool_)
    targets = np.zeros((len(taken), OUTCOMES))
    branches = np.empty(len(values), np.int16)
    behind = np.ones(len(values), np.bool_)
    for node, outcome in enumerate(taken):
        found = digits[behind, node]
        branches[behind] = node * OUTCOMES + found
        legal[node, found] = True
        sums = np.bincount(found, weights[behind], OUTCOMES)
        targets[node] = sums / sums.sum()
        behind &= digits[:, node] == outcome
    return DigitTree(taken.astype(np.int64), legal, targets, values, span.step, branches)


def _weigh(values: NDArray[np.float64], truth: int, width: float) -> NDArray[np.float64]:
    if width == 0:
        return (values == truth).astype(np.float64)
    weights: NDArray[np.float64] = np.exp(-0.5 * ((values - truth) / width) ** 2)
    return weights


@lru_cache(maxsize=128)
def _spell(span: NumberRange) -> tuple[NDArray[np.float64], NDArray[np.int8]]:
    """Return the values of a range, (K,), and their digits, (K, most digits + 1), the end behind the last."""
    values = np.arange(-(-span.minimum // span.step) * span.step, span.maximum + 1, span.step, dtype=np.int64)
    digits = np.full((len(values), len(str(span.maximum)) + 1), END, np.int8)
    for row, value in enumerate(values.tolist()):
        text = str(value)
        digits[row, : len(text)] = [int(digit) for digit in text]
    return values.astype(np.float64), digits
