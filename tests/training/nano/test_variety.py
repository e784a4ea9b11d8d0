"""Scenes for training in which rare things are as common as others, and still possible."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from vlm_agent.games.ringcraft.pathing import blocked_tiles, footprint
from vlm_agent.games.ringcraft.random_scenes import random_scene
from vlm_agent.games.ringcraft.rules import RULES
from vlm_agent.games.ringcraft.state import INVENTORY_SLOTS, TICK_MS
from vlm_agent.training.nano import batches, scenes
from vlm_agent.training.nano.samples import CONDITIONAL
from vlm_agent.training.nano.things import list_things
from vlm_agent.training.nano.variety import MOVABLE, NEAR_TILES, is_movable, show_evenly


def count_shown(*, even: bool) -> Counter[str]:
    shown: Counter[str] = Counter()
    for number in range(80):
        core = random_scene(Random(number))
        if even:
            show_evenly(core, Random(number))
        shown.update({thing.name for thing in list_things(core.state)} & MOVABLE)
    return shown


def test_rare_things_are_shown_more_often() -> None:
    before, after = count_shown(even=False), count_shown(even=True)
    rarest = sorted(before, key=before.__getitem__)[: len(before) // 2]
    assert sum(after[name] for name in rarest) > 1.5 * sum(before[name] for name in rarest)
    assert len(after) == len(MOVABLE)


def test_what_stands_in_the_world_comes_into_sight_together() -> None:
    """No two objects on one tile, nobody in the player's place, most of them near."""
    scattered = 0
    for number in range(40):
        core = random_scene(Random(number))
        show_evenly(core, Random(number))
        state = core.state
        tiles = [tile for thing in state.objects for tile in footprint(thing)]
        assert len(tiles) == len(set(tiles))
        assert (state.player.x, state.player.y) not in tiles
        near = [max(abs(thing.x - state.player.x), abs(thing.y - state.player.y)) for thing in state.objects]
        scattered += max(near) <= NEAR_TILES[1] + 1
    assert scattered > 10


@pytest.mark.parametrize("number", range(15))
def test_the_game_goes_on_from_what_is_shown(number: int) -> None:
    core = random_scene(Random(number))
    show_evenly(core, Random(number))
    state = core.state
    assert len(state.inventory) == INVENTORY_SLOTS
    assert {stack.item for stack in [*state.inventory, *state.bank] if stack} <= RULES.items.keys()
    assert len({stack.item for stack in state.bank}) == len(state.bank)
    core.advance(5 * TICK_MS)
    assert (state.player.x, state.player.y) not in blocked_tiles(state)


def test_screens_to_look_on_are_mostly_asked_about_what_has_no_fixed_place() -> None:
    movable, fixed, blank = 0, 0, 0
    for index in range(40):
        sample = batches.look_sample(0, index)
        assert sample.state_text == ""
        assert sample.questions
        blank += not sample.things
        for question in sample.questions if sample.things else ():
            assert question.kind != CONDITIONAL
            for action in question.answer.actions:
                if hasattr(action, "x"):
                    looked = is_movable(sample.things, action.x, action.y)
                    movable, fixed = movable + looked, fixed + (not looked)
    assert movable > 2 * fixed > 0
    assert 1 <= blank <= 10


def test_a_screen_is_a_function_of_seed_and_index() -> None:
    (one, things), (again, same), (other, _) = (scenes.make_screen(1, index) for index in (4, 4, 5))
    assert (one == again).all()
    assert things == same
    assert (one != other).any()
