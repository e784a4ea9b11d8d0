from __future__ import annotations

from collections import Counter
from copy import deepcopy
from random import Random

import pytest
from ringcraft_presses import press

from vlm_agent.errors import ConfigError
from vlm_agent.games.ringcraft.core import Ringcraft
from vlm_agent.games.ringcraft.goals import GOALS, LONG_GOAL, applicable_goals, find_goal, next_step, reached_between
from vlm_agent.games.ringcraft.random_scenes import random_scene

TICKS_ENOUGH = 90
"""The longest of the short goals is to wait for 28 rings of three ticks."""


def test_every_wording_leads_to_one_goal():
    wordings = Counter(wording.lower() for goal in GOALS.values() for wording in (goal.text, *goal.paraphrases))
    assert max(wordings.values()) == 1
    assert all(3 <= len((goal.text, *goal.paraphrases)) <= 6 for goal in GOALS.values())
    for goal in GOALS.values():
        for wording in (goal.text, *goal.paraphrases):
            assert find_goal(f"  {wording.upper()} ") is goal


def test_an_unknown_goal_is_answered_with_the_nearest():
    with pytest.raises(ConfigError, match=r"expected one of 'craft sapphire rings'.*got 'craft saphire ring'"):
        find_goal("craft saphire ring")
    with pytest.raises(ConfigError, match="expected one of"):
        find_goal("")


@pytest.mark.parametrize("seed", range(6))
def test_pressing_where_the_target_says_reaches_the_goal(seed):
    rng = Random(seed)
    for _ in range(12):
        game = random_scene(rng)
        goal = rng.choice(applicable_goals(game.state))
        before = deepcopy(game.state)
        assert not goal.is_done(before, before), goal.text
        for _ in range(TICKS_ENOUGH):
            press(game, goal.target(game.state))
            if goal.is_done(before, game.state):
                break
        assert goal.is_done(before, game.state), goal.text
        assert goal in reached_between(before, game.state)


def test_asking_and_targeting_change_nothing():
    game = random_scene(Random(8))
    before = game.hash()
    for goal in applicable_goals(game.state):
        goal.target(game.state)
        goal.is_done(game.state, game.state)
    assert game.hash() == before


def test_doing_nothing_reaches_nothing_but_what_time_brings():
    rng = Random(9)
    for _ in range(20):
        game = random_scene(rng)
        before = deepcopy(game.state)
        moving = before.player.path or before.player.errand or before.crafting.product
        game.advance(600)
        if not moving:
            assert [goal.text for goal in reached_between(before, game.state)] == []


def test_the_steps_of_the_long_goal_go_round():
    game = Ringcraft(21)
    long_goal, before, steps = GOALS[LONG_GOAL], deepcopy(game.state), []
    for _ in range(200):
        step = next_step(game.state)
        assert step in GOALS
        if not steps or steps[-1] != step:
            steps.append(step)
        press(game, long_goal.target(game.state))
    assert long_goal.is_long
    assert long_goal.is_done(before, game.state)
    assert game.state.rings_made >= 20
    assert {"open the bank", "withdraw gold bars", "withdraw sapphires", "close the bank", "use the furnace"} <= set(
        steps
    )
    assert "deposit the sapphire rings" in steps
