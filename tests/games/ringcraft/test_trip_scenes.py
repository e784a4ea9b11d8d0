"""Moments of trips: every kind of moment comes up, each can be played on from, and the same seed gives the same one."""

from __future__ import annotations

import pytest

from vlm_agent.games.ringcraft.core import Ringcraft
from vlm_agent.games.ringcraft.demonstrator import Demonstrator, demonstrate
from vlm_agent.games.ringcraft.plan import choose_step
from vlm_agent.games.ringcraft.scene import is_playable
from vlm_agent.games.ringcraft.skill import Habits
from vlm_agent.games.ringcraft.trip_scenes import trip_scene

LONGEST_TRIP_S = 90


def carried(state):
    return {stack.item for stack in state.inventory if stack is not None}


def test_the_same_seed_gives_the_same_moment_and_another_one_another():
    assert trip_scene(4).snapshot() == trip_scene(4).snapshot()
    assert trip_scene(4).snapshot() != trip_scene(5).snapshot()


def test_only_the_moment_differs_from_the_seed_s_own_scene():
    for seed in range(10):
        own, here = Ringcraft(seed).state, trip_scene(seed).state
        assert (own.bank, own.objects, own.skin) == (here.bank, here.objects, here.skin)
        assert ("ring_mould" in carried(own)) == ("ring_mould" in carried(here))


def test_every_step_of_a_trip_is_the_next_one_somewhere():
    moments = [trip_scene(seed).state for seed in range(200)]
    assert all(is_playable(state) for state in moments)
    assert {choose_step(state, Habits()).goal for state in moments} >= {
        "open the bank",
        "deposit the sapphire rings",
        "deposit the inventory",
        "withdraw ring mould",
        "select quantity X",
        "withdraw gold bars",
        "withdraw sapphires",
        "close the bank",
        "use the furnace",
        "select quantity All",
        "make sapphire rings",
        "close the furnace window",
        "wait until the rings are done",
        "continue the dialog",
        "open the inventory tab",
    }


@pytest.mark.parametrize("seed", range(12))
def test_the_player_gets_from_any_moment_to_a_ring(seed):
    game = trip_scene(seed)
    before = game.state.rings_made
    demonstrate(game, Demonstrator(seed), LONGEST_TRIP_S * 1000)
    assert game.state.rings_made > before
