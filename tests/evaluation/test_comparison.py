"""Comparisons of rollouts whose numbers are known: planted outcomes, the JSON and its schema."""

from __future__ import annotations

import jsonschema
import pytest

from tests.evaluation.canned import (
    BASE_RINGS,
    DURATION_MS,
    GOOD_RINGS,
    MAX_TICKS,
    SETTING,
    canned_comparison,
    canned_rollout,
)
from vlm_agent.errors import DataError
from vlm_agent.evaluation.comparison import compare_rollouts, read_schema
from vlm_agent.evaluation.metrics import GOAL_SUCCESS, RINGS_PER_MINUTE, find_metric
from vlm_agent.evaluation.verdicts import Finding, judge, write_verdict

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
    assert verdict.finding is finding is judge(comparison.difference.interval)
    assert words in verdict.text


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
    # 80 of 80 + 4 x 134 presses were in vain; two seeds never came to a ring and count with their whole 90 s.
    assert tuned.wasted is not None
    assert tuned.wasted.mean == pytest.approx(80 / (80 + 4 * 134))
    assert tuned.wasted.low < tuned.wasted.mean < tuned.wasted.high
    firsts = [90 / (rings + 1) for rings in GOOD_RINGS]
    assert tuned.first_success_s.mean == pytest.approx(sum(firsts) / 20, abs=1e-3)


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


def test_other_seeds_are_refused() -> None:
    rollouts = [canned_rollout("base", (1, 2)), canned_rollout("tuned", (1, 2, 3))]
    with pytest.raises(DataError, match="tuned was played on other seeds"):
        compare_rollouts(rollouts, RINGS_PER_MINUTE, SETTING)


def test_goals_that_end_are_measured_by_success() -> None:
    assert find_metric(is_long_goal=False) is GOAL_SUCCESS
    rollouts = [canned_rollout("base", (0, 0, 1, 0)), canned_rollout("tuned", (1, 1, 1, 0))]
    comparison = compare_rollouts(rollouts, GOAL_SUCCESS, SETTING, resamples=500)
    assert comparison.tuned.metric.mean == 0.75
    assert comparison.to_json()["metric"] == "goal_success"
