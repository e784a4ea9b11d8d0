"""Any plausible moment of a game, for training that must not lean on how games usually go.

A random scene is a seeded scene in which place, inventory, windows, camera, pointer, menu, walking and crafting were
all drawn anew; every one of them could come up in play.
"""

from __future__ import annotations

from random import Random

from vlm_agent.actions.events import ButtonChanged, PointerMoved
from vlm_agent.games.ringcraft.commands import lacking
from vlm_agent.games.ringcraft.config import RingcraftConfig
from vlm_agent.games.ringcraft.core import NS_PER_MS, Ringcraft
from vlm_agent.games.ringcraft.geometry import PITCH_MAX, PITCH_MIN, ZOOM_MAX, ZOOM_MIN, scene_view
from vlm_agent.games.ringcraft.layout import LAYOUT
from vlm_agent.games.ringcraft.pathing import Tile, blocked_tiles, find_path
from vlm_agent.games.ringcraft.rules import RULES, XP_OF_LEVEL, level_of
from vlm_agent.games.ringcraft.scene import SKINS, beside_object, indices_of
from vlm_agent.games.ringcraft.state import (
    CLIENT_TICK_MS,
    FULL_TURN,
    INVENTORY_SLOTS,
    QUANTITIES,
    TICK_MS,
    Crafting,
    Errand,
    Mode,
    Skin,
    Stack,
    State,
)
from vlm_agent.games.ringcraft.world import direction

_MODES: tuple[Mode, ...] = ("none", "bank", "furnace", "levelup")
_MODE_WEIGHTS = (45, 28, 17, 10)
_CHAT = (
    "You make a sapphire ring.",
    "You have run out of materials.",
    "Guard: Fine weather today.",
    "It's a furnace.",
    "You need a pickaxe to mine this rock.",
    "Nothing interesting happens.",
)


def random_scene(rng: Random, config: RingcraftConfig | None = None) -> Ringcraft:
    """Return a game in a random moment; the same generator state gives the same game."""
    game = Ringcraft(rng.getrandbits(31), config)
    state = game.state
    _draw_look(state, rng)
    state.inventory = _draw_inventory(rng)
    state.mode = rng.choices(_MODES, _MODE_WEIGHTS)[0]
    _place_player(state, rng)
    _draw_settings(state, rng)
    _draw_activity(state, rng)
    # A first stretch of time settles what follows from the above: chat, characters, the sliding between tiles.
    game.advance(TICK_MS + CLIENT_TICK_MS * rng.choice((0, 0, 0, 7, 13, 22)))
    _draw_pointer(game, rng)
    return game


def _draw_look(state: State, rng: Random) -> None:
    camera = state.camera
    camera.yaw = rng.randrange(FULL_TURN)
    camera.pitch = rng.randint(PITCH_MIN, PITCH_MAX)
    camera.zoom = min(max(round(rng.gauss(330, 70)), ZOOM_MIN), ZOOM_MAX)
    state.skin = Skin(rng.randrange(SKINS), rng.randrange(SKINS), rng.randint(15, 25) / 20)
    state.tick = rng.randrange(3000)


def _draw_inventory(rng: Random) -> list[Stack | None]:
    kind = rng.randrange(6)
    items = ["ring_mould"] if rng.random() < 0.85 else []
    if kind == 1:
        gem = rng.choice(("sapphire", "sapphire", "sapphire", "emerald", "ruby"))
        items += ["gold_bar"] * 13 + [gem] * 13
    elif kind == 2:
        items += ["gold_bar"] * rng.randint(0, 13)
    elif kind == 3:
        done = rng.randint(1, 13)
        items += ["sapphire_ring"] * done + ["gold_bar"] * (13 - done) + ["sapphire"] * (13 - done)
    elif kind == 4:
        items += ["sapphire_ring"] * rng.randint(1, 26)
    elif kind == 5:
        items += rng.choices(list(RULES.items), k=rng.randint(1, 25))
    if rng.random() < 0.3:
        items += rng.choices(list(RULES.items), k=rng.randint(1, 3))
    slots: list[Stack | None] = [Stack(item) for item in items[:INVENTORY_SLOTS]]
    slots += [None] * (INVENTORY_SLOTS - len(slots))
    if rng.random() < 0.4:
        rng.shuffle(slots)
    return slots


def _place_player(state: State, rng: Random) -> None:
    if state.mode == "bank":
        tile = tile_beside(state, rng, "bank_booth")
    elif state.mode == "furnace" or rng.random() < 0.3:
        tile = tile_beside(state, rng, "furnace")
    else:
        tile = free_tile(state, rng)
    put_player(state, tile)
    state.player.facing = rng.randrange(FULL_TURN)


def put_player(state: State, tile: Tile) -> None:
    """Put the player on a tile, and the camera with him."""
    state.player.x, state.player.y = tile
    state.camera.focus_x, state.camera.focus_y = float(tile[0]), float(tile[1])


def tile_beside(state: State, rng: Random, kind: str) -> Tile:
    """Return a tile from which some object of a kind can be used."""
    return rng.choice([tile for index in indices_of(state, kind) for tile in beside_object(state, index)])


def free_tile(state: State, rng: Random) -> Tile:
    """Return a tile near where the scene began from which that place can be reached."""
    player, blocked = state.player, blocked_tiles(state)
    while True:
        tile = (player.x + rng.randint(-7, 7), player.y + rng.randint(-7, 7))
        if tile not in blocked and find_path((player.x, player.y), {tile}, blocked)[-1:] in ([tile], []):
            return tile


def _draw_settings(state: State, rng: Random) -> None:
    state.tab = "inventory" if rng.random() < 0.8 else rng.choice(list(LAYOUT.tabs))
    state.bank_quantity = rng.choice(QUANTITIES)
    state.furnace_quantity = rng.choice(QUANTITIES)
    state.crafting_xp = rng.randrange(XP_OF_LEVEL[rng.choice((4, 15, 20, 20, 20))], XP_OF_LEVEL[60])
    state.player.is_running = rng.random() < 0.85
    state.chat += rng.choices(_CHAT, k=rng.randint(0, 8))
    if state.mode == "levelup":
        state.new_level = level_of(state.crafting_xp)
    slots = [slot for slot, stack in enumerate(state.inventory) if stack is not None]
    if slots and state.mode == "none" and rng.random() < 0.12:
        state.selected_slot = rng.choice(slots)


def _draw_activity(state: State, rng: Random) -> None:
    if state.mode != "none":
        return
    activity = rng.random()
    if activity < 0.3:
        set_walking(state, rng)
    elif activity < 0.6:
        makeable = [index for index in range(len(RULES.products)) if not lacking(state, index)]
        if makeable and (state.player.x, state.player.y) in tiles_of_use(state, "furnace"):
            product = RULES.products[rng.choice(makeable)]
            state.crafting = Crafting(product.key, rng.randint(1, 28), rng.randint(1, RULES.ticks_per_product))
            state.player.animation = "smelt"


def tiles_of_use(state: State, kind: str) -> set[Tile]:
    """Return all tiles from which an object of a kind can be used."""
    return {tile for index in indices_of(state, kind) for tile in beside_object(state, index)}


def set_walking(state: State, rng: Random, kind: str = "") -> None:
    """Let the player be on the way to some object (of a kind), mostly to use it; change nothing where no way leads."""
    player = state.player
    index = rng.choice([i for i, thing in enumerate(state.objects) if kind in ("", thing.kind)])
    thing = state.objects[index]
    goals = set(beside_object(state, index))
    path = find_path((player.x, player.y), goals, blocked_tiles(state))
    if not path:
        return
    player.path = path
    if rng.random() < 0.7:
        player.errand = Errand("interact", index, RULES.objects[thing.kind].options[0])
    player.facing = direction(path[0][0] - player.x, path[0][1] - player.y)


def _draw_pointer(game: Ringcraft, rng: Random) -> None:
    state, frame = game.state, LAYOUT.frame
    x, y = rng.randrange(frame.width), rng.randrange(frame.height)
    if rng.random() < 0.5:
        rect = rng.choice(scene_view(state)).rect
        x, y = rng.randrange(rect.x, rect.right), rng.randrange(rect.y, rect.bottom)
    now_ns = game.now_ns
    game.feed([PointerMoved(now_ns, x, y)])
    if rng.random() < 0.12:
        game.feed([ButtonChanged(now_ns + NS_PER_MS, x, y, "right", pressed=True)])
        game.feed([ButtonChanged(now_ns + 10 * NS_PER_MS, x, y, "right", pressed=False)])
    game.advance(CLIENT_TICK_MS)
