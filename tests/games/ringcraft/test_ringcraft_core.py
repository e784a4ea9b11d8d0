from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import replace
from itertools import pairwise, product
from random import Random

import pytest
from ringcraft_presses import click, press, tap

from vlm_agent.actions.events import ButtonChanged, KeyChanged, PointerMoved, WheelTurned
from vlm_agent.errors import ConfigError, DataError
from vlm_agent.games.ringcraft.commands import INTERFACE_VERBS, WORLD_VERBS, count_items
from vlm_agent.games.ringcraft.config import RingcraftConfig
from vlm_agent.games.ringcraft.core import NS_PER_MS, Ringcraft
from vlm_agent.games.ringcraft.geometry import menu_row_rects, minimap_point, projection_of, tile_polygon
from vlm_agent.games.ringcraft.goals import GOALS
from vlm_agent.games.ringcraft.interface import hover_text, options_at
from vlm_agent.games.ringcraft.layout import LAYOUT
from vlm_agent.games.ringcraft.pathing import find_path, footprint, tiles_beside
from vlm_agent.games.ringcraft.rules import RULES, XP_OF_LEVEL, level_of
from vlm_agent.games.ringcraft.scene import beside_object, indices_of
from vlm_agent.games.ringcraft.state import Camera, GameObject, Player, Stack, State
from vlm_agent.games.ringcraft.targets import find_in_bank, reach_object

RING = next(index for index, made in enumerate(RULES.products) if made.key == "sapphire_ring")


def _bare_game() -> Ringcraft:
    """A furnace six tiles east of the player, a booth two tiles west, everything in view, nothing else about."""
    state = State(seed=0, rng=1, player=Player(20, 20), camera=Camera(0, 330, 300, 20.0, 20.0))
    state.objects = [GameObject("furnace", 26, 20), GameObject("bank_booth", 18, 20)]
    state.bank = [Stack("coal", 5), Stack("gold_bar", 100), Stack("sapphire", 100)]
    state.inventory[0] = Stack("ring_mould")
    state.crafting_xp = XP_OF_LEVEL[20] + 1
    return Ringcraft(0, state=state)


def _fill(game: Ringcraft, bars: int = 13, gems: int = 13) -> None:
    items = ["gold_bar"] * bars + ["sapphire"] * gems
    for slot, item in enumerate(items, start=1):
        game.state.inventory[slot] = Stack(item)


def _smelting_game() -> Ringcraft:
    game = _bare_game()
    _fill(game)
    game.state.player.x, game.state.player.y = beside_object(game.state, 0)[0]
    game.state.mode = "furnace"
    click(game, LAYOUT.furnace.cells[RING])
    assert game.state.crafting.product == "sapphire_ring"
    return game


def _tile_pixel(game: Ringcraft, x: int, y: int) -> tuple[int, int]:
    outline = tile_polygon(projection_of(game.state), x, y)
    assert outline is not None
    return int(sum(p[0] for p in outline) / 4), int(sum(p[1] for p in outline) / 4)


def _open_bank(game: Ringcraft) -> None:
    for _ in range(6):
        if game.state.mode == "bank":
            return
        press(game, reach_object(game.state, "bank_booth"))
    raise AssertionError("the bank did not open")


# --- clock and determinism


def test_same_seed_and_input_give_the_same_states():
    def run() -> list[str]:
        game, rng, hashes = Ringcraft(11), Random(5), []
        for _ in range(60):
            click(game, (rng.randrange(765), rng.randrange(503)), rng.choice(("left", "left", "right")))
            tap(game, rng.choice(("left", "up", "escape", "space")))
            hashes.append(game.hash())
        return hashes

    first = run()
    assert first == run()
    assert len(set(first)) == len(first)


def test_a_restored_game_goes_on_as_the_original_would_have():
    game = Ringcraft(12)
    rng = Random(1)
    for _ in range(10):
        click(game, (rng.randrange(765), rng.randrange(503)), wait_ms=340)
    # A release that is still to come belongs to the moment too.
    game.feed([KeyChanged(game.now_ns, "left", True), KeyChanged(game.now_ns + 200 * NS_PER_MS, "left", False)])
    game.advance(100)
    snapshot = json.loads(json.dumps(game.snapshot()))
    game.advance(3000)
    expected = game.hash()
    other = Ringcraft(99)
    other.restore(snapshot)
    other.advance(3000)
    assert other.hash() == expected


def test_time_in_small_steps_is_time_in_one_step():
    coarse, fine = Ringcraft(3), Ringcraft(3)
    for game in (coarse, fine):
        game.feed([PointerMoved(0, 300, 200), ButtonChanged(130 * NS_PER_MS, 300, 200, "left", True)])
    coarse.advance(1800)
    for _ in range(90):
        fine.advance(20)
    assert coarse.hash() == fine.hash()


def test_events_are_read_on_the_client_tick_that_reaches_them():
    game = _bare_game()
    game.feed([PointerMoved(50 * NS_PER_MS, 100, 100)])
    game.advance(40)
    assert game.state.pointer.x == 0
    game.advance(20)
    assert game.state.pointer.x == 100
    # An event at the very end of a client tick is read in it, one a nanosecond later in the next.
    game.feed([PointerMoved(80 * NS_PER_MS + 1, 300, 300), PointerMoved(80 * NS_PER_MS, 200, 200)])
    game.advance(20)
    assert game.state.pointer.x == 200
    game.advance(20)
    assert game.state.pointer.x == 300


@pytest.mark.parametrize("ms", [0, -20, 30, 601])
def test_time_passes_in_client_ticks_only(ms):
    with pytest.raises(ConfigError, match="multiple of 20"):
        Ringcraft(0).advance(ms)


def test_a_snapshot_of_something_else_is_refused():
    for value in ({}, {"state": {}, "pending": []}, {"state": {}, "pending": [{"kind": "Nothing", "fields": {}}]}):
        with pytest.raises(DataError, match="snapshot"):
            Ringcraft(0).restore(value)


# --- walking


def test_running_covers_two_tiles_a_tick_and_walking_one():
    for is_running, per_tick in ((True, 2), (False, 1)):
        game = _bare_game()
        game.state.player.is_running = is_running
        click(game, _tile_pixel(game, 20, 24))
        assert (game.state.player.x, game.state.player.y) == (20, 20 + per_tick)
        game.advance(600)
        assert (game.state.player.x, game.state.player.y) == (20, 20 + 2 * per_tick)


def test_the_world_stands_still_between_ticks():
    game = _bare_game()
    click(game, _tile_pixel(game, 20, 24), wait_ms=580)
    assert (game.state.player.x, game.state.player.y) == (20, 20)
    game.advance(20)
    assert (game.state.player.x, game.state.player.y) == (20, 22)


def test_an_object_is_used_the_tick_after_arrival():
    game = _bare_game()
    press(game, reach_object(game.state, "furnace"))
    while game.state.player.path:
        assert game.state.mode == "none"
        game.advance(600)
    assert (game.state.player.x, game.state.player.y) in tiles_beside(footprint(game.state.objects[0]))
    assert game.state.mode == "none"
    game.advance(600)
    assert game.state.mode == "furnace"


def test_the_minimap_walks_too():
    game = _bare_game()
    point = minimap_point(game.state, 20, 30)
    assert point is not None
    click(game, (round(point[0]), round(point[1])))
    game.advance(6000)
    assert (game.state.player.x, game.state.player.y) == (20, 30)


def test_ways_are_shortest_and_cut_no_corners():
    wall = {(5, y) for y in range(0, 10)}
    path = find_path((3, 5), {(7, 5)}, wall)
    assert path[-1] == (7, 5)
    assert not set(path) & wall
    for (x, y), (next_x, next_y) in zip([(3, 5), *path], path, strict=False):
        assert max(abs(next_x - x), abs(next_y - y)) == 1
        assert (next_x, y) not in wall
        assert (x, next_y) not in wall
    assert len(find_path((0, 0), {(5, 3)}, set())) == 5


def test_a_walk_to_a_walled_in_place_ends_as_near_as_can_be():
    wall = {(10 + dx, 10 + dy) for dx in (-1, 0, 1) for dy in (-1, 0, 1)} - {(10, 10)}
    path = find_path((3, 10), {(10, 10)}, wall)
    assert path[-1] == (8, 10)


# --- bank


def test_withdrawing_takes_the_chosen_quantity_on_the_tick():
    for quantity, expected in (("1", 1), ("5", 5), ("10", 10), ("X", 13), ("All", 27)):
        game = _bare_game()
        _open_bank(game)
        click(game, LAYOUT.bank.quantities[quantity], wait_ms=20)
        click(game, LAYOUT.bank.cells[1], wait_ms=100)
        assert count_items(game.state, "gold_bar") == 0
        game.advance(600)
        assert count_items(game.state, "gold_bar") == expected
        assert game.state.bank[1].quantity == 100 - expected


def test_orders_keep_their_sequence_when_the_window_closes_first():
    game = _bare_game()
    _open_bank(game)
    click(game, LAYOUT.bank.quantities["5"], wait_ms=40)
    click(game, LAYOUT.bank.cells[0], wait_ms=40)  # all the coal: the other stacks move up by one cell
    click(game, LAYOUT.bank.cells[1], wait_ms=40)
    click(game, LAYOUT.bank.close, wait_ms=40)
    assert game.state.mode == "none"
    game.advance(600)
    assert count_items(game.state, "coal") == 5
    assert count_items(game.state, "gold_bar") == 5


def test_depositing_by_quantity_and_all_at_once():
    game = _bare_game()
    _fill(game)
    _open_bank(game)
    game.state.bank_quantity = "10"
    click(game, LAYOUT.inventory[1])
    assert count_items(game.state, "gold_bar") == 3
    click(game, LAYOUT.bank.deposit_inventory)
    assert not any(game.state.inventory)
    assert {stack.item: stack.quantity for stack in game.state.bank}["gold_bar"] == 113
    assert find_in_bank(game.state, "ring_mould") is not None, "depositing all takes the mould too"


def test_a_full_inventory_takes_no_more():
    game = _bare_game()
    _open_bank(game)
    game.state.bank_quantity = "All"
    click(game, LAYOUT.bank.cells[1])
    click(game, LAYOUT.bank.cells[2])
    assert count_items(game.state, "sapphire") == 0
    assert "enough room" in game.state.chat[-1]


@pytest.mark.parametrize("window", ["bank", "furnace"])
def test_windows_close_by_their_x_and_by_escape(window):
    rect = {"bank": LAYOUT.bank.close, "furnace": LAYOUT.furnace.close}[window]
    for by_key in (False, True):
        game = _bare_game()
        game.state.mode = window
        if by_key:
            tap(game, "escape")
        else:
            click(game, rect)
        assert game.state.mode == "none"


def test_nothing_behind_a_window_can_be_clicked():
    game = _bare_game()
    game.state.mode = "bank"
    behind = _tile_pixel(game, 20, 22)
    assert LAYOUT.bank.window.contains(*behind)
    click(game, behind)
    assert game.state.player.path == []
    assert game.state.mode == "bank"


# --- furnace


def test_a_ring_takes_three_ticks_and_gives_its_experience():
    game = _smelting_game()
    xp = game.state.crafting_xp
    game.advance(2 * 600)
    assert count_items(game.state, "sapphire_ring") == 0
    game.advance(600)
    assert count_items(game.state, "sapphire_ring") == 1
    assert game.state.crafting_xp == xp + 40
    assert (count_items(game.state, "gold_bar"), count_items(game.state, "sapphire")) == (12, 12)
    assert count_items(game.state, "ring_mould") == 1
    assert game.state.chat[-1] == "You make a sapphire ring."


def test_a_load_of_thirteen_ends_with_word_of_it():
    game = _smelting_game()
    game.advance(39 * 600)
    assert game.state.rings_made == 13
    assert game.state.crafting.product == ""
    assert game.state.chat[-1] == "You have run out of materials."


@pytest.mark.parametrize(("quantity", "made"), [("1", 1), ("5", 5), ("X", 13)])
def test_the_quantity_of_the_furnace_is_kept_to(quantity, made):
    game = _bare_game()
    _fill(game)
    game.state.crafting_xp = XP_OF_LEVEL[60]
    game.state.mode = "furnace"
    click(game, LAYOUT.furnace.quantities[quantity])
    click(game, LAYOUT.furnace.cells[RING])
    game.advance(60 * 600)
    assert game.state.rings_made == made


@pytest.mark.parametrize(
    ("remove", "level", "says"),
    [
        ("ring_mould", 20, "ring mould"),
        ("gold_bar", 20, "gold bar"),
        ("sapphire", 20, "sapphire"),
        ("", 19, "level of 20"),
    ],
)
def test_making_needs_level_mould_and_materials(remove, level, says):
    game = _bare_game()
    _fill(game)
    game.state.inventory = [stack if stack and stack.item != remove else None for stack in game.state.inventory]
    game.state.crafting_xp = XP_OF_LEVEL[level]
    game.state.mode = "furnace"
    click(game, LAYOUT.furnace.cells[RING])
    assert game.state.crafting.product == ""
    assert says in game.state.chat[-1]


def test_walking_ends_the_job():
    game = _smelting_game()
    game.advance(4 * 600)
    click(game, LAYOUT.minimap)
    game.advance(20 * 600)
    assert game.state.rings_made == 1
    assert game.state.crafting.product == ""


def test_using_the_furnace_again_ends_the_job():
    game = _smelting_game()
    press(game, reach_object(game.state, "furnace"))
    game.advance(600)
    assert game.state.mode == "furnace"
    assert game.state.crafting.product == ""


@pytest.mark.parametrize("how", ["space", "click"])
def test_a_new_level_interrupts_and_crafting_does_not_go_on_by_itself(how):
    game = _smelting_game()
    game.state.crafting_xp = XP_OF_LEVEL[21] - 50
    game.advance(6 * 600)
    assert game.state.mode == "levelup"
    assert game.state.new_level == 21 == level_of(game.state.crafting_xp)
    assert "level is now 21" in game.state.chat[-1]
    if how == "space":
        tap(game, "space")
    else:
        click(game, LAYOUT.dialog_continue)
    assert game.state.mode == "none"
    game.advance(20 * 600)
    assert game.state.rings_made == 2


# --- pointer, menu, camera


def test_hover_text_names_what_a_left_click_does():
    game = _bare_game()
    rect = reach_object(game.state, "furnace").rect
    assert rect is not None
    game.feed([PointerMoved(0, *rect.centre)])
    game.advance(20)
    assert hover_text(game.state) == "Smelt Furnace / 2 more options"
    game.state.mode = "bank"
    game.feed([PointerMoved(0, *LAYOUT.bank.cells[1].centre)])
    game.advance(20)
    assert hover_text(game.state).startswith("Withdraw-1 Gold bar / ")


def test_the_menu_lists_and_carries_out_every_option():
    game = _bare_game()
    _open_bank(game)
    click(game, LAYOUT.bank.cells[1], "right", wait_ms=100)
    menu = game.state.menu
    assert menu is not None
    texts = [option.text for option in menu.options]
    assert texts == ["Withdraw-1", "Withdraw-5", "Withdraw-10", "Withdraw-13", "Withdraw-All", "Examine", "Cancel"]
    click(game, menu_row_rects(menu)[texts.index("Withdraw-10")])
    assert game.state.menu is None
    assert count_items(game.state, "gold_bar") == 10


def test_the_menu_closes_when_the_pointer_leaves_or_escape_is_pressed():
    for by_key in (False, True):
        game = _bare_game()
        click(game, _tile_pixel(game, 20, 22), "right", wait_ms=20)
        assert game.state.menu is not None
        if by_key:
            tap(game, "escape")
        else:
            game.feed([PointerMoved(game.now_ns, 700, 480)])
            game.advance(20)
        assert game.state.menu is None


def test_a_click_beside_the_open_menu_does_nothing_but_close_it():
    game = _bare_game()
    click(game, _tile_pixel(game, 20, 22), "right", wait_ms=20)
    menu = game.state.menu
    assert menu is not None
    click(game, (menu.x - 5, menu.y + 5))
    assert game.state.menu is None
    assert game.state.player.path == []


def test_every_option_offered_anywhere_can_be_carried_out():
    verbs: set[str] = set()
    for mode in ("none", "bank", "furnace", "levelup"):
        shown = replace(_bare_game().state, mode=mode)
        for x, y in product(range(2, 765, 14), range(2, 503, 14)):
            for option in options_at(shown, x, y):
                if option.verb in verbs:
                    continue
                verbs.add(option.verb)
                game = Ringcraft(0, state=deepcopy(shown))
                click(game, (x, y), "right", wait_ms=20)
                menu = game.state.menu
                assert menu is not None
                click(game, menu_row_rects(menu)[menu.options.index(option)], wait_ms=20)
                assert game.state.interaction.action == option.text
                game.advance(600)
    assert verbs == (set(WORLD_VERBS) | set(INTERFACE_VERBS)) - {"talk"}


@pytest.mark.parametrize(
    ("key", "axis", "sign"), [("left", "yaw", 1), ("right", "yaw", -1), ("up", "pitch", 1), ("down", "pitch", -1)]
)
def test_arrow_keys_turn_the_camera_while_held_and_it_comes_to_rest(key, axis, sign):
    game = _bare_game()
    game.state.camera.yaw, game.state.camera.pitch = 1000, 280
    start = getattr(game.state.camera, axis)
    game.feed([KeyChanged(0, key, True)])
    game.advance(100)
    after_100_ms = getattr(game.state.camera, axis)
    game.advance(100)
    after_200_ms = getattr(game.state.camera, axis)
    assert sign * (after_200_ms - after_100_ms) > 0 < sign * (after_100_ms - start)
    game.feed([KeyChanged(game.now_ns, key, False)])
    game.advance(400)
    rest = getattr(game.state.camera, axis)
    game.advance(400)
    assert getattr(game.state.camera, axis) == rest
    assert sign * (rest - after_200_ms) >= 0


def test_dragging_with_the_middle_button_turns_and_the_wheel_zooms():
    game = _bare_game()
    yaw, pitch, zoom = game.state.camera.yaw, game.state.camera.pitch, game.state.camera.zoom
    game.feed(
        [
            ButtonChanged(0, 200, 200, "middle", True),
            PointerMoved(1, 230, 190),
            ButtonChanged(2, 230, 190, "middle", False),
            PointerMoved(3, 300, 300),
            WheelTurned(4, 300, 300, 0, 2),
        ]
    )
    game.advance(1000)
    camera = game.state.camera
    assert (camera.yaw, camera.pitch) == (yaw + 60, pitch - 10)
    assert camera.zoom == zoom + 60


def test_the_camera_follows_the_player_smoothly():
    game = _bare_game()
    click(game, _tile_pixel(game, 20, 24))
    seen = []
    for _ in range(60):
        game.advance(20)
        seen.append(game.state.camera.focus_y)
    assert all(0 <= after - before < 0.3 for before, after in pairwise(seen))
    game.advance(3000)
    assert game.state.camera.focus_y == game.state.player.y == 24


# --- the whole trip


def test_a_quick_player_makes_a_trip_of_thirteen_rings_in_well_under_a_minute():
    game = Ringcraft(5)
    game.state.crafting_xp = XP_OF_LEVEL[40]
    for _ in range(150):
        press(game, GOALS["craft sapphire rings"].target(game.state))
        if game.state.rings_made >= 26:
            break
    first_trips_ms = game.state.now_ms
    assert game.state.rings_made >= 26
    assert 2 * 13 * 1800 < first_trips_ms < 2 * 45_000


def test_bank_and_furnace_are_the_distance_apart_that_was_asked_for():
    config = RingcraftConfig()
    for seed in range(30):
        state = Ringcraft(seed, config).state
        booth, furnace = (state.objects[indices_of(state, kind)[0]] for kind in ("bank_booth", "furnace"))
        distance = ((booth.x - furnace.x) ** 2 + (booth.y - furnace.y) ** 2) ** 0.5
        # Both stand on whole tiles: each axis is rounded by up to half a tile.
        assert config.distance_min_tiles - 1 <= distance <= config.distance_max_tiles + 1


def test_a_given_state_is_played_on_and_not_copied():
    state = deepcopy(_bare_game().state)
    game = Ringcraft(0, state=state)
    game.advance(600)
    assert state.tick == 1
