"""Distributions over a few numbers, held against the number that came: quantiles, losses, and how honest they are.

Values lie on a grid (times on that of 10 ms). For a quantile the mass of a value is spread evenly over its cell, half a
step to either side, so that quantiles move smoothly; at the ends of what may come, the outer half is cut off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import sqrt

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Distribution:
    """Probabilities of numbers."""

    values: NDArray[np.float64]
    """In rising order, (values,)."""
    probabilities: NDArray[np.float64]
    """One each, none of them 0, (values,); they add up to 1."""
    step: float
    """Width of the grid's cells, in the unit of the values."""

    @cached_property
    def upto(self) -> NDArray[np.float64]:
        """How much of the mass lies up to each value and at it, (values,)."""
        return self.probabilities.cumsum()

    @property
    def mean(self) -> float:
        """The expected value."""
        return float(self.values @ self.probabilities)

    @property
    def std(self) -> float:
        """The standard deviation."""
        return sqrt(float((self.values - self.mean) ** 2 @ self.probabilities))

    def quantile(self, level: float) -> float:
        """Return the number below which so much of the mass lies, 0 <= level <= 1."""
        cell = min(int(self.upto.searchsorted(level)), len(self.values) - 1)
        inside = 1 - (float(self.upto[cell]) - level) / float(self.probabilities[cell])
        reached = float(self.values[cell]) + self.step * (min(max(inside, 0.0), 1.0) - 0.5)
        return min(max(reached, float(self.values[0])), float(self.values[-1]))

    def levels_of(self, truth: float) -> tuple[float, float]:
        """Return how much of the mass lies below a number, and how much up to it and at it."""
        counts = (int(self.values.searchsorted(truth, side=side)) for side in ("left", "right"))
        below, upto = (float(self.upto[count - 1]) if count else 0.0 for count in counts)
        # Sums of shares miss 1 by rounding.
        return min(below, 1.0), min(upto, 1.0)

    def crps(self, truth: float) -> float:
        """Return the continuous ranked probability score, in the unit of the values; 0 is perfect.

        E|X - y| - E|X - X'| / 2 (Gneiting and Raftery 2007, "Strictly proper scoring rules", equation 21); for a sure
        answer it is the absolute error.
        """
        error = float(np.abs(self.values - truth) @ self.probabilities)
        below = self.upto[:-1]
        # E|X - X'| / 2 is the integral of F (1 - F).
        return error - float((below * (1 - below)) @ np.diff(self.values))


def pinball(quantile: float, truth: float, level: float) -> float:
    """Return the loss that the true quantile of a level minimises (Koenker and Bassett 1978)."""
    return (truth - quantile) * level if truth >= quantile else (quantile - truth) * (1 - level)


def share_between(levels: tuple[float, float], low: float, high: float) -> float:
    """Return how much of the step that the truth takes on a distribution's scale lies between two levels.

    On a grid no interval holds exactly 80 % of the mass, so whether a number lies inside one says little. Its step
    from the mass below it to the mass up to it, laid against the levels, does: its expected share is high - low where
    the distribution is right (the non-randomised PIT of Czado, Gneiting and Held 2009, "Predictive model assessment
    for count data", section 2.1). A step without width counts where it stands.
    """
    below, upto = levels
    if upto <= below:
        # At 1 it belongs to the last part, or it would belong to none.
        return float(low <= below < high or below >= high >= 1)
    return max(0.0, min(upto, high) - max(below, low)) / (upto - below)


def pit_histogram(levels: Sequence[tuple[float, float]], bins: int) -> NDArray[np.float64]:
    """Return how many of the truths fall into each of some equal parts of the distributions' scale, (bins,).

    Flat where the distributions are right; a hump says they are too wide, horns that they are too narrow.
    """
    edges = pairwise(np.linspace(0, 1, bins + 1).tolist())
    return np.array([sum(share_between(one, low, high) for one in levels) for low, high in edges])
