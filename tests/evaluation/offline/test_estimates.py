"""Ratios over sessions: their intervals cover, their tests are scipy's, and Holm's correction is Holm's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from tests.evaluation.offline.cases import random_predictions
from vlm_agent.evaluation.intervals import linearise, mean_interval
from vlm_agent.evaluation.offline.estimates import compare, correct_holm, estimate, t_test
from vlm_agent.evaluation.offline.metrics import ScoreConfig
from vlm_agent.evaluation.offline.scores import tally_sessions
from vlm_agent.evaluation.offline.tallies import Tally


def tallies(sums, counts):
    return {f"s{i}": Tally({"m": a}, {"m": b}) for i, (a, b) in enumerate(zip(sums, counts, strict=True))}


def test_a_ratio_is_that_of_the_sums_not_the_mean_of_ratios():
    found = estimate(tallies([1, 9], [10, 10]), "m")
    assert found is not None
    assert found.value == pytest.approx(0.5)
    uneven = estimate(tallies([10, 0], [10, 90]), "m")
    assert uneven is not None
    assert (uneven.value, uneven.count) == (pytest.approx(0.1), 100)
    assert estimate(tallies([0, 0], [0, 0]), "m") is None
    assert estimate(tallies([1, 1], [2, 2]), "other") is None


def test_linearised_values_have_the_ratio_for_a_mean():
    rng = np.random.default_rng(3)
    counts = rng.integers(1, 50, 30).astype(float)
    sums = rng.binomial(counts.astype(int), 0.3).astype(float)
    assert linearise(sums, counts).mean() == pytest.approx(sums.sum() / counts.sum())
    # Where all sessions are of one length they are the sessions' own shares.
    assert linearise(np.array([2.0, 6.0]), np.array([10.0, 10.0])) == pytest.approx([0.2, 0.6])


def test_intervals_cover_a_ratio_of_sessions_of_different_length_and_skill():
    rng = np.random.default_rng(11)
    covered, trials, true = 0, 1000, 0.4
    for _ in range(trials):
        counts = rng.integers(5, 60, 30)
        # Sessions differ in skill: windows within one are not independent.
        skill = rng.beta(8, 12, 30)
        sums = rng.binomial(counts, skill)
        interval = mean_interval(linearise(sums.astype(float), counts.astype(float)).tolist(), resamples=1000)
        covered += interval.low <= true <= interval.high
    assert 0.93 <= covered / trials <= 0.97


def test_the_test_is_scipy_s():
    values = np.random.default_rng(5).normal(0.3, 1.0, 25)
    assert t_test(values) == pytest.approx(float(stats.ttest_1samp(values, 0.0).pvalue))


@pytest.mark.parametrize(
    ("ps", "want"),
    [
        ([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]),
        ([0.5, 0.9], [1.0, 1.0]),
        ([0.02], [0.02]),
        ([], []),
    ],
)
def test_holm(ps, want):
    assert correct_holm(ps) == pytest.approx(want)


def test_equal_contenders_do_not_differ_and_a_better_one_does():
    config = ScoreConfig()
    some = random_predictions(1, sessions=12, windows=20)
    right = [replace(one, answer=one.target) for one in some]
    one, other = tally_sessions(right, config), tally_sessions(some, config)
    assert compare(one, one, ["event_right", "exact"]) == {}
    gaps = compare(one, other, ["event_right", "exact", "distance_px"])
    assert gaps["exact"].interval.low > 0
    assert gaps["exact"].p < gaps["exact"].p_holm < 0.001
    assert gaps["distance_px"].interval.high < 0


def test_intervals_keep_to_what_can_be() -> None:
    # Nearly always right, and once all wrong: linearised, the upper end would lie above 1.
    sums, counts = [9.0, 30.0, 0.0, 28.0], [9.0, 30.0, 4.0, 28.0]
    high = mean_interval(linearise(np.array(sums), np.array(counts)).tolist()).high
    assert high > 1
    tallies = {
        str(n): Tally({"f1_click": s, "time_error_ms": s}, {"f1_click": c, "time_error_ms": c})
        for n, (s, c) in enumerate(zip(sums, counts, strict=True))
    }
    share = estimate(tallies, "f1_click")
    assert share is not None
    assert share.interval is not None
    assert share.interval.high == 1
    time = estimate(tallies, "time_error_ms")
    assert time is not None
    assert time.interval is not None
    assert time.interval.high == high
