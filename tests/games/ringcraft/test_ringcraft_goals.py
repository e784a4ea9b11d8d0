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
from vlm_agent.games.ringcraft.state import Crafting, Menu, Stack

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
    rng, still = Random(9), 0
    for _ in range(60):
        game = random_scene(rng)
        before = deepcopy(game.state)
        moving = before.player.path or before.player.errand or before.crafting.product or before.queued
        game.advance(600)
        reached = reached_between(before, game.state)
        assert GOALS[LONG_GOAL].is_done(before, game.state) == (game.state.rings_made > before.rings_made)
        if not moving:
            assert [goal.text for goal in reached] == []
            still += 1
    assert still >= 10


def test_no_goal_is_reached_by_a_moment_alone():
    rng = Random(10)
    for _ in range(20):
        state = random_scene(rng).state
        assert [goal.text for goal in GOALS.values() if goal.is_done(state, state)] == []


def test_what_made_no_sense_before_is_not_reached():
    before = _scene(crafting=Crafting("sapphire_ring", 3, 1))
    after = _scene()
    waited = GOALS["wait until the rings are done"]
    assert waited in reached_between(before, after)
    # With a menu open nobody is asked to wait.
    before.menu = Menu(0, 0, 9)
    assert waited.is_done(before, after)
    assert waited not in reached_between(before, after)


def _scene(**changes):
    game = Ringcraft(21)
    for name, value in changes.items():
        setattr(game.state, name, value)
    return game.state


def _carrying(*items, mode="none"):
    return _scene(mode=mode, inventory=[Stack(item) for item in items] + [None] * (28 - len(items)))


@pytest.mark.parametrize(
    ("state", "step"),
    [
        (_scene(mode="levelup"), "continue the dialog"),
        (_carrying("ring_mould"), "open the bank"),
        (_carrying("ring_mould", "gold_bar"), "open the bank"),
        (_carrying("ring_mould", "gold_bar", "sapphire"), "use the furnace"),
        (_carrying("ring_mould", "gold_bar", "sapphire", mode="bank"), "close the bank"),
        (_carrying("ring_mould", "gold_bar", "sapphire", "sapphire_ring", mode="bank"), "deposit the sapphire rings"),
        (_carrying("ring_mould", mode="furnace"), "close the furnace window"),
        (_scene(crafting=Crafting("sapphire_ring", 3, 2)), "wait until the rings are done"),
    ],
)
def test_the_step_that_comes_next(state, step):
    assert next_step(state) == step


@pytest.mark.parametrize(
    ("quantity", "step"), [("X", "withdraw gold bars"), ("5", "select quantity X"), ("All", "select quantity X")]
)
def test_the_quantity_is_chosen_before_materials_are_taken(quantity, step):
    state = _carrying("ring_mould", mode="bank")
    state.bank_quantity = quantity
    assert next_step(state) == step
    # The mould alone is taken whatever the quantity.
    bare = _carrying(mode="bank")
    bare.bank_quantity = quantity
    assert next_step(bare) == "withdraw ring mould"


@pytest.mark.parametrize(("quantity", "step"), [("All", "make sapphire rings"), ("1", "select quantity All")])
def test_the_furnace_makes_all(quantity, step):
    state = _carrying("ring_mould", "gold_bar", "sapphire", mode="furnace")
    state.furnace_quantity = quantity
    assert next_step(state) == step


def _stand(away):
    state = _scene()
    booth = next(thing for thing in state.objects if thing.kind == "bank_booth")
    state.objects = [booth]
    booth.x, booth.y = 20, 20
    state.player.x, state.player.y = 20, 20 - away
    return state


def test_a_walk_has_succeeded_two_tiles_from_the_thing():
    goal = GOALS["walk to the bank"]
    assert goal.applicable(_stand(3))
    assert not goal.applicable(_stand(2))
    assert goal.is_done(_stand(3), _stand(2))
    assert not goal.is_done(_stand(4), _stand(3))
    assert not goal.is_done(_stand(2), _stand(1))
    assert not goal.is_done(_stand(2), _stand(3))


@pytest.mark.parametrize(
    ("text", "axis", "by", "is_done"),
    [
        ("turn the camera left", "yaw", 60, True),
        ("turn the camera left", "yaw", -60, False),
        ("turn the camera right", "yaw", -60, True),
        ("turn the camera right", "yaw", 60, False),
        ("turn the camera left", "yaw", 700, False),
        ("tilt the camera up", "pitch", 60, True),
        ("tilt the camera up", "pitch", -60, False),
        ("tilt the camera down", "pitch", -60, True),
        ("tilt the camera down", "pitch", 60, False),
    ],
)
def test_the_camera_turned_the_way_that_was_asked_for(text, axis, by, is_done):
    before, after = _scene(), _scene()
    # Over the seam of the full turn, too.
    before.camera.yaw, before.camera.pitch = (2030 if by > 0 else 20), 280
    after.camera.yaw, after.camera.pitch = before.camera.yaw, 280
    setattr(after.camera, axis, (getattr(before.camera, axis) + by) % 2048)
    assert GOALS[text].is_done(before, after) == is_done


def test_what_moves_between_bank_and_bag_must_change_both():
    bag, bank = _carrying("ring_mould", mode="bank"), _carrying("ring_mould", "gold_bar", mode="bank")
    place = next(index for index, stack in enumerate(bank.bank) if stack.item == "gold_bar")
    assert not GOALS["withdraw gold bars"].is_done(bag, bank), "none left the bank"
    bank.bank[place].quantity -= 1
    assert GOALS["withdraw gold bars"].is_done(bag, bank)
    assert not GOALS["deposit the gold bars"].is_done(bag, bank)
    assert GOALS["deposit the gold bars"].is_done(bank, bag)
    bag.bank[place].quantity -= 1
    assert not GOALS["deposit the gold bars"].is_done(bank, bag), "none came into the bank"


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
    assert [goal.text for goal in GOALS.values() if goal.is_long] == [LONG_GOAL]
    assert not long_goal.is_done(game.state, game.state)
    assert long_goal.is_done(before, game.state)
    assert game.state.rings_made >= 20
    assert {"open the bank", "withdraw gold bars", "withdraw sapphires", "close the bank", "use the furnace"} <= set(
        steps
    )
    assert "deposit the sapphire rings" in steps
