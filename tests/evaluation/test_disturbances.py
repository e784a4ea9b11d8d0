"""A disturbance is planted once, at a tick drawn from the seed or the first after it at which it applies."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from multiprocessing.reduction import ForkingPickler

import pytest

from tests.canned_play import CountingEnv, SeededPolicy
from tests.evaluation.contestants import make_terms
from vlm_agent.actions.types import ActionChunk
from vlm_agent.errors import ConfigError
from vlm_agent.evaluation.demonstrated import DemonstratedEnv
from vlm_agent.evaluation.disturbances import (
    KINDS,
    Disturbance,
    DisturbedEnv,
    make_disturbances,
    plan_disturbed,
)
from vlm_agent.evaluation.matches import plan_others
from vlm_agent.games.ringcraft.env import RingcraftEnv
from vlm_agent.policies import NoOpPolicy
from vlm_agent.rollouts.playing import EpisodeConfig
from vlm_agent.rollouts.running import RolloutPlan, run_rollout

WAIT = ActionChunk()


class MoodyEnv(CountingEnv):
    """May find a click that nobody made, but only at ticks from `from_tick` on."""

    disturbances = ("luck",)

    def __init__(self, from_tick: int = 0, length: int = 100) -> None:
        super().__init__(length=length)
        self.from_tick = from_tick
        self.planted: list[int] = []

    def disturb(self, kind, rng):
        if self.tick < self.from_tick:
            return None
        self.planted.append(self.tick)
        self.clicks += 1
        return self._frame(), self._info()


def make_moody(from_tick: int = 0) -> MoodyEnv:
    return MoodyEnv(from_tick)


LUCK = Disturbance("luck", "luck", 2, 6, 12)


def play(env: DisturbedEnv, seed: int, ticks: int) -> list[dict]:
    infos = [env.reset(seed=seed, options={"goal": "x"})[1]]
    return infos + [env.step(WAIT)[4] for _ in range(ticks)]


def test_it_is_planted_once_at_the_drawn_tick():
    ticks = set()
    for seed in range(30):
        moody = MoodyEnv()
        infos = play(DisturbedEnv(moody, LUCK), seed, 15)
        assert moody.planted == [LUCK.draw_tick(seed)]
        [tick] = moody.planted
        ticks.add(tick)
        # The tick's own clock is told from then on, and not before.
        assert ["disturbed_t_ns" in info for info in infos] == [number >= tick for number in range(16)]
        assert infos[-1]["disturbed_t_ns"] == tick * 600_000_000
        assert infos[-1]["score"] == 1
    assert ticks == {2, 3, 4, 5, 6}


def test_it_waits_for_the_first_tick_at_which_it_applies_but_not_too_long():
    moody = MoodyEnv(from_tick=9)
    play(DisturbedEnv(moody, LUCK), 1, 20)
    assert moody.planted == [9]
    moody = MoodyEnv(from_tick=13)
    infos = play(DisturbedEnv(moody, LUCK), 1, 20)
    assert moody.planted == []
    assert "disturbed_t_ns" not in infos[-1]


def test_each_episode_has_its_own():
    moody = MoodyEnv()
    env = DisturbedEnv(moody, LUCK)
    for seed in (1, 2, 1):
        play(env, seed, 10)
    assert moody.planted == [LUCK.draw_tick(1), LUCK.draw_tick(2), LUCK.draw_tick(1)]
    assert {LUCK.draw_tick(seed) for seed in range(60)} == {2, 3, 4, 5, 6}


def test_nothing_is_planted_after_the_end():
    moody = MoodyEnv(length=3)
    play(DisturbedEnv(moody, replace(LUCK, first_tick=3, last_tick=3)), 1, 3)
    assert moody.planted == []


def test_an_environment_that_can_not_be_disturbed_is_named():
    with pytest.raises(ConfigError, match="CountingEnv can't be disturbed"):
        DisturbedEnv(CountingEnv(), LUCK)
    with pytest.raises(ConfigError, match="'luck', only misclick"):
        DisturbedEnv(RingcraftEnv(), LUCK)
    with pytest.raises(ConfigError, match="seed"):
        DisturbedEnv(MoodyEnv(), LUCK).reset(options={"goal": "x"})


@pytest.mark.parametrize("ticks", [(-1, 2, 3), (3, 2, 4), (1, 5, 4)])
def test_ticks_are_in_order(ticks):
    with pytest.raises(ConfigError, match="first_tick"):
        Disturbance("luck", "luck", *ticks)


def test_there_is_always_time_left_after_it():
    for disturbance in make_disturbances(150, 75):
        assert disturbance.latest_tick + 75 <= 150
        assert disturbance.last_tick <= 45
    start = make_disturbances(150, 75, ["start"])[0]
    assert (start.kind, start.first_tick, start.latest_tick) == ("moved", 0, 0)
    with pytest.raises(ConfigError, match="play longer"):
        make_disturbances(80, 76)
    with pytest.raises(ConfigError, match="unknown disturbance 'flood'"):
        make_disturbances(150, 75, ["flood"])


def test_an_episode_says_when_it_was_disturbed_in_whatever_process(tmp_path):
    plan = RolloutPlan("seeded", make_moody, SeededPolicy, "x", (1, 2, 3), EpisodeConfig(max_ticks=9))
    [disturbed] = plan_disturbed(plan, [LUCK])
    assert disturbed.name == "seeded-luck"
    ForkingPickler.dumps(disturbed)
    here = run_rollout(disturbed)
    assert here == run_rollout(disturbed, workers=2, store=tmp_path / "episodes.jsonl")
    assert [one.disturbed_ms for one in here.episodes] == [600 * LUCK.draw_tick(seed) for seed in (1, 2, 3)]
    assert [one.disturbed_ms for one in run_rollout(plan).episodes] == [None] * 3


def test_a_store_of_undisturbed_episodes_is_not_mixed_in():
    plan = RolloutPlan("seeded", make_moody, SeededPolicy, "x", (1,), about={"env": "moody"})
    [disturbed] = plan_disturbed(plan, [LUCK])
    assert disturbed.about == {"env": "moody", "disturbance": vars(LUCK)}
    assert plan_disturbed(plan, [replace(LUCK, last_tick=7)])[0].about != disturbed.about


def test_until_it_is_planted_play_is_as_undisturbed():
    demonstrator = next(plan for plan in plan_others(make_terms(2, max_ticks=30)) if plan.name == "demonstrator")
    moved = Disturbance("moved", "moved", 8, 8, 8)

    def states(make_env):
        env = make_env()
        infos = [env.reset(seed=10_000, options={"goal": "craft sapphire rings"})[1]]
        return [info["game_state"] for info in [*infos, *(env.step(WAIT)[4] for _ in range(12))]]

    plain, disturbed = (
        states(make) for make in (demonstrator.make_env, partial(DisturbedEnv, DemonstratedEnv(max_ticks=30), moved))
    )
    assert plain[:8] == disturbed[:8]
    assert plain[8] != disturbed[8]


@pytest.mark.parametrize("kind", KINDS)
def test_ringcraft_knows_all_of_them(kind):
    [disturbance] = make_disturbances(150, 75, [kind])
    plan = RolloutPlan("noop", RingcraftEnv, NoOpPolicy, "craft sapphire rings", (1,), EpisodeConfig(max_ticks=9))
    [disturbed] = plan_disturbed(plan, [replace(disturbance, first_tick=0, last_tick=0)])
    [episode] = run_rollout(disturbed).episodes
    # Nobody who only waits opens a window, or makes anything.
    assert (episode.disturbed_ms is None) == (kind in ("window", "levelup"))
