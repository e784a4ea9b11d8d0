"""Comparisons of rollouts whose numbers are known: planted outcomes, the JSON and its schema."""

from __future__ import annotations

from dataclasses import replace

import jsonschema
import numpy as np
import pytest

from tests.evaluation.canned import (
    BASE_RINGS,
    DURATION_MS,
    GOOD_RINGS,
    MAX_TICKS,
    SETTING,
    canned_comparison,
    canned_episode,
    canned_rollout,
)
from vlm_agent.errors import DataError, ModelError
from vlm_agent.evaluation.comparison import compare_rollouts, read_schema
from vlm_agent.evaluation.intervals import Interval
from vlm_agent.evaluation.metrics import GOAL_SUCCESS, RINGS_PER_MINUTE, find_metric
from vlm_agent.evaluation.verdicts import HEADLINES, Finding, judge, write_verdict
from vlm_agent.rollouts.episodes import DecisionCounts, Outcome
from vlm_agent.rollouts.running import Rollout

SLIGHTLY_SHUFFLED = (1, 0, 0, 0, 2, 0, 0, 2, 0, 0, 1, 0, 2, 0, 0, 0, 1, 0, 0, 0)


@pytest.mark.parametrize(
    ("base", "tuned", "finding", "words"),
    [
        (BASE_RINGS, GOOD_RINGS, Finding.BETTER, "above every trivial baseline"),
        (BASE_RINGS, BASE_RINGS, Finding.NOT_DISTINGUISHABLE, "may be chance"),
        (BASE_RINGS, SLIGHTLY_SHUFFLED, Finding.NOT_DISTINGUISHABLE, "may be chance"),
        (GOOD_RINGS, BASE_RINGS, Finding.WORSE, "Tuning did harm"),
        ((0,) * 20, (0,) * 20, Finding.NOT_DISTINGUISHABLE, "Neither got anywhere"),
    ],
    ids=["better", "the same", "equal but for chance", "worse", "both nothing"],
)
def test_planted_cases_get_the_right_verdict(base, tuned, finding, words) -> None:
    comparison = canned_comparison(base, tuned)
    verdict = write_verdict(comparison)
    assert verdict.finding is finding
    assert verdict.headline == HEADLINES[finding]
    assert words in verdict.text


@pytest.mark.parametrize(
    ("low", "high", "finding"),
    [
        (0.01, 2.0, Finding.BETTER),
        (0.0, 2.0, Finding.NOT_DISTINGUISHABLE),
        (-0.5, 0.5, Finding.NOT_DISTINGUISHABLE),
        (-2.0, 0.0, Finding.NOT_DISTINGUISHABLE),
        (-2.0, -0.01, Finding.WORSE),
    ],
)
def test_only_an_interval_that_leaves_0_out_is_a_finding(low, high, finding) -> None:
    assert judge(Interval((low + high) / 2, low, high)) is finding


def test_the_verdict_names_the_numbers() -> None:
    text = write_verdict(canned_comparison(BASE_RINGS, GOOD_RINGS)).text
    # 134 rings on 20 seeds of 1.5 minutes; base made 9.
    assert "tuned reached 4.47 rings a minute and base 0.30" in text
    assert "+4.17" in text
    assert "ahead on 18 seeds, level on 2, behind on 0" in text
    assert "37% of what the demonstrator reached" in text


def test_a_tuned_model_that_does_not_beat_chance_is_told_so() -> None:
    text = write_verdict(canned_comparison((0,) * 20, (3, 4, 3, 2) * 5, baseline=3)).text
    assert "does not stand clearly above no-op, random or repeat last" in text


def test_unreadable_and_refused_decisions_are_in_the_verdict() -> None:
    text = write_verdict(canned_comparison(BASE_RINGS, GOOD_RINGS, num_invalid=15, num_refused=30)).text
    assert "10% were unreadable and 20% were refused" in text


def test_few_seeds_are_called_a_hint() -> None:
    assert "a hint, no more" in write_verdict(canned_comparison((0, 1, 0), (5, 6, 7))).text


def test_differences_are_paired_by_seed() -> None:
    # The seeds differ much, tuned is always one ring ahead: only pairing can see that.
    base = (0, 5, 10, 15, 20) * 4
    comparison = canned_comparison(base, [made + 1 for made in base])
    interval = comparison.difference.interval
    assert (interval.low, interval.high) == pytest.approx((60_000 / DURATION_MS,) * 2)
    assert comparison.tuned.metric.low < comparison.base.metric.high


def test_rows_hold_what_the_episodes_hold() -> None:
    tuned = canned_comparison(BASE_RINGS, GOOD_RINGS, num_invalid=3, num_refused=6).tuned
    assert tuned.values[0] == pytest.approx(8 * 60_000 / DURATION_MS)
    assert tuned.success.mean == pytest.approx(18 / 20)
    assert tuned.valid is not None
    assert tuned.valid.mean == pytest.approx(1 - 3 / MAX_TICKS)
    assert tuned.invalid_reasons == {"truncated": 60}
    assert tuned.refused_reasons == {"rate_exceeded": 120}
    assert tuned.num_decisions == 20 * MAX_TICKS
    assert sum(tuned.outcomes.values()) == tuned.num_decisions
    assert tuned.mean_p_allowed == pytest.approx(0.98)
    assert tuned.latency_ms(50) == pytest.approx(np.median(tuned.latencies_ms))
    assert len(tuned.latencies_ms) == 20 * MAX_TICKS
    # 80 of 80 + 4 x 134 presses were in vain; two seeds never came to a ring and count with their whole 90 s.
    assert tuned.wasted is not None
    assert tuned.wasted.mean == pytest.approx(80 / (80 + 4 * 134))
    assert tuned.wasted.low < tuned.wasted.mean < tuned.wasted.high
    firsts = [90 / (rings + 1) for rings in GOOD_RINGS]
    assert tuned.first_success_s.mean == pytest.approx(sum(firsts) / 20, abs=1e-3)


def test_only_a_models_times_mean_anything() -> None:
    rows = canned_comparison(BASE_RINGS, GOOD_RINGS).rows
    assert [name for name, row in rows.items() if row.latency_ms(50) is not None] == ["base", "tuned"]
    assert rows["noop"].to_json()["latency_ms"] is None


def test_the_demonstrator_has_no_decisions() -> None:
    row = canned_comparison(BASE_RINGS, GOOD_RINGS).rows["demonstrator"]
    assert row.valid is None
    assert row.num_decisions == 0
    assert row.latency_ms(50) is None


def test_json_keeps_to_its_schema_and_to_the_promise() -> None:
    comparison = canned_comparison(BASE_RINGS, GOOD_RINGS, num_invalid=1)
    value = {**comparison.to_json(), "parts": {}, "missing": [], "verdict": write_verdict(comparison).to_json()}
    jsonschema.Draft202012Validator.check_schema(read_schema())
    jsonschema.validate(value, read_schema())
    assert value["metric"] == "rings_per_minute"
    assert value["clock"] == "paused"
    assert value["n_seeds"] == 20 == len(value["seeds"])
    for name in ("base", "tuned", "demonstrator", "noop", "random", "repeat"):
        low, high = value[name]["ci95"]
        assert low <= value[name]["mean"] <= high
    assert value["difference"]["mean"] == pytest.approx(value["tuned"]["mean"] - value["base"]["mean"], abs=1e-5)
    assert value["difference"]["ci95"][0] > 0


def test_schema_refuses_what_lacks_a_row() -> None:
    comparison = canned_comparison(BASE_RINGS, GOOD_RINGS)
    value = {**comparison.to_json(), "parts": {}, "missing": [], "verdict": write_verdict(comparison).to_json()}
    del value["random"]
    with pytest.raises(jsonschema.ValidationError, match="random"):
        jsonschema.validate(value, read_schema())


@pytest.mark.parametrize("names", [("base",), ("tuned", "noop"), ("base", "tuned", "stranger")])
def test_rollouts_that_make_no_comparison_are_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(DataError, match="needs base and tuned"):
        compare_rollouts([canned_rollout(name, (1, 2)) for name in names], RINGS_PER_MINUTE, SETTING)


def with_seeds(name: str, seeds: tuple[int, ...]) -> Rollout:
    return Rollout(name, tuple(canned_episode(seed, seed % 7) for seed in seeds))


@pytest.mark.parametrize(
    ("seeds", "words"),
    [
        ((1, 2), "tuned was played on other seeds than base (only one of them on 3)"),
        ((1, 2, 3, 4), "tuned was played on other seeds than base (only one of them on 4)"),
        # As many, but others: paired by place they would look like a comparison.
        ((1, 2, 4), "tuned was played on other seeds than base (only one of them on 3)"),
        ((11, 12, 13), "tuned was played on other seeds than base (only one of them on 1)"),
        ((2, 1, 3), "tuned was played on other seeds than base (in another order)"),
        ((1, 2, 2), "tuned was played more than once on seed 2; each seed counts once"),
    ],
)
@pytest.mark.parametrize("odd", ["tuned", "noop"])
def test_rollouts_are_paired_by_seed_or_not_at_all(seeds, words, odd) -> None:
    rollouts = [with_seeds(name, seeds if name == odd else (1, 2, 3)) for name in ("base", "tuned", "noop")]
    with pytest.raises(DataError) as error:
        compare_rollouts(rollouts, RINGS_PER_MINUTE, SETTING)
    assert words.replace("tuned", odd) in str(error.value)
    assert "\n" not in str(error.value)


def test_each_difference_is_of_one_seed() -> None:
    base, tuned, noop = with_seeds("base", (3, 9, 5)), with_seeds("tuned", (3, 9, 5)), with_seeds("noop", (3, 9, 5))
    better = replace(tuned, episodes=tuple(replace(one, score=one.score + one.seed) for one in tuned.episodes))
    comparison = compare_rollouts([better, noop, base], RINGS_PER_MINUTE, SETTING)
    assert comparison.seeds == (3, 9, 5)
    for name in ("base", "noop"):
        assert comparison.differences[name].values == pytest.approx([rings / 1.5 for rings in (3, 9, 5)])
    assert [comparison.difference.num_ahead, comparison.difference.num_behind] == [3, 0]


def test_shares_of_a_comparison_keep_to_what_can_be() -> None:
    # One seed with many presses, nearly all in vain: linearised, the interval went to 122 %.
    parts = [(2, 9), (0, 8), (3, 12), (1, 10), (0, 7), (14, 15)]
    episodes = [
        replace(canned_episode(seed, 1), num_presses=presses, num_wasted_presses=wasted)
        for seed, (wasted, presses) in enumerate(parts)
    ]
    row = compare_rollouts(
        [Rollout(name, tuple(episodes)) for name in ("base", "tuned")], RINGS_PER_MINUTE, SETTING
    ).tuned
    assert row.wasted is not None
    assert row.wasted.mean == pytest.approx(20 / 61)
    assert 0 < row.wasted.low < row.wasted.mean < row.wasted.high < 1
    # All decisions were valid and all goals reached: six seeds don't make that certain.
    assert row.valid is not None
    for share in (row.valid, row.success):
        assert (share.mean, share.high) == (1.0, 1.0)
        assert share.low == pytest.approx(0.025 ** (1 / 6))


def test_the_valid_share_is_of_all_decisions_not_of_episodes() -> None:
    long, short = canned_episode(1, 1), canned_episode(2, 1)
    counts = DecisionCounts({"executed": 10, "invalid": 40}, {"truncated": 40})
    rollouts = [Rollout(name, (long, replace(short, counts=counts))) for name in ("base", "tuned")]
    row = compare_rollouts(rollouts, RINGS_PER_MINUTE, SETTING).tuned
    assert row.valid is not None
    assert row.valid.mean == pytest.approx(160 / 200)
    assert row.share(Outcome.INVALID) == pytest.approx(40 / 200)


def test_presses_that_nobody_counted_are_not_told_as_wasted_or_not() -> None:
    uncounted = tuple(replace(canned_episode(seed, 1), num_presses=None, num_wasted_presses=None) for seed in (1, 2))
    unpressed = tuple(replace(canned_episode(seed, 1), num_presses=0, num_wasted_presses=0) for seed in (1, 2))
    comparison = compare_rollouts([Rollout("base", uncounted), Rollout("tuned", unpressed)], RINGS_PER_MINUTE, SETTING)
    assert comparison.base.wasted is comparison.tuned.wasted is None


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"mean_p_allowed": float("nan")}, ModelError, "tuned: on seed 2 its probabilities are nan"),
        ({"score": float("inf")}, DataError, "tuned: on seed 2 the score is inf"),
        ({"latencies_ms": (3.0, float("nan"))}, DataError, "tuned: on seed 2 the time of a decision is nan"),
    ],
)
def test_an_episode_with_numbers_that_are_none_is_named(changes, error, words) -> None:
    tuned = (canned_episode(1, 1), replace(canned_episode(2, 1), **changes))
    with pytest.raises(error, match=words) as raised:
        compare_rollouts([with_seeds("base", (1, 2)), Rollout("tuned", tuned)], RINGS_PER_MINUTE, SETTING)
    assert "\n" not in str(raised.value)


def test_goals_that_end_are_measured_by_success() -> None:
    assert find_metric(is_long_goal=False) is GOAL_SUCCESS
    rollouts = [canned_rollout("base", (0, 0, 1, 0)), canned_rollout("tuned", (1, 1, 1, 0))]
    comparison = compare_rollouts(rollouts, GOAL_SUCCESS, SETTING, resamples=500)
    assert comparison.tuned.metric.mean == 0.75
    # The measure is a share, and so are its interval and the difference's.
    assert comparison.tuned.metric == comparison.tuned.success
    assert (comparison.tuned.metric.low, comparison.tuned.metric.high) == pytest.approx((0.19412, 0.99369), abs=1e-5)
    assert comparison.difference.interval.mean == 0.5
    assert -1 <= comparison.difference.interval.low < 0 < comparison.difference.interval.high <= 1
    always = [canned_rollout("base", (0,) * 12), canned_rollout("tuned", (1,) * 12)]
    gap = compare_rollouts(always, GOAL_SUCCESS, SETTING).difference.interval
    assert (gap.mean, gap.high) == (1.0, 1.0)
    assert gap.low == pytest.approx(1 - 2 * (1 - 0.025 ** (1 / 12)))
    assert comparison.to_json()["metric"] == "goal_success"
