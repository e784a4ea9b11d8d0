"""How far two samples are apart: three norms of the difference of their distribution functions, and total variation.

With weights, so that a resampled session is a session that counts twice and nothing is copied. The three are those of
SciPy (`wasserstein_distance`, `ks_2samp(...).statistic`, `energy_distance`), taken from one pass over sorted values.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vlm_agent.evaluation.likeness.streams import Floats


@dataclass(frozen=True)
class Distances:
    """How far two samples of numbers are apart."""

    wasserstein: float
    """The mean distance that values must be moved to turn one sample into the other, in the values' unit."""
    ks: float
    """Kolmogorov and Smirnov's: the greatest difference of the two shares of values up to some point, 0 to 1."""
    energy: float
    """sqrt(2 * integral of the squared difference of the distribution functions), in the root of the values' unit
    (Székely and Rizzo, Energy statistics, 2013)."""


@dataclass(frozen=True)
class Ladder:
    """Values in rising order, ready to be weighted again and again."""

    order: NDArray[np.intp]
    """Where each of them was before sorting, (values,)."""
    steps: Floats
    """From each value to the next, (values - 1,)."""

    def measure(self, one: Floats, other: Floats) -> Distances:
        """Return how far two weightings of the values are apart.

        Args:
            one: weights of the values as they were before sorting, (values,), not all 0.
            other: likewise.
        """
        shares = one / one.sum() - other / other.sum()
        gaps = np.cumsum(shares[self.order])[:-1]
        ks = float(np.abs(gaps[self.steps > 0]).max(initial=0.0))
        return Distances(float(np.abs(gaps) @ self.steps), ks, float(np.sqrt(2 * (gaps**2 @ self.steps))))


def lay_ladder(values: Floats) -> Ladder:
    """Sort values (values,) for measuring."""
    order = np.argsort(values, kind="stable")
    return Ladder(order, np.diff(values[order]))


def measure_distances(one: Floats, other: Floats) -> Distances:
    """Return how far two samples are apart, each (values,) and not empty."""
    is_one = np.concatenate([np.ones(len(one)), np.zeros(len(other))])
    return lay_ladder(np.concatenate([one, other])).measure(is_one, 1 - is_one)


@dataclass(frozen=True)
class Tally:
    """Values that have no order, ready to be weighted again and again."""

    codes: NDArray[np.intp]
    """Which kind each value is, (values,)."""

    def measure(self, one: Floats, other: Floats) -> float:
        """Return the total variation of two weightings: half the sum of the differences of shares, 0 to 1."""
        counts = [np.bincount(self.codes, weights) for weights in (one, other)]
        shares = [of_kind / of_kind.sum() for of_kind in counts]
        return float(np.abs(shares[0] - shares[1]).sum() / 2)


def lay_tally(values: Floats) -> Tally:
    """Give every kind of value (values,) a number."""
    return Tally(np.unique(values, return_inverse=True)[1].astype(np.intp))
