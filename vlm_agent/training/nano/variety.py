"""Random scenes in which nothing is rare: what is hardly ever seen is never learnt."""

from __future__ import annotations

from itertools import count
from random import Random

from vlm_agent.games.ringcraft.core import Ringcraft
from vlm_agent.games.ringcraft.pathing import footprint
from vlm_agent.games.ringcraft.rules import RULES
from vlm_agent.games.ringcraft.state import INVENTORY_SLOTS, MAP_TILES, Stack, State
from vlm_agent.training.nano.samples import Thing
from vlm_agent.training.nano.things import words_of

FILL_SHARE, SCATTER_SHARE = 0.7, 0.9
"""Shares of the scenes in which bag and bank are filled anew, and in which all that stands in the world is near."""
QUANTITY_MAX = 900
"""Most of one item in the bank."""
NEAR_TILES = (4, 8)
"""Things are scattered so many tiles around the player, at least and at most, or a little further for want of room."""
_TRIES = 20
"""Tiles tried before things are put a tile further away."""

MOVABLE = frozenset(words_of(key) for key in (*RULES.items, *RULES.objects, *RULES.npcs))
"""Names of things that are somewhere else on every screen."""


def show_evenly(core: Ringcraft, rng: Random) -> None:
    """Fill bag and bank with anything, and scatter all objects and characters of the map around the player.

    On the map as it is most kinds of objects are in sight in an eighth of the scenes.
    """
    state = core.state
    if state.menu is not None:  # Its rows are about what lies under it.
        return
    if rng.random() < FILL_SHARE:
        _fill(state, rng)
    if state.mode == "none" and not state.crafting.product and rng.random() < SCATTER_SHARE:
        _scatter(state, rng)


def _fill(state: State, rng: Random) -> None:
    items = list(RULES.items)
    held = [Stack(item) for item in rng.choices(items, k=rng.randint(3, INVENTORY_SLOTS))]
    state.inventory = [*held, *[None] * (INVENTORY_SLOTS - len(held))]
    rng.shuffle(state.inventory)
    state.selected_slot = -1
    state.bank = [Stack(item, rng.randint(1, QUANTITY_MAX)) for item in rng.sample(items, rng.randint(4, len(items)))]


def _scatter(state: State, rng: Random) -> None:
    player, reach = state.player, rng.randint(*NEAR_TILES)
    player.path, player.trail, player.errand = [], [], None
    taken = {(player.x, player.y)}
    for thing in rng.sample(state.objects, len(state.objects)):
        for tried in count():
            thing.x, thing.y = _near(state, rng, reach + tried // _TRIES)
            if not taken & set(footprint(thing)):
                break
        taken |= set(footprint(thing))
    for npc in state.npcs:
        npc.x, npc.y = _near(state, rng, reach)
        npc.previous_x, npc.previous_y, npc.home_x, npc.home_y = npc.x, npc.y, npc.x, npc.y


def _near(state: State, rng: Random, reach: int) -> tuple[int, int]:
    """A tile near the player, away from the rim of the map: the largest things cover a few tiles more."""
    player, last = state.player, MAP_TILES - 5
    x, y = player.x + rng.randint(-reach, reach), player.y + rng.randint(-reach, reach)
    return min(max(x, 0), last), min(max(y, 0), last)


def is_movable(things: tuple[Thing, ...], x: int, y: int) -> bool:
    """Return whether a place, in thousandths, shows something that is somewhere else on every screen."""
    return any(thing.name in MOVABLE and thing.holds(x, y) for thing in things)
