"""Random scenes in which nothing is rare: what is hardly ever seen is never learnt."""

from __future__ import annotations

from random import Random

from vlm_agent.games.ringcraft.core import Ringcraft
from vlm_agent.games.ringcraft.random_scenes import put_player, tiles_of_use
from vlm_agent.games.ringcraft.rules import RULES
from vlm_agent.games.ringcraft.state import INVENTORY_SLOTS, Stack, State
from vlm_agent.training.nano.samples import Thing
from vlm_agent.training.nano.things import words_of

FILL_SHARE, PLACE_SHARE = 0.7, 0.7
"""Shares of the scenes in which bag and bank are filled anew, and in which the player is put beside something."""
QUANTITY_MAX = 900
"""Most of one item in the bank."""
_NEAR_TILES = 3

MOVABLE = frozenset(words_of(key) for key in (*RULES.items, *RULES.objects, *RULES.npcs))
"""Names of things that are somewhere else on every screen."""


def show_evenly(core: Ringcraft, rng: Random) -> None:
    """Fill bag and bank with anything, and put the player beside anything, each as often as everything else."""
    state = core.state
    if state.menu is not None:  # Its rows are about what lies under it.
        return
    if rng.random() < FILL_SHARE:
        _fill(state, rng)
    if state.mode == "none" and rng.random() < PLACE_SHARE:
        _place(state, rng)


def _fill(state: State, rng: Random) -> None:
    items = list(RULES.items)
    held = [Stack(item) for item in rng.choices(items, k=rng.randint(3, INVENTORY_SLOTS))]
    state.inventory = [*held, *[None] * (INVENTORY_SLOTS - len(held))]
    rng.shuffle(state.inventory)
    state.selected_slot = -1
    state.bank = [Stack(item, rng.randint(1, QUANTITY_MAX)) for item in rng.sample(items, rng.randint(4, len(items)))]


def _place(state: State, rng: Random) -> None:
    kind = rng.choice(sorted({thing.kind for thing in state.objects} | {npc.kind for npc in state.npcs}))
    tiles = tiles_of_use(state, kind) or {
        (npc.x + rng.randint(-_NEAR_TILES, _NEAR_TILES), npc.y - rng.randint(1, _NEAR_TILES))
        for npc in state.npcs
        if npc.kind == kind
    }
    if tiles:
        state.player.path, state.player.trail, state.player.errand = [], [], None
        put_player(state, rng.choice(sorted(tiles)))


def is_movable(things: tuple[Thing, ...], x: int, y: int) -> bool:
    """Return whether a place, in thousandths, shows something that is somewhere else on every screen."""
    return any(thing.name in MOVABLE and thing.holds(x, y) for thing in things)
