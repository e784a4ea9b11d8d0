"""Turning a seed into the scene a game begins with: where things stand, what the bank holds, how it looks.

Bank, furnace, start tile, camera, bank order, quantities, experience, skin and brightness differ from seed to seed, and
other objects stand about, so that nothing but looking tells where to click.
"""

from __future__ import annotations

from math import cos, pi, sin
from random import Random

from vlm_agent.games.ringcraft.config import RingcraftConfig
from vlm_agent.games.ringcraft.pathing import Tile, blocked_tiles, find_path, footprint, tiles_beside
from vlm_agent.games.ringcraft.rules import RULES, XP_OF_LEVEL
from vlm_agent.games.ringcraft.state import (
    FULL_TURN,
    MAP_TILES,
    Camera,
    Floor,
    GameObject,
    Npc,
    Player,
    Quantity,
    Skin,
    Stack,
    State,
)

SKINS = 4
"""Colour schemes of the panels, and of the ground."""
START_PITCH_MIN, START_PITCH_MAX = 250, 370
LEVEL_MIN, LEVEL_MAX = 20, 45
_DISTRACTORS = ("tree", "tree", "tree", "crate", "anvil", "range", "well", "barrel", "rocks", "statue")
_CLEARANCE_TILES = {"tree": 3, "statue": 3}
"""Tall things keep further from bank and furnace, so that they don't hide them."""
_STAPLES = ("gold_bar", "sapphire", "ring_mould")


def make_scene(seed: int, config: RingcraftConfig) -> State:
    """Return the state that the game of a seed begins with."""
    rng = Random(f"ringcraft {seed}")
    while True:
        state = _furnish(seed, rng, config)
        if is_playable(state):
            break
    _stock(state, rng, config)
    state.crafting_xp = rng.randrange(XP_OF_LEVEL[LEVEL_MIN], XP_OF_LEVEL[rng.randint(LEVEL_MIN + 1, LEVEL_MAX)])
    state.chat = ["Welcome to Ringcraft."]
    state.skin = Skin(rng.randrange(SKINS), rng.randrange(SKINS), round(rng.uniform(0.8, 1.2), 3))
    return state


def is_playable(state: State) -> bool:
    """Tell whether the player can reach a bank booth and a furnace."""
    start, blocked = (state.player.x, state.player.y), blocked_tiles(state)
    kinds = ("bank_booth", "furnace")
    return start not in blocked and all(_is_reachable(state, kind, start, blocked) for kind in kinds)


def beside_object(state: State, index: int) -> list[Tile]:
    """Return the free tiles from which an object can be used, in a fixed order."""
    return sorted(tiles_beside(footprint(state.objects[index])) - blocked_tiles(state))


def indices_of(state: State, kind: str) -> list[int]:
    """Return the indices of all objects of a kind."""
    return [index for index, thing in enumerate(state.objects) if thing.kind == kind]


def _is_reachable(state: State, kind: str, start: Tile, blocked: set[Tile]) -> bool:
    goals = {tile for index in indices_of(state, kind) for tile in beside_object(state, index)}
    path = find_path(start, goals, blocked)
    return start in goals or bool(path and path[-1] in goals)


def _furnish(seed: int, rng: Random, config: RingcraftConfig) -> State:
    middle = MAP_TILES // 2
    bank = (middle + rng.randint(-5, 5), middle + rng.randint(-5, 5))
    angle, distance = rng.uniform(0, 2 * pi), rng.uniform(config.distance_min_tiles, config.distance_max_tiles)
    furnace = (round(bank[0] + distance * cos(angle)), round(bank[1] + distance * sin(angle)))
    state = State(
        seed=seed,
        rng=rng.getrandbits(64),
        player=_start_player(rng, bank, furnace),
        camera=Camera(0, START_PITCH_MIN, config.zoom_min, 0.0, 0.0),
    )
    _build_bank(state, rng, bank)
    state.objects.append(GameObject("furnace", *furnace, rng.randrange(3)))
    state.floors.append(Floor(furnace[0] - 2, furnace[1] - 2, 6, 6, "stone"))
    _scatter_objects(state, rng, rng.randint(config.distractors_min, config.distractors_max))
    _scatter_npcs(state, rng, bank)
    state.camera = Camera(
        yaw=rng.randrange(FULL_TURN),
        pitch=rng.randint(START_PITCH_MIN, START_PITCH_MAX),
        zoom=rng.randint(config.zoom_min, config.zoom_max),
        focus_x=float(state.player.x),
        focus_y=float(state.player.y),
    )
    return state


def _start_player(rng: Random, bank: Tile, furnace: Tile) -> Player:
    part = rng.uniform(0.1, 0.8)
    x = round(bank[0] + (furnace[0] - bank[0]) * part) + rng.randint(-2, 2)
    y = round(bank[1] + (furnace[1] - bank[1]) * part) + rng.randint(-2, 2)
    # Walking, so that a trip takes as long as it was seen to take a person: 40 to 50 seconds.
    return Player(x, y, facing=rng.randrange(FULL_TURN), is_running=False)


def _build_bank(state: State, rng: Random, bank: Tile) -> None:
    count = rng.randint(2, 4)
    is_row = rng.random() < 0.5
    for step in range(count):
        x, y = (bank[0] + step, bank[1]) if is_row else (bank[0], bank[1] + step)
        state.objects.append(GameObject("bank_booth", x, y, 0 if is_row else 1))
    width, depth = (count + 2, 5) if is_row else (5, count + 2)
    state.floors.append(Floor(bank[0] - (1 if is_row else 2), bank[1] - (2 if is_row else 1), width, depth, "wood"))


def _scatter_objects(state: State, rng: Random, count: int) -> None:
    taken = {(state.player.x, state.player.y)}
    places = [(thing.x, thing.y) for thing in state.objects]
    for _ in range(count):
        kind = rng.choice(_DISTRACTORS)
        clearance = _CLEARANCE_TILES.get(kind, 2)
        thing = GameObject(kind, rng.randint(4, MAP_TILES - 6), rng.randint(4, MAP_TILES - 6), rng.randrange(3))
        near = any(max(abs(thing.x - x), abs(thing.y - y)) <= clearance + 1 for x, y in places)
        tiles = set(footprint(thing))
        if not near and not tiles & taken:
            state.objects.append(thing)
            taken |= tiles


def _scatter_npcs(state: State, rng: Random, bank: Tile) -> None:
    blocked = blocked_tiles(state)
    for kind in ["banker", *rng.choices(("guard", "goat", "farmer"), k=rng.randint(0, 3))]:
        reach = 2 if kind == "banker" else 9
        x, y = bank[0] + rng.randint(-reach, reach), bank[1] + rng.randint(-reach, reach)
        if (x, y) not in blocked and (x, y) != (state.player.x, state.player.y):
            state.npcs.append(Npc(kind, x, y, x, y, x, y))


def _stock(state: State, rng: Random, config: RingcraftConfig) -> None:
    others = [item for item in RULES.items if item not in _STAPLES]
    kinds = rng.sample(others, rng.randint(min(4, config.bank_items_max), min(config.bank_items_max, len(others))))
    bank = [Stack(item, rng.randint(1, 900)) for item in kinds if item != "sapphire_ring"]
    bank += [Stack(item, rng.randint(400, 4000)) for item in ("gold_bar", "sapphire")]
    if rng.random() < 0.3:
        bank.append(Stack("sapphire_ring", rng.randint(1, 900)))
    if rng.random() < config.mould_chance:
        state.inventory[rng.choice((0, 0, 0, rng.randrange(len(state.inventory))))] = Stack("ring_mould")
    else:
        bank.append(Stack("ring_mould"))
    rng.shuffle(bank)
    state.bank = bank
    state.bank_quantity = _draw_quantity(rng, "X", config.quantity_set_chance)
    state.furnace_quantity = _draw_quantity(rng, "All", 0.75)


def _draw_quantity(rng: Random, usual: Quantity, chance: float) -> Quantity:
    others: tuple[Quantity, ...] = ("1", "5", "10", "All" if usual == "X" else "X")
    return usual if rng.random() < chance else rng.choice(others)
