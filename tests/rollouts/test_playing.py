"""What an episode counts as it goes, by numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.canned_play import CLICK, CannedPolicy, CountingEnv, say
from vlm_agent.actions.types import ActionChunk, Click
from vlm_agent.rollouts.playing import EpisodeConfig, run_episode
from vlm_agent.safety.rules import SafetyRules

TWO_CLICKS = ActionChunk((Click(100, 20, 10), Click(100, 20, 10)))


def play(*decisions, env=None, max_ticks=None, **config):
    policy = CannedPolicy(*decisions)
    return run_episode(
        env or CountingEnv(), policy, "click", 7, EpisodeConfig(max_ticks=max_ticks or len(decisions), **config)
    )


def test_presses_a_second_are_counted_by_the_games_clock():
    busy = SafetyRules(max_presses_per_s=2)
    episode = play(say(TWO_CLICKS), max_ticks=6, rules=busy)
    assert episode.counts.outcomes == {"executed": 3, "refused": 3}
    assert episode.score == 6


def test_points_made_in_one_horizon_count_each():
    episode = play(say(ActionChunk()), say(TWO_CLICKS), say(CLICK), env=CountingEnv(needed=9))
    assert episode.score_times_ms == (1200, 1200, 1800)
    assert episode.success_ms is None


def test_the_probability_of_allowed_tokens_is_a_mean_over_decisions_that_have_one():
    decisions = [replace(say(CLICK), mean_p_allowed=mass) for mass in (0.9, None, 0.3)]
    episode = play(*decisions)
    assert episode.mean_p_allowed is not None
    assert abs(episode.mean_p_allowed - 0.6) < 1e-9


class Fading(CountingEnv):
    """Reached by a click, and no longer so a tick later."""

    def _info(self):
        return super()._info() | {"is_success": bool(self.played) and bool(self.played[-1].actions)}


def test_success_is_how_it_ends_and_when_it_first_was_so_is_told_beside():
    episode = play(say(ActionChunk()), say(CLICK), say(CLICK), say(ActionChunk()), env=Fading())
    assert (episode.is_success, episode.success_ms) == (False, 1200)


def test_times_count_from_where_the_episode_began():
    class Late(CountingEnv):
        def _info(self):
            return super()._info() | {"t_ns": 10**15 + self.tick * 600_000_000}

    episode = play(say(CLICK), say(CLICK), env=Late())
    assert (episode.duration_ms, episode.success_ms, episode.score_times_ms) == (1200, 1200, (600, 1200))


@pytest.mark.parametrize(
    ("latency_ms", "outcome", "horizons"), [(600, "invalid", 1), (601, "late", 2), (1201, "late", 3)]
)
def test_on_a_real_clock_an_answer_is_late_beyond_its_horizon_whatever_it_says(latency_ms, outcome, horizons):
    episode = play(say(None, "truncated", ms=latency_ms), max_ticks=6, clock="real")
    assert episode.counts.outcomes == {outcome: 6 // horizons}
    assert episode.duration_ms == 3600


def test_done_ends_an_episode_or_is_no_more_than_said():
    done = ActionChunk(done=True)
    assert play(say(done), say(CLICK), max_ticks=4).counts.outcomes == {"done": 1}
    going_on = play(say(done), say(CLICK), max_ticks=4, stops_when_done=False)
    assert going_on.counts.outcomes == {"done": 1, "executed": 3}


def test_the_seed_and_the_goal_go_to_the_scene_and_to_the_policy():
    env, told = CountingEnv(), []

    class Policy(CannedPolicy):
        def begin(self, goal, spec, seed) -> None:
            told.append((goal, seed))

    run_episode(env, Policy(say(CLICK)), "click twice", 7, EpisodeConfig(max_ticks=1))
    assert (env.seed, env.goals, told) == (7, ["click twice"], [("click twice", 7)])
