"""Moments of trips for sapphire rings: where a recording may begin, as a person's may begin anywhere.

Whoever has only seen trips from their start has seen neither the bag of someone who comes back, nor what to do when a
window was opened too early. So a trip scene is a seed's scene some way into a trip, and now and then after a mishap:
too few of something, a thing taken by mistake, a window open that is of no use.
"""

from __future__ import annotations

from random import Random

from vlm_agent.games.ringcraft.commands import count_items
from vlm_agent.games.ringcraft.config import RingcraftConfig
from vlm_agent.games.ringcraft.core import Ringcraft
from vlm_agent.games.ringcraft.plan import LOAD, PRODUCT
from vlm_agent.games.ringcraft.random_scenes import free_tile, put_player, set_walking, tile_beside, tiles_of_use
from vlm_agent.games.ringcraft.rules import RULES, level_of
from vlm_agent.games.ringcraft.scene import is_playable
from vlm_agent.games.ringcraft.state import INVENTORY_SLOTS, QUANTITIES, TICK_MS, Crafting, Mode, Stack, State

_MODES: tuple[Mode, ...] = ("none", "bank", "furnace", "levelup")
_MODE_WEIGHTS = (40, 32, 24, 4)
_BAGS = {"empty": 12, "rings": 20, "gold": 16, "sapphires": 6, "load": 24, "under way": 16, "wrong number": 6}
"""What is carried beside the mould, and how often of 100."""
_STRAY_SHARE = 0.07
"""How often something is carried that was taken by mistake."""
_AFIELD_SHARE = 0.3
"""How often someone with no window open stands away from bank and furnace."""
_AT_BANK_SHARE = 0.4
"""How often such a player stands at the bank, if not afield; else at the furnace."""
_WALKING_SHARE = 0.3
_CRAFTING_SHARE = 0.6
"""How often someone beside a furnace who carries a load has begun."""


def trip_scene(seed: int, config: RingcraftConfig | None = None) -> Ringcraft:
    """Return the seed's game at some moment of a trip; the same seed gives the same game."""
    rng = Random(f"trip {seed}")
    game = Ringcraft(seed, config)
    state = game.state
    _fill_bag(state, rng)
    state.mode = rng.choices(_MODES, _MODE_WEIGHTS)[0]
    _place_player(state, rng)
    _draw_settings(state, rng)
    _draw_activity(state, rng)
    # A first tick settles what follows from the above: chat, characters, the sliding between tiles.
    game.advance(TICK_MS)
    return game


def _fill_bag(state: State, rng: Random) -> None:
    items = _draw_bag(rng)
    if rng.random() < _STRAY_SHARE:
        stray = rng.choice([stack.item for stack in state.bank])
        items += [stray] * rng.choice((1, 1, 5, LOAD))
    mould = next((slot for slot, stack in enumerate(state.inventory) if stack is not None), None)
    slots: list[Stack | None] = [Stack(item) for item in items]
    if mould is not None:
        slots.insert(min(mould, len(slots)), state.inventory[mould])
    slots = slots[:INVENTORY_SLOTS]
    state.inventory = slots + [None] * (INVENTORY_SLOTS - len(slots))


def _draw_bag(rng: Random) -> list[str]:
    kind = rng.choices(list(_BAGS), list(_BAGS.values()))[0]
    done = rng.randint(1, LOAD)
    match kind:
        case "rings":
            return [PRODUCT] * (LOAD if rng.random() < 0.6 else done)
        case "gold":
            return ["gold_bar"] * LOAD
        case "sapphires":
            return ["sapphire"] * LOAD
        case "load":
            return ["gold_bar"] * LOAD + ["sapphire"] * LOAD
        case "under way":
            return [PRODUCT] * done + ["gold_bar"] * (LOAD - done) + ["sapphire"] * (LOAD - done)
        case "wrong number":
            return ["gold_bar"] * rng.choice((1, 5, 10)) + ["sapphire"] * rng.choice((0, 1, 5, LOAD))
    return []


def _place_player(state: State, rng: Random) -> None:
    is_afield = state.mode == "none" and rng.random() < _AFIELD_SHARE
    is_at_bank = state.mode == "bank" or (state.mode == "none" and rng.random() < _AT_BANK_SHARE)
    used = "bank_booth" if is_at_bank else "furnace"
    while True:
        put_player(state, free_tile(state, rng) if is_afield else tile_beside(state, rng, used))
        if is_playable(state):
            return


def _draw_settings(state: State, rng: Random) -> None:
    state.tab = "inventory" if rng.random() < 0.96 else rng.choice(("stats", "magic", "friends"))
    state.bank_quantity = "X" if rng.random() < 0.7 else rng.choice(QUANTITIES)
    state.furnace_quantity = "All" if rng.random() < 0.7 else rng.choice(QUANTITIES)
    if state.mode == "levelup":
        state.new_level = level_of(state.crafting_xp)
    carried = [slot for slot, stack in enumerate(state.inventory) if stack is not None]
    if carried and state.mode == "none" and rng.random() < 0.05:
        state.selected_slot = rng.choice(carried)


def _draw_activity(state: State, rng: Random) -> None:
    if state.mode != "none" or state.selected_slot >= 0:
        return
    num_rings = min(count_items(state, item) for item in RULES.product(PRODUCT).inputs)
    at_furnace = (state.player.x, state.player.y) in tiles_of_use(state, "furnace")
    if num_rings and count_items(state, "ring_mould") and at_furnace and rng.random() < _CRAFTING_SHARE:
        state.crafting = Crafting(PRODUCT, num_rings, rng.randint(1, RULES.ticks_per_product))
        state.player.animation = "smelt"
    elif rng.random() < _WALKING_SHARE:
        set_walking(state, rng, rng.choice(("bank_booth", "furnace")))
