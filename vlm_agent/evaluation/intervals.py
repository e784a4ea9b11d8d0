"""Means with confidence intervals, by resampling whole episodes.

Interval: BCa bootstrap (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 14) whose tail levels are
first widened for small samples (the "expanded percentile" rule of Hesterberg, What Teachers Should Know About the
Bootstrap, 2015, section 4.2). Plain percentile intervals of 20 values cover about 92 % instead of 95 %, and less where
most values are 0; a test simulates the coverage of these. Values are one number an episode: the episodes of different
seeds are independent, the decisions within one are not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlm_agent.errors import ConfigError

LEVEL = 0.95
"""Confidence level of every interval."""
DEFAULT_RESAMPLES = 10_000
"""Bootstrap resamples."""
_SEED = 20_260_101
"""All intervals use the same resamples, so that a number does not depend on which others were computed."""
_NORMAL = NormalDist()


@dataclass(frozen=True)
class Interval:
    """A mean and what it may be."""

    mean: float
    """Of the sample."""
    low: float
    """Lower end."""
    high: float
    """Upper end."""

    def __format__(self, spec: str) -> str:
        """Return mean and ends, each formatted as `spec` says: `4.17 [3.17, 5.00]` for `.2f`."""
        mean, low, high = (format(value, spec).replace("-", "−") for value in (self.mean, self.low, self.high))
        return f"{mean} [{low}, {high}]"

    def to_json(self) -> dict[str, Any]:
        """Return `mean` and `ci95`, rounded far below their meaning."""
        return {"mean": round(self.mean, 6), "ci95": [round(self.low, 6), round(self.high, 6)]}


def mean_interval(values: Sequence[float], *, resamples: int = DEFAULT_RESAMPLES) -> Interval:
    """Return the mean of independent values with its 95 % interval.

    Values that are all the same give an interval without width: resampling can't see what never happened.

    Raises:
        ConfigError: there are fewer than two values.
    """
    sample = np.asarray(values, dtype=float)
    if len(sample) < 2:
        raise ConfigError(f"an interval needs at least 2 values, got {len(sample)}")
    mean = float(sample.mean())
    # Differences of equal numbers differ by rounding.
    if float(np.ptp(sample)) <= 1e-9 * max(1.0, abs(mean)):
        return Interval(mean, mean, mean)
    means = _resample_means(sample, resamples)
    reach = _widen((1 + LEVEL) / 2, len(sample))
    low, high = (float(np.quantile(means, _adjust(z, sample, means))) for z in (-reach, reach))
    return Interval(mean, low, high)


def share_interval(outcomes: Sequence[bool], *, resamples: int = DEFAULT_RESAMPLES) -> Interval:
    """Return the share of true outcomes with its 95 % interval.

    Where all agree, the end that resampling can't see is the exact binomial bound (Clopper and Pearson, 1934).
    """
    interval = mean_interval([float(value) for value in outcomes], resamples=resamples)
    reach = 1 - ((1 - LEVEL) / 2) ** (1 / len(outcomes))
    if interval.high == 0.0:
        return Interval(0.0, 0.0, reach)
    if interval.low == 1.0:
        return Interval(1.0, 1 - reach, 1.0)
    return interval


def ratio_interval(
    sums: NDArray[np.float64], counts: NDArray[np.float64], *, resamples: int = DEFAULT_RESAMPLES
) -> Interval:
    """Return the ratio of two sums over independent units with its 95 % interval.

    Args:
        sums: numerators, (units,).
        counts: denominators, (units,), not all 0.
        resamples: bootstrap resamples.
    """
    return mean_interval(linearise(sums, counts).tolist(), resamples=resamples)


def linearise(sums: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return values, one a unit, whose mean is the ratio of the sums and whose spread is the ratio's.

    These are the ratio plus the influence of each unit on it (Davison and Hinkley, Bootstrap Methods and their
    Application, 1997, section 2.7).

    Args:
        sums: numerators, (units,).
        counts: denominators, (units,), not all 0.
    """
    ratio = sums.sum() / counts.sum()
    values: NDArray[np.float64] = ratio + (sums - ratio * counts) / counts.mean()
    return values


def student_quantile(level: float, degrees: int) -> float:
    """Return the quantile of Student's t for whole degrees of freedom, by halving intervals."""
    low, high = -1e6, 1e6
    while high - low > 1e-9 * max(1.0, abs(low)):
        middle = (low + high) / 2
        low, high = (middle, high) if _student_cdf(middle, degrees) < level else (low, middle)
    return (low + high) / 2


def _student_cdf(t: float, degrees: int) -> float:
    """Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4: exact, finite sums."""
    angle = math.atan(t / math.sqrt(degrees))
    sine, cosine = math.sin(angle), math.cos(angle)
    is_odd = degrees % 2 == 1
    term = cosine if is_odd else 1.0
    total = 0.0
    for k in range(2 + is_odd, degrees + 1, 2):
        total += term
        term *= cosine**2 * (k - 1) / k
    inside = 2 / math.pi * (angle + sine * total) if is_odd else sine * total
    return (1 + inside) / 2


def _resample_means(sample: NDArray[np.float64], resamples: int) -> NDArray[np.float64]:
    return _draw_counts(len(sample), resamples) @ sample / len(sample)


@lru_cache(maxsize=2)
def _draw_counts(size: int, resamples: int) -> NDArray[np.float64]:
    """How often each of `size` values is drawn in each resample, float64 of shape (resamples, size)."""
    rng = np.random.default_rng(_SEED)
    return rng.multinomial(size, np.full(size, 1 / size), size=resamples).astype(float)


def _widen(level: float, size: int) -> float:
    """The z that reaches as far as Student's t with the unbiased variance."""
    return math.sqrt(size / (size - 1)) * student_quantile(level, size - 1)


def _adjust(z: float, sample: NDArray[np.float64], means: NDArray[np.float64]) -> float:
    """BCa: the level of the bootstrap distribution for a z, moved for its bias and its skewness."""
    mean = float(sample.mean())
    level_with = np.isclose(means, mean, rtol=1e-9, atol=1e-12)
    below = float(((means < mean) & ~level_with).mean() + level_with.mean() / 2)
    margin = 1 / len(means)
    bias = _NORMAL.inv_cdf(min(max(below, margin), 1 - margin))
    # Leaving a value out moves the mean against it, so that the jackknife's differences are those of the sample.
    apart = sample - mean
    skew = float((apart**3).sum() / (6 * (apart**2).sum() ** 1.5))
    shifted = bias + z
    return _NORMAL.cdf(bias + shifted / (1 - skew * shifted))
