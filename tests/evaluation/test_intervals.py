"""Intervals: exact where there is a table, and covering what they promise where there is only chance."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from vlm_agent.errors import ConfigError
from vlm_agent.evaluation.intervals import Interval, mean_interval, share_interval, student_quantile

TABLE_975 = {1: 12.7062, 2: 4.3027, 3: 3.1824, 4: 2.7764, 9: 2.2622, 10: 2.2281, 19: 2.0930, 30: 2.0423, 120: 1.9799}
"""Student's t, upper 2.5 % points, from any printed table."""


@pytest.mark.parametrize(("degrees", "expected"), TABLE_975.items())
def test_student_quantiles_are_those_of_the_table(degrees: int, expected: float) -> None:
    assert student_quantile(0.975, degrees) == pytest.approx(expected, abs=1e-4)
    assert student_quantile(0.025, degrees) == pytest.approx(-expected, abs=1e-4)


def test_symmetric_data_gives_nearly_students_interval() -> None:
    values = [-2.0, -1.5, -1.0, -0.5, -0.2, 0.2, 0.5, 1.0, 1.5, 2.0] * 2
    half = student_quantile(0.975, 19) * np.std(values, ddof=1) / np.sqrt(20)
    interval = mean_interval(values)
    assert interval.mean == pytest.approx(0.0, abs=1e-12)
    assert interval.low == pytest.approx(-half, rel=0.03)
    assert interval.high == pytest.approx(half, rel=0.03)


def test_an_interval_is_written_with_its_mean_before_its_ends() -> None:
    interval = Interval(-0.25, -1.0, 0.5)
    assert f"{interval:.2f}" == "−0.25 [−1.00, 0.50]"
    assert f"{interval:+.1f}" == "−0.2 [−1.0, +0.5]"


def test_a_long_tail_moves_the_interval_towards_it() -> None:
    interval = mean_interval([0.0] * 12 + [1.0] * 4 + [3.0] * 2 + [9.0, 12.0])
    assert interval.high - interval.mean > 1.4 * (interval.mean - interval.low)


def test_the_interval_moves_and_scales_with_the_data() -> None:
    values = np.random.default_rng(5).gamma(2, 1, 15)
    plain, moved = mean_interval(values), mean_interval(3 * values - 7)
    assert (moved.low, moved.high) == pytest.approx((3 * plain.low - 7, 3 * plain.high - 7))
    mirrored = mean_interval(-values)
    assert (mirrored.low, mirrored.high) == pytest.approx((-plain.high, -plain.low), abs=0.05)


def test_values_that_agree_have_no_width() -> None:
    interval = mean_interval([0.0] * 20)
    assert (interval.low, interval.mean, interval.high) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("values", [(0.0, 1.0), (1.0, 2.0, 7.0), (0.0, 0.0, 0.0, 1.0)])
def test_very_few_values_give_all_they_hold(values: tuple[float, ...]) -> None:
    interval = mean_interval(values)
    assert min(values) <= interval.low < interval.mean < interval.high <= max(values)


def test_one_value_has_no_interval() -> None:
    with pytest.raises(ConfigError, match="at least 2"):
        mean_interval([1.0])


def test_unanimous_outcomes_get_the_exact_binomial_bound() -> None:
    # Clopper and Pearson for 0 of 20: 1 - 0.025 ** (1 / 20) = 0.1684.
    never, always = share_interval([False] * 20), share_interval([True] * 20)
    assert (never.low, never.high) == pytest.approx((0.0, 0.16843), abs=1e-5)
    assert (always.low, always.high) == pytest.approx((0.83157, 1.0), abs=1e-5)


NUM_SIMULATED = 1000


def zero_inflated(rng: np.random.Generator, size: int) -> np.ndarray:
    return (rng.random(size) < 0.5) * rng.gamma(2.0, 1.0, size)


def gain_on_most_seeds(rng: np.random.Generator, size: int) -> np.ndarray:
    return np.where(rng.random(size) < 0.7, rng.normal(4.0, 1.5, size), -rng.gamma(2.0, 0.3, size))


@pytest.mark.parametrize(
    ("draw", "truth", "least"),
    [
        (lambda rng, size: rng.normal(3.0, 2.0, size), 3.0, 0.93),
        (lambda rng, size: rng.poisson(2.0, size).astype(float), 2.0, 0.93),
        (zero_inflated, 1.0, 0.93),
        (gain_on_most_seeds, 0.7 * 4.0 - 0.3 * 0.6, 0.93),
        # No interval from 20 values of an exponential covers fully; plain percentiles reach 89 % here.
        (lambda rng, size: rng.exponential(1.0, size), 1.0, 0.91),
    ],
    ids=["normal", "counts", "half zeros", "gain on most seeds", "exponential"],
)
def test_intervals_of_twenty_seeds_cover_what_they_promise(
    draw: Callable[[np.random.Generator, int], np.ndarray], truth: float, least: float
) -> None:
    rng = np.random.default_rng(11)
    hits = 0
    for _ in range(NUM_SIMULATED):
        interval = mean_interval(draw(rng, 20), resamples=1000)
        hits += interval.low <= truth <= interval.high
    assert least <= hits / NUM_SIMULATED <= 0.97
