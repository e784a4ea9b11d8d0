"""Means and shares with confidence intervals; the units are whole episodes or sessions.

Means: BCa bootstrap (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 14) whose tail levels are
first widened for small samples (the "expanded percentile" rule of Hesterberg, What Teachers Should Know About the
Bootstrap, 2015, section 4.2). Plain percentile intervals of 20 values cover about 92 % instead of 95 %, and less where
most values are 0; a test simulates the coverage of these. Values are one number an episode: the episodes of different
seeds are independent, the decisions within one are not.

Shares: the exact binomial interval (Clopper and Pearson, 1934) of an effective number of trials (Korn and Graubard,
Confidence intervals for proportions with small expected number of positive counts estimated from survey data, Survey
Methodology 24, 1998). It never leaves 0 to 1, and has width even where all agree: who failed on none of 20 seeds may
fail on one in six.
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
from scipy.stats import beta
from scipy.stats import t as student

from vlm_agent.errors import ConfigError, DataError

LEVEL = 0.95
"""Confidence level of every interval."""
DEFAULT_RESAMPLES = 10_000
"""Bootstrap resamples."""
METHODS = {
    "method": "expanded BCa bootstrap over seeds",
    "shares": "Clopper and Pearson, of an effective number of trials over seeds (Korn and Graubard)",
}
"""How the intervals of means and of shares are made, as files say it."""
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
    """Return the mean of independent values with its 95 % interval; shares have one of their own, `ratio_interval`.

    Values that are all the same give an interval without width: resampling can't see what never happened.

    Raises:
        ConfigError: there are fewer than two values.
        DataError: a value is not finite.
    """
    sample = np.asarray(values, dtype=float)
    _check(sample)
    mean = float(sample.mean())
    if is_constant(sample):
        return Interval(mean, mean, mean)
    means = _resample_means(sample, resamples)
    reach = _widen((1 + LEVEL) / 2, len(sample))
    low, high = (float(np.quantile(means, _adjust(z, sample, means))) for z in (-reach, reach))
    return Interval(mean, low, high)


def share_interval(outcomes: Sequence[bool]) -> Interval:
    """Return the share of true outcomes of independent units with its 95 % interval (Clopper and Pearson, 1934).

    Raises:
        ConfigError: there are fewer than two outcomes.
    """
    sums = np.asarray(outcomes, dtype=float)
    return ratio_interval(sums, np.ones_like(sums))


def ratio_interval(sums: NDArray[np.float64], counts: NDArray[np.float64]) -> Interval:
    """Return a share, the ratio of two sums over independent units, with its 95 % interval; both lie in 0 to 1.

    Args:
        sums: numerators, (units,); their sum is at most that of the denominators.
        counts: denominators, (units,), trials such as presses or windows; not all 0.

    Raises:
        ConfigError: there are fewer than two units.
        DataError: a number is not finite.
    """
    _check(sums, counts)
    share = float(sums.sum() / counts.sum())
    if not -1e-9 <= share <= 1 + 1e-9:
        raise ValueError(f"a share lies between 0 and 1, got {share}")
    share = min(max(share, 0.0), 1.0)
    if np.all(counts == 1) and np.all((sums == 0) | (sums == 1)):
        # Units that are trials themselves: nothing has to be estimated.
        return _bound_share(share, float(len(sums)))
    # Trials that lie in a few large units tell less than as many in units of one size (Kish, Survey Sampling, 1965).
    num_units = float(counts.sum() ** 2 / (counts**2).sum())
    return spread_share(share, _variance_of_mean(linearise(sums, counts)), num_units, float(counts.sum()))


def spread_share(share: float, variance: float, num_units: float, num_trials: float) -> Interval:
    """Return the 95 % interval of a share whose variance is known by other means, such as resampling.

    The effective number of trials is that of a binomial share of the same variance, less for few units by Student's t,
    and never more than the trials that there were. Where all agree no variance can be seen, and only the units count.

    Args:
        share: 0 to 1.
        variance: of the share, not of a single trial.
        num_units: independent units that it was estimated from.
        num_trials: trials in all of them.
    """
    if share in (0.0, 1.0):
        return _bound_share(share, num_units)
    fewer = (_NORMAL.inv_cdf((1 + LEVEL) / 2) / float(student.ppf((1 + LEVEL) / 2, max(num_units - 1, 1)))) ** 2
    effective = share * (1 - share) / variance * fewer if variance > 0 else math.inf
    return _bound_share(share, min(effective, num_trials))


def gap_interval(gaps: Sequence[float], num_trials: float | None = None) -> Interval:
    """Return the mean of paired differences of shares with its 95 % interval; all lie in -1 to 1.

    A difference d is looked at as the share (1 + d) / 2. Its variance is taken to be no less than that of two trials
    that differ and did not happen to come (Agresti and Min, Simple improved confidence intervals for comparing matched
    proportions, Statistics in Medicine 24, 2005): where none of 20 seeds differs, up to a tenth may.

    Args:
        gaps: one a unit (a seed, or a session's linearised difference); the mean is at most 1 either way.
        num_trials: trials in all units; by default each is one.

    Raises:
        ConfigError: there are fewer than two units.
        DataError: a number is not finite.
    """
    values = np.asarray(gaps, dtype=float)
    _check(values)
    trials = float(len(values)) if num_trials is None else num_trials
    mean = min(max(float(values.mean()), -1.0), 1.0)
    variance = max(_variance_of_mean(values), (trials + 2) ** -2)
    half = spread_share((1 + mean) / 2, variance / 4, float(len(values)), math.inf)
    return Interval(mean, 2 * half.low - 1, 2 * half.high - 1)


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


def is_constant(values: NDArray[np.float64]) -> bool:
    """Tell whether values are all the same; differences of equal numbers differ by rounding."""
    return float(np.ptp(values)) <= 1e-9 * max(1.0, abs(float(values.mean())))


def _check(*samples: NDArray[np.float64]) -> None:
    if len(samples[0]) < 2:
        raise ConfigError(f"an interval needs at least 2 values, got {len(samples[0])}")
    for sample in samples:
        odd = sample[~np.isfinite(sample)]
        if len(odd):
            raise DataError(
                f"{len(odd)} of {len(sample)} values to be averaged are not finite numbers (first: {odd[0]})"
            )


def _bound_share(share: float, trials: float) -> Interval:
    """Clopper and Pearson's interval of a share of so many trials, which need not be whole."""
    hits, misses, tail = share * trials, (1 - share) * trials, (1 - LEVEL) / 2
    low = float(beta.ppf(tail, hits, misses + 1)) if hits > 0 else 0.0
    high = float(beta.ppf(1 - tail, hits + 1, misses)) if misses > 0 else 1.0
    return Interval(share, low, high)


def _variance_of_mean(values: NDArray[np.float64]) -> float:
    return 0.0 if is_constant(values) else float(values.var(ddof=1)) / len(values)


def _resample_means(sample: NDArray[np.float64], resamples: int) -> NDArray[np.float64]:
    return _draw_counts(len(sample), resamples) @ sample / len(sample)


@lru_cache(maxsize=2)
def _draw_counts(size: int, resamples: int) -> NDArray[np.float64]:
    """How often each of `size` values is drawn in each resample, float64 of shape (resamples, size)."""
    rng = np.random.default_rng(_SEED)
    return rng.multinomial(size, np.full(size, 1 / size), size=resamples).astype(float)


def _widen(level: float, size: int) -> float:
    """The z that reaches as far as Student's t with the unbiased variance."""
    return math.sqrt(size / (size - 1)) * float(student.ppf(level, size - 1))


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
