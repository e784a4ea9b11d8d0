"""One world tick: crafting, commands, walking, errands and wandering, in that order."""

from __future__ import annotations

from math import atan2, pi

from vlm_agent.games.ringcraft.commands import (
    carry_out_queued,
    close_window,
    count_items,
    give_items,
    lacking,
    say,
    stop_crafting,
    take_items,
    walk_to_npc,
)
from vlm_agent.games.ringcraft.pathing import blocked_tiles, footprint, tiles_beside
from vlm_agent.games.ringcraft.rules import RULES, level_of
from vlm_agent.games.ringcraft.state import FULL_TURN, MAP_TILES, Npc, State

_MASK = (1 << 64) - 1


def run_world_tick(state: State) -> None:
    """Advance the world by one tick; the clock is the caller's."""
    player = state.player
    player.trail = []
    # Crafting comes before the commands: a job begun in this tick spends its first tick in the next.
    _craft(state)
    carry_out_queued(state)
    if player.path:
        _walk(state)
    else:
        if player.animation in ("walk", "run"):
            player.animation = "idle"
        if player.errand is not None:
            _arrive(state)
    _wander(state)


def next_random(state: State) -> float:
    """Return the next number 0 <= r < 1 of the game's own generator (splitmix64), whose state is plain data."""
    state.rng = (state.rng + 0x9E3779B97F4A7C15) & _MASK
    mixed = state.rng
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
    return ((mixed ^ (mixed >> 31)) >> 11) / (1 << 53)


def direction(dx: float, dy: float) -> int:
    """Return the facing of a step: 0 north, growing to the west."""
    return round(atan2(-dx, dy) * FULL_TURN / (2 * pi)) % FULL_TURN


def _walk(state: State) -> None:
    player = state.player
    count = 2 if player.is_running else 1
    steps, player.path = player.path[:count], player.path[count:]
    player.trail = [(player.x, player.y), *steps]
    before = player.trail[-2]
    player.x, player.y = steps[-1]
    player.facing = direction(player.x - before[0], player.y - before[1])
    player.animation = "run" if player.is_running else "walk"


def _arrive(state: State) -> None:
    player, errand = state.player, state.player.errand
    if errand is None:
        return
    player.errand = None
    if errand.verb == "talk":
        _talk(state, errand.index)
        return
    thing = state.objects[errand.index]
    kind = RULES.objects[thing.kind]
    player.facing = direction(thing.x + kind.width / 2 - player.x - 0.5, thing.y + kind.depth / 2 - player.y - 0.5)
    if (player.x, player.y) not in tiles_beside(footprint(thing)):
        say(state, "I can't reach that!")
        return
    if thing.kind == "bank_booth" and errand.option == "Bank":
        state.mode = "bank"
    elif thing.kind == "furnace":
        state.mode = "furnace"
    else:
        say(state, RULES.answers.get(errand.option, "Nothing interesting happens."))


def _talk(state: State, index: int) -> None:
    npc, player = state.npcs[index], state.player
    if (player.x, player.y) not in tiles_beside([(npc.x, npc.y)]):
        walk_to_npc(state, index)
        if player.path:
            return
        player.errand = None
    player.facing = direction(npc.x - player.x, npc.y - player.y)
    say(state, f"{RULES.npcs[npc.kind].name}: Fine weather today.")


def _craft(state: State) -> None:
    job = state.crafting
    if not job.product:
        return
    job.ticks_to_next -= 1
    if job.ticks_to_next == 0:
        _finish_one(state)


def _finish_one(state: State) -> None:
    job = state.crafting
    product = RULES.product(job.product)
    for item in product.inputs:
        take_items(state, item, 1)
    give_items(state, product.key, 1)
    say(state, f"You make a {RULES.items[product.key].name.lower()}.")
    state.rings_made += product.is_ring
    level = level_of(state.crafting_xp)
    state.crafting_xp += product.xp
    state.last_xp, state.last_xp_tick = product.xp, state.tick
    job.remaining -= 1
    job.ticks_to_next = RULES.ticks_per_product
    if level_of(state.crafting_xp) > level:
        level_up(state)
    elif any(not count_items(state, item) for item in product.inputs):
        if job.remaining:
            say(state, "You have run out of materials.")
        stop_crafting(state)
    elif not job.remaining or lacking(state, RULES.products.index(product)):
        stop_crafting(state)


def level_up(state: State) -> None:
    """Open the dialog that tells of the level reached; what was being made is no longer made."""
    stop_crafting(state)
    close_window(state)
    state.mode = "levelup"
    state.new_level = level_of(state.crafting_xp)
    say(state, f"Congratulations, your Crafting level is now {state.new_level}.")


def _wander(state: State) -> None:
    blocked: set[tuple[int, int]] | None = None
    for npc in state.npcs:
        npc.previous_x, npc.previous_y = npc.x, npc.y
        if next_random(state) >= RULES.npc_step_chance:
            continue
        blocked = blocked if blocked is not None else blocked_tiles(state)
        dx, dy = ((1, 0), (-1, 0), (0, 1), (0, -1))[int(next_random(state) * 4)]
        if _may_step(npc, npc.x + dx, npc.y + dy, blocked):
            npc.x, npc.y = npc.x + dx, npc.y + dy


def _may_step(npc: Npc, x: int, y: int, blocked: set[tuple[int, int]]) -> bool:
    roam = RULES.npc_roam_tiles
    near = abs(x - npc.home_x) <= roam and abs(y - npc.home_y) <= roam
    return near and 0 <= x < MAP_TILES and 0 <= y < MAP_TILES and (x, y) not in blocked
