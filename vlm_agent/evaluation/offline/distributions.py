"""Distributions over a few numbers, held against the number that came: quantiles, losses, and how honest they are.

Values lie on a grid (times on that of 10 ms). For a quantile the mass of a value is spread evenly over its cell, half a
step to either side, so that quantiles move smoothly; at the ends of what may come, the outer half is cut off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Distribution:
    """Probabilities of numbers."""

    values: tuple[float, ...]
    """In rising order."""
    probabilities: tuple[float, ...]
    """One each; they add up to 1."""
    step: float
    """Width of the grid's cells, in the unit of the values."""

    @property
    def mean(self) -> float:
        """The expected value."""
        return float(np.dot(self.values, self.probabilities))

    @property
    def std(self) -> float:
        """The standard deviation."""
        apart = np.asarray(self.values) - self.mean
        return sqrt(max(float(np.dot(apart**2, self.probabilities)), 0.0))

    def quantile(self, level: float) -> float:
        """Return the number below which so much of the mass lies, 0 <= level <= 1."""
        lows = np.asarray(self.values) - self.step / 2
        before = np.concatenate([[0.0], np.cumsum(self.probabilities)])
        cell = int(np.searchsorted(before[1:], level, side="left").clip(0, len(lows) - 1))
        inside = (level - before[cell]) / self.probabilities[cell]
        reached = float(lows[cell] + self.step * min(max(inside, 0.0), 1.0))
        return min(max(reached, self.values[0]), self.values[-1])

    def levels_of(self, truth: float) -> tuple[float, float]:
        """Return how much of the mass lies below a number, and how much up to it and at it."""
        values, probabilities = np.asarray(self.values), np.asarray(self.probabilities)
        return float(probabilities[values < truth].sum()), float(probabilities[values <= truth].sum())

    def crps(self, truth: float) -> float:
        """Return the continuous ranked probability score, in the unit of the values; 0 is perfect.

        E|X - y| - E|X - X'| / 2 (Gneiting and Raftery 2007, "Strictly proper scoring rules", equation 21); for a sure
        answer it is the absolute error.
        """
        values, probabilities = np.asarray(self.values), np.asarray(self.probabilities)
        error = float(np.dot(np.abs(values - truth), probabilities))
        below = np.cumsum(probabilities)[:-1]
        # E|X - X'| / 2 is the integral of F (1 - F).
        return error - float(np.dot(below * (1 - below), np.diff(values)))


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
