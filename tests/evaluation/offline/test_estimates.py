"""Ratios over sessions: their intervals cover, their tests are scipy's, and Holm's correction is Holm's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from tests.evaluation.offline.cases import random_predictions
from vlm_agent.evaluation.intervals import linearise, mean_interval, share_interval
from vlm_agent.evaluation.offline.estimates import compare, confusion_of, correct_holm, estimate, macro_f1, t_test
from vlm_agent.evaluation.offline.metrics import ScoreConfig
from vlm_agent.evaluation.offline.scores import tally_sessions
from vlm_agent.evaluation.offline.tallies import Tally


def tallies(sums, counts):
    return {f"s{i}": Tally({"m": a}, {"m": b}) for i, (a, b) in enumerate(zip(sums, counts, strict=True))}


def shares(metric, sums, counts):
    return {f"s{n}": Tally({metric: s}, {metric: c}) for n, (s, c) in enumerate(zip(sums, counts, strict=True))}


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
    covered, trials, true = 0, 400, 0.4
    for _ in range(trials):
        counts = rng.integers(5, 60, 30)
        # Sessions differ in skill: windows within one are not independent.
        skill = rng.beta(8, 12, 30)
        sums = rng.binomial(counts, skill)
        found = estimate(shares("exact", sums, counts), "exact")
        covered += found.interval.low <= true <= found.interval.high
    assert 0.93 <= covered / trials <= 0.98


def test_the_test_is_scipy_s():
    values = np.random.default_rng(5).normal(0.3, 1.0, 25)
    assert t_test(values) == pytest.approx(float(stats.ttest_1samp(values, 0.0).pvalue))
    assert t_test(-values) == t_test(values)
    # Student's t for 4 sessions of differences 1, 2, 3, 4: t = 2.5 / (1.29099 / 2) = 3.873, 3 degrees of freedom.
    assert t_test(np.array([1.0, 2.0, 3.0, 4.0])) == pytest.approx(0.030466, abs=1e-6)
    assert t_test(np.zeros(6)) == 1.0


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
    assert gaps["exact"].interval.high <= 1
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
    assert 0 < share.interval.low < share.value < share.interval.high <= 1
    time = estimate(tallies, "time_error_ms")
    assert time is not None
    assert time.interval is not None
    assert time.interval.high == high


def test_a_share_that_all_sessions_agree_on_is_not_certain() -> None:
    found = estimate(shares("f1_key space", [8.0] * 10, [8.0] * 10), "f1_key space")
    assert found is not None
    assert found.interval == share_interval([True] * 10)
    # Sessions in which that key is never pressed say nothing of it.
    sums, counts = [8.0] * 2 + [0.0] * 8, [8.0] * 2 + [0.0] * 8
    rare = estimate(shares("f1_key space", sums, counts), "f1_key space")
    assert rare is not None
    assert rare.interval == share_interval([True] * 2)
    lone = estimate(shares("f1_key space", [8.0, 0.0], [8.0, 0.0]), "f1_key space")
    assert lone is not None
    assert lone.interval is None


def test_who_is_better_everywhere_by_as_much_is_better_for_sure() -> None:
    # Without any spread there is nothing for a t test; it used to be left out, as if they were equal.
    whole, none = shares("exact", [6.0] * 10, [6.0] * 10), shares("exact", [0.0] * 10, [6.0] * 10)
    gap = compare(whole, none, ["exact"])["exact"]
    assert gap.interval.mean == gap.interval.high == 1
    assert gap.interval.low == pytest.approx(1 - 2 * (1 - 0.025 ** (1 / 10)))
    assert gap.p == gap.p_holm == 2.0**-9
    back = compare(none, whole, ["exact"])["exact"]
    assert (back.interval.low, back.interval.high) == pytest.approx((-1, -gap.interval.low))
    assert compare(whole, whole, ["exact"]) == {}
    # Two sessions are not enough for a sign test to find anything.
    assert compare(shares("exact", [6, 6], [6, 6]), shares("exact", [0, 0], [6, 6]), ["exact"])["exact"].p == 0.5


def test_rounding_is_no_difference() -> None:
    thirds = shares("exact", [0.1 + 0.2] * 4, [1.0] * 4)
    assert compare(thirds, shares("exact", [0.3] * 4, [1.0] * 4), ["exact"]) == {}


def test_gaps_are_of_the_sessions_that_both_have() -> None:
    one = shares("time_error_ms", [60.0, 80.0, 70.0], [1.0] * 3)
    more = Tally({"time_error_ms": 1e6}, {"time_error_ms": 1})
    other = {**shares("time_error_ms", [50.0, 50.0, 50.0], [1.0] * 3), "more": more}
    gap = compare(one, other, ["time_error_ms"])["time_error_ms"]
    assert gap.interval.mean == pytest.approx(20)
    assert compare(other, one, ["time_error_ms"])["time_error_ms"].interval.mean == pytest.approx(-20)


def test_the_confusion_and_the_f1_of_kinds_by_hand() -> None:
    met = {("CLICK", "CLICK"): 6, ("CLICK", "none"): 2, ("none", "CLICK"): 1, ("KEY", "CLICK"): 1, ("none", "KEY"): 3}
    tally = Tally(confusion=met)
    found = confusion_of({"a": tally, "b": tally})
    assert found["CLICK"] == {"CLICK": 12, "KEY": 0, "SCROLL": 0, "MOVE": 0, "none": 4}
    assert found["KEY"]["CLICK"] == 2
    # Clicks: 2 * 6 / (8 + 8); keys: 0 of 1 + 3; the other kinds do not occur, and nothing is no kind.
    assert macro_f1(found) == pytest.approx((12 / 16 + 0) / 2)
    assert macro_f1(confusion_of({"a": Tally()})) is None
