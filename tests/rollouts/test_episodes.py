"""The numbers of an episode that are computed from others."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vlm_agent.rollouts.episodes import DecisionCounts, Episode, Outcome

EPISODE = Episode(
    seed=1,
    goal="craft",
    duration_ms=90_000,
    score=3.0,
    is_success=True,
    counts=DecisionCounts(),
    num_actions=9,
    latencies_ms=(1.239, 40.0),
    mean_p_allowed=None,
)


def test_a_score_is_told_by_the_minute():
    assert EPISODE.score_per_min == 2.0
    assert replace(EPISODE, duration_ms=0).score_per_min == 0.0


@pytest.mark.parametrize(
    ("success_ms", "score_times_ms", "expected"),
    [(None, (), None), (700, (), 700), (None, (900, 1500), 900), (700, (900, 1500), 700), (1200, (900, 1500), 900)],
)
def test_the_first_success_is_the_goal_or_the_first_point_whatever_comes_first(success_ms, score_times_ms, expected):
    assert replace(EPISODE, success_ms=success_ms, score_times_ms=score_times_ms).first_success_ms == expected


def test_what_has_no_reason_is_counted_as_unknown():
    counts = DecisionCounts()
    for outcome in (Outcome.EXECUTED, Outcome.REFUSED, Outcome.LATE, Outcome.INVALID):
        counts.add(outcome)
    assert counts.total == 4
    assert (counts.invalid_reasons, counts.refused_reasons) == ({"unknown": 1}, {"unknown": 1})


def test_latencies_are_kept_to_a_hundredth_of_a_millisecond():
    assert EPISODE.to_json()["latencies_ms"] == [1.24, 40.0]
