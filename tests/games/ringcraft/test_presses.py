"""A wasted press is one that the game would be the same without."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ringcraft_presses import click, tap

from vlm_agent.actions.events import ButtonChanged, KeyChanged
from vlm_agent.actions.types import ActionChunk, Click, Key
from vlm_agent.games.ringcraft.core import Ringcraft
from vlm_agent.games.ringcraft.env import RingcraftEnv
from vlm_agent.games.ringcraft.geometry import menu_row_rects
from vlm_agent.games.ringcraft.layout import LAYOUT
from vlm_agent.games.ringcraft.random_scenes import random_scene
from vlm_agent.games.ringcraft.rules import RULES, XP_OF_LEVEL
from vlm_agent.games.ringcraft.scene import beside_object
from vlm_agent.games.ringcraft.sight import reachable_rect
from vlm_agent.games.ringcraft.state import Camera, GameObject, Player, Stack, State

RING = next(index for index, made in enumerate(RULES.products) if made.key == "sapphire_ring")
FURNACE, BOOTH = 0, 1
OPTIONS_TAB = LAYOUT.tabs["stats"]


def make_game(mode: str = "none", **carried: int) -> Ringcraft:
    """A furnace six tiles east of the player, a booth two tiles west, everything in view, nothing else about."""
    state = State(seed=0, rng=1, player=Player(20, 20), camera=Camera(0, 330, 300, 20.0, 20.0))
    state.objects = [GameObject("furnace", 26, 20), GameObject("bank_booth", 18, 20)]
    state.bank = [Stack("coal", 5), Stack("gold_bar", 100), Stack("sapphire", 100)]
    items = ["ring_mould", *(item for item, count in carried.items() for _ in range(count))]
    state.inventory[: len(items)] = [Stack(item) for item in items]
    state.crafting_xp = XP_OF_LEVEL[20] + 1
    state.mode = mode
    return Ringcraft(0, state=state)


def count(game: Ringcraft) -> tuple[int, int]:
    return game.state.num_presses, game.state.num_wasted_presses


def on_furnace(game: Ringcraft) -> tuple[int, int]:
    rect = reachable_rect(game.state, FURNACE)
    assert rect is not None
    return rect.centre


def test_what_hits_nothing_is_wasted():
    game = make_game()
    click(game, (5, 4))
    click(game, LAYOUT.inventory[20])
    click(game, next(rect for name, rect in LAYOUT.orbs.items() if name != "run"))
    click(game, LAYOUT.inventory[20], "right")
    assert count(game) == (4, 4)


def test_what_can_not_be_done_now_is_wasted():
    game = make_game("bank", gold_bar=27)
    click(game, LAYOUT.bank.cells[1])
    assert game.state.chat == ["You don't have enough room to carry that many."]
    assert count(game) == (1, 1)
    game = make_game("furnace", gold_bar=13)
    click(game, LAYOUT.furnace.cells[RING])
    assert (count(game), game.state.crafting.product) == ((1, 1), "")
    game = make_game()
    tap(game, "escape")
    tap(game, "space")
    assert count(game) == (2, 2)


def test_what_is_so_already_is_wasted():
    game = make_game("bank")
    click(game, LAYOUT.tabs["inventory"])
    click(game, LAYOUT.bank.quantities[game.state.bank_quantity])
    assert count(game) == (2, 2)
    click(game, LAYOUT.bank.quantities["5"])
    click(game, OPTIONS_TAB)
    assert count(game) == (4, 2)


def test_an_order_given_again_while_it_is_carried_out_is_wasted():
    game = make_game(gold_bar=13, sapphire=13)
    for _ in range(3):
        click(game, on_furnace(game))
    assert game.state.player.errand is not None
    assert count(game) == (3, 2)
    # Another order is none given again, and nor is the first one then.
    rect = reachable_rect(game.state, BOOTH)
    assert rect is not None
    click(game, rect)
    click(game, on_furnace(game))
    assert count(game) == (5, 2)


def test_twice_within_a_tick_is_twice_heard_only_where_that_means_more():
    game = make_game("bank")
    game.state.bank_quantity = "5"
    for _ in range(2):
        click(game, LAYOUT.bank.cells[1], wait_ms=200)
    assert count(game) == (2, 0)
    game = make_game("furnace", gold_bar=13, sapphire=13)
    for _ in range(2):
        click(game, LAYOUT.furnace.cells[RING], wait_ms=200)
    assert count(game) == (2, 1)


def test_looking_north_is_wasted_where_north_is_ahead():
    game = make_game()
    click(game, LAYOUT.compass)
    assert count(game) == (1, 1)
    tap(game, "left")
    click(game, LAYOUT.compass)
    assert (count(game), game.state.camera.yaw) == ((3, 1), 0)


def test_a_press_that_does_harm_is_not_wasted():
    game = make_game("furnace", gold_bar=13, sapphire=13)
    click(game, LAYOUT.furnace.cells[RING])
    game.state.player.x, game.state.player.y = beside_object(game.state, FURNACE)[0]
    rect = reachable_rect(game.state, BOOTH)
    assert rect is not None
    click(game, rect)
    assert game.state.crafting.product == ""
    assert count(game) == (2, 0)


def test_a_key_that_repeats_and_releases_are_no_presses():
    game = make_game("bank")
    game.feed([KeyChanged(0, "escape", True), KeyChanged(5, "escape", True), KeyChanged(9, "escape", False)])
    game.feed([ButtonChanged(10, 5, 5, "left", False)])
    game.advance(600)
    assert count(game) == (1, 0)


def _press(game: Ringcraft, point: tuple[int, int], key: str | None) -> None:
    if key is None:
        click(game, point, wait_ms=600)
    else:
        tap(game, key)


@settings(max_examples=40)
@given(seed=st.integers(0, 500), x=st.integers(0, 764), y=st.integers(0, 502), key=st.sampled_from([None, "escape"]))
def test_after_a_wasted_press_play_goes_on_as_without_it(seed, x, y, key):
    pressed, left_alone = (random_scene(Random(seed)) for _ in range(2))
    pressed.state.menu = left_alone.state.menu = None
    before = count(pressed)
    _press(pressed, (x, y), key)
    left_alone.advance(600)
    if count(pressed) == (before[0] + 1, before[1] + 1):
        for game in (pressed, left_alone):
            game.advance(1200)
        assert _outline(pressed.state) == _outline(left_alone.state)


def _outline(state: State) -> tuple[object, ...]:
    # Where a walk is under way, equally short ways may differ in the middle, never in where they end.
    player = state.player
    place = player.path[-1] if player.path else (player.x, player.y)
    return place, state.inventory, state.bank, state.mode, state.tab, state.rings_made, state.crafting, state.camera.yaw


def test_the_environment_counts_from_its_reset():
    env = RingcraftEnv(max_ticks=10)
    waste = ActionChunk((Click(0, 5, 4), Key(100, "space")))
    _, info = env.reset(seed=1)
    assert (info["num_presses"], info["num_wasted_presses"]) == (0, 0)
    *_, info = env.step(waste)
    assert (info["num_presses"], info["num_wasted_presses"]) == (2, 2)
    snapshot = env.snapshot()
    *_, info = env.step(waste)
    assert info["num_wasted_presses"] == 4
    env.restore(snapshot)
    *_, info = env.step(ActionChunk())
    assert info["num_wasted_presses"] == 2
    _, info = env.reset(seed=1)
    assert info["num_presses"] == 0


@pytest.mark.parametrize("mode", ["bank", "furnace"])
def test_closing_a_window_is_heard(mode):
    game = make_game(mode)
    tap(game, "escape")
    assert (count(game), game.state.mode) == ((1, 0), "none")


def test_opening_a_menu_is_heard_and_its_options_are_as_without_it():
    game = make_game()
    click(game, LAYOUT.inventory[0], "right")
    assert count(game) == (1, 0)
    assert game.state.menu is not None
    examine = next(row for row, option in enumerate(game.state.menu.options) if option.verb == "examine")
    click(game, menu_row_rects(game.state.menu)[examine])
    # It closed the menu, and that was a change.
    assert count(game) == (2, 0)
