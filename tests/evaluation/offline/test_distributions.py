"""Quantiles, losses and levels of distributions on a grid: by hand, and against scikit-learn and plain integration."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats
from sklearn.metrics import mean_pinball_loss

from vlm_agent.evaluation.offline.distributions import Distribution, pinball, pit_histogram, share_between

COIN = Distribution(np.array([100.0, 200.0]), np.array([0.25, 0.75]), 10.0)
SURE = Distribution(np.array([90.0]), np.array([1.0]), 10.0)


def random_distribution(seed):
    rng = np.random.default_rng(seed)
    values = np.sort(rng.choice(60, int(rng.integers(1, 12)), replace=False)) * 10.0
    probabilities = rng.dirichlet(np.ones(len(values)))
    return Distribution(values, probabilities, 10.0)


def test_mean_and_std_by_hand():
    assert (COIN.mean, COIN.std) == (pytest.approx(175), pytest.approx(np.sqrt(0.25 * 75**2 + 0.75 * 25**2)))
    assert (SURE.mean, SURE.std) == (90, 0)


@pytest.mark.parametrize(
    ("level", "want"),
    # The cell of 100 reaches from 95 to 105 and holds a quarter, that of 200 from 195 to 205; the ends are cut off.
    [(0.0, 100), (0.125, 100), (0.2, 103), (0.25, 105), (0.4, 197), (0.625, 200), (0.99, 200), (1.0, 200)],
)
def test_quantiles_by_hand(level, want):
    assert COIN.quantile(level) == pytest.approx(want)
    assert SURE.quantile(level) == 90


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_quantiles_rise_and_give_back_the_level_inside_the_grid(seed):
    one = random_distribution(seed)
    levels = np.linspace(0, 1, 41)
    quantiles = [one.quantile(level) for level in levels]
    assert quantiles == sorted(quantiles)
    assert one.values[0] <= quantiles[0]
    assert quantiles[-1] <= one.values[-1]
    for level, quantile in zip(levels, quantiles, strict=True):
        below, upto = (
            sum(p for v, p in zip(one.values, one.probabilities, strict=True) if v + half <= quantile)
            for half in (5.0, -5.0)
        )
        assert below - 1e-9 <= level <= upto + 1e-9 or quantile in (one.values[0], one.values[-1])


@settings(max_examples=40, deadline=None)
@given(
    pairs=st.lists(st.tuples(st.floats(-500, 500), st.floats(-500, 500)), min_size=1, max_size=20),
    level=st.floats(0.01, 0.99),
)
def test_the_pinball_loss_is_scikit_learn_s(pairs, level):
    ours = np.mean([pinball(quantile, truth, level) for quantile, truth in pairs])
    quantiles, truths = zip(*pairs, strict=True)
    assert ours == pytest.approx(mean_pinball_loss(truths, quantiles, alpha=level))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), truth=st.integers(0, 60))
def test_the_crps_is_the_integral_of_the_squared_distance_of_distribution_functions(seed, truth):
    one, y = random_distribution(seed), truth * 10.0

    def apart(t):
        return (sum(p for v, p in zip(one.values, one.probabilities, strict=True) if v <= t) - (y <= t)) ** 2

    # Both are steps at multiples of 10: the midpoints tell the whole integral.
    want = sum(10 * apart(10 * cell + 5) for cell in range(-1, 61))
    assert one.crps(y) == pytest.approx(want)


def test_the_crps_is_the_mean_pinball_loss_over_all_levels_and_the_error_of_who_is_sure():
    assert SURE.crps(140) == 50
    assert SURE.crps(90) == 0

    def loss(level):
        return 2 * pinball(100.0 if level <= 0.25 else 200.0, 170, level)

    want, _ = integrate.quad(loss, 0, 1, points=[0.25])
    assert COIN.crps(170) == pytest.approx(want)


@pytest.mark.parametrize(
    ("levels", "low", "high", "want"),
    [
        ((0.0, 1.0), 0.1, 0.9, 0.8),
        ((0.0, 0.2), 0.1, 0.9, 0.5),
        ((0.3, 0.5), 0.1, 0.9, 1.0),
        ((0.95, 1.0), 0.1, 0.9, 0.0),
        ((0.5, 0.5), 0.1, 0.9, 1.0),
        ((1.0, 1.0), 0.1, 0.9, 0.0),
        ((1.0, 1.0), 0.9, 1.0, 1.0),
        ((0.0, 0.0), 0.0, 0.1, 1.0),
    ],
)
def test_shares_of_a_step_by_hand(levels, low, high, want):
    assert share_between(levels, low, high) == pytest.approx(want)


def test_a_value_that_was_not_thought_possible_stands_where_it_stands():
    assert COIN.levels_of(150) == (0.25, 0.25)
    assert COIN.levels_of(100) == (0.0, 0.25)
    assert COIN.levels_of(500) == (1.0, 1.0)


def test_every_truth_falls_into_the_histogram_once_and_honest_distributions_make_it_flat():
    rng = np.random.default_rng(5)
    levels = []
    for seed in range(1500):
        one = random_distribution(seed)
        levels.append(one.levels_of(float(rng.choice(one.values, p=one.probabilities))))
    counts = pit_histogram(levels, 10)
    assert counts.sum() == pytest.approx(1500)
    assert stats.chisquare(counts).pvalue > 0.05
    covered = np.mean([share_between(one, 0.1, 0.9) for one in levels])
    assert covered == pytest.approx(0.8, abs=0.02)
    # Who is too sure has horns.
    horns = pit_histogram([(0.0, 0.01)] * 5 + [(0.99, 1.0)] * 5, 10)
    assert horns[0] == horns[-1] == 5
