"""On a clock that does not wait: what is decided too late is not played, and counted under its own name."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.canned_play import CLICK, SPEC, CannedPolicy, CountingEnv, SeededPolicy, make_env, say
from vlm_agent.actions.codecs import make_codec
from vlm_agent.actions.lateness import drop_late
from vlm_agent.actions.types import ActionChunk, Click, Key
from vlm_agent.errors import ConfigError
from vlm_agent.rollouts.episodes import Episode
from vlm_agent.rollouts.playing import EpisodeConfig, run_episode
from vlm_agent.rollouts.running import RolloutPlan, play_recorded, run_rollout
from vlm_agent.sessions.reader import SessionReader

EARLY_AND_LATER = ActionChunk((Click(100, 20, 10), Click(150, 30, 20), Key(50, "space")))
"""At 100, 250 and 300 ms."""


def play(chunk, latency_ms, max_ticks=4, clock="real"):
    env = CountingEnv()
    policy = CannedPolicy(say(chunk, ms=latency_ms))
    return run_episode(env, policy, "click twice", 7, EpisodeConfig(max_ticks=max_ticks, clock=clock)), env, policy


@pytest.mark.parametrize(
    ("latency_ms", "outcome", "played_per_tick", "late"),
    [
        (0, "executed", 3, 0),
        (100, "executed", 3, 0),
        (101, "executed", 2, 4),
        (250.5, "executed", 1, 8),
        (301, "late", 0, 12),
    ],
)
def test_of_a_known_latency_so_much_is_late(latency_ms, outcome, played_per_tick, late):
    episode, env, _ = play(EARLY_AND_LATER, latency_ms)
    assert episode.counts.outcomes == {outcome: 4}
    assert [len(chunk.actions) for chunk in env.played] == [played_per_tick] * 4
    assert (episode.num_actions, episode.num_late_actions) == (4 * played_per_tick, late)


def test_what_is_left_is_played_at_its_own_time():
    _, env, policy = play(EARLY_AND_LATER, 200)
    assert env.played[0] == ActionChunk((Click(250, 30, 20), Key(50, "space")))
    assert [past.age_ms for past in policy.seen[1].recent] == [350, 300]


def test_a_decision_longer_than_its_horizon_costs_as_many_as_it_took():
    episode, env, _ = play(CLICK, 1300, max_ticks=6)
    assert episode.counts.outcomes == {"late": 2}
    assert (episode.num_late_actions, episode.num_actions, episode.score) == (2, 0, 0)
    assert env.played == [ActionChunk()] * 6


def test_a_paused_clock_waits_for_everything():
    episode, env, _ = play(EARLY_AND_LATER, 5000, clock="paused")
    assert (episode.num_late_actions, episode.num_actions) == (0, 12)
    assert env.played[0] == EARLY_AND_LATER


def test_late_is_neither_empty_nor_invalid_nor_done():
    assert play(ActionChunk(), 599)[0].counts.outcomes == {"empty": 4}
    assert play(ActionChunk(), 601, max_ticks=4)[0].counts.outcomes == {"late": 2}
    assert play(ActionChunk(done=True), 601, max_ticks=4)[0].counts.outcomes == {"late": 2}
    policy = CannedPolicy(say(None, "not_json", ms=601))
    episode = run_episode(CountingEnv(), policy, "x", 7, EpisodeConfig(max_ticks=4, clock="real"))
    assert episode.counts.outcomes == {"late": 2}
    assert episode.counts.invalid_reasons == {}


def test_a_release_goes_with_its_late_press():
    drag = ActionChunk((Click(50, 1, 1, state="down"), Click(300, 9, 9, state="up"), Key(10, "a")))
    assert drop_late(drag, 100) == (ActionChunk((Key(360, "a"),)), 2)
    # Another key's release, and that of a press before this horizon, are still due.
    held = ActionChunk((Key(50, "a", "down"), Key(100, "b", "up"), Key(100, "a", "up"), Key(0, "a", "up")))
    assert drop_late(held, 100) == (ActionChunk((Key(150, "b", "up"), Key(100, "a", "up"))), 2)


@given(gaps=st.lists(st.integers(0, 30).map(lambda tens: 10 * tens), max_size=6), latency=st.floats(0, 900))
def test_nothing_is_lost_or_moved(gaps, latency):
    chunk = ActionChunk(tuple(Click(gap, index, 0) for index, gap in enumerate(gaps)))
    kept, num_late = drop_late(chunk, latency)

    def times(of):
        at_ms, found = 0, {}
        for action in of.actions:
            at_ms += action.dt_ms
            found[action.x] = at_ms
        return found

    assert len(kept.actions) + num_late == len(gaps)
    assert times(kept) == {index: at_ms for index, at_ms in times(chunk).items() if at_ms >= latency}


@pytest.mark.parametrize("clock", ["paused", "real"])
def test_everything_written_down_names_its_clock(clock, tmp_path):
    store = tmp_path / "episodes.jsonl"
    plan = RolloutPlan(
        "seeded",
        make_env,
        SeededPolicy,
        "click twice",
        (1, 2),
        EpisodeConfig(max_ticks=3, clock=clock),
        sessions=tmp_path,
    )
    run_rollout(plan, store=store)
    head, *episodes = [json.loads(line) for line in store.read_text().splitlines()]
    assert head["rollout"]["episode"]["clock"] == clock
    assert [episode["clock"] for episode in episodes] == [clock, clock]
    assert SessionReader(tmp_path / "seeded-1.mcap").meta["clock"] == clock


def test_a_recorded_decision_tells_how_much_of_it_was_late(tmp_path):
    plan = RolloutPlan(
        "slow", make_env, SeededPolicy, "x", (1,), EpisodeConfig(max_ticks=1, clock="real"), sessions=tmp_path
    )
    play_recorded(plan, CountingEnv(), CannedPolicy(say(EARLY_AND_LATER, ms=200)), 1)
    [(_, told)] = list(SessionReader(tmp_path / "slow-1.mcap").decisions())
    assert (told["outcome"], told["late_actions"]) == ("executed", 1)
    assert make_codec("json").decode(told["chunk"], SPEC) == EARLY_AND_LATER


def test_episodes_of_an_older_store_are_read_with_the_clock_of_its_first_line(tmp_path):
    store = tmp_path / "episodes.jsonl"
    plan = RolloutPlan("seeded", make_env, SeededPolicy, "x", (1,), EpisodeConfig(max_ticks=3, clock="real"))
    [episode] = run_rollout(plan, store=store).episodes
    head, line = store.read_text().splitlines()
    newer = ("clock", "num_late_actions", "num_presses", "num_wasted_presses", "disturbed_ms", "success_ms")
    older = {name: value for name, value in json.loads(line).items() if name not in newer}
    store.write_text(f"{head}\n{json.dumps(older)}\n")
    [again] = run_rollout(plan, store=store).episodes
    assert again.clock == "real"
    assert (again.num_presses, again.disturbed_ms, again.num_late_actions) == (None, None, 0)
    assert again.score_times_ms == episode.score_times_ms
    assert Episode.from_json(older).clock is None


def test_there_are_two_clocks():
    with pytest.raises(ConfigError, match="clock"):
        EpisodeConfig(clock="fast")  # type: ignore[arg-type]


def test_first_success_is_the_goal_or_the_first_point():
    episode, _, _ = play(CLICK, 0, max_ticks=5)
    assert (episode.score_times_ms[:2], episode.success_ms) == ((600, 1200), 1200)
    assert episode.first_success_ms == 600
    never, _, _ = play(ActionChunk(), 0)
    assert (never.first_success_ms, never.success_ms) == (None, None)
