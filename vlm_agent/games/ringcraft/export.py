"""The game state as a recorder's plugin would write it: what the player could see at this moment, as JSON values.

The keys are those of the `v2` files that a public RuneLite-style plugin writes (`closestGameObjects`, `bank`,
`inventory`, `crafting_widgets`, …), so that one loader reads real and simulated recordings; what only a simulation
knows is in the `sim` block. Positions on the screen come from `geometry` and are given only for what can be seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vlm_agent.games.ringcraft.geometry import (
    Visible,
    click_point,
    minimap_point,
    projection_of,
    tile_at,
    visible_world,
)
from vlm_agent.games.ringcraft.interface import describe_hover, options_at
from vlm_agent.games.ringcraft.layout import LAYOUT, Rect
from vlm_agent.games.ringcraft.rules import RULES, level_of
from vlm_agent.games.ringcraft.state import State

WORLD_X, WORLD_Y = 3072, 3456
"""World coordinates of the map's south-west tile."""
_CLOSEST = 24
_CHAT_LINES = 5
_ANIMATION_IDS = {"idle": -1, "walk": -1, "run": -1, "smelt": 899}

Json = dict[str, Any]


def export_game_state(state: State) -> Json:
    """Return the v2 game state of a moment.

    Returns:
        JSON values only. `clickbox`, `canvasX` and `canvasY` of an object are missing when it can't be clicked now;
        widgets are listed only while they show. All positions are frame pixels.
    """
    world = visible_world(state)
    options = options_at(state, state.pointer.x, state.pointer.y, world)
    return {
        "timestamp": state.now_ms,
        "gameState": "LOGGED_IN",
        "currentWorld": 0,
        "player": _player(state),
        "camera": _camera(state),
        "mouse": {"canvasX": state.pointer.x, "canvasY": state.pointer.y},
        "hoveredTile": _hovered_tile(state),
        "hoverText": describe_hover(options) if state.menu is None else "",
        "closestGameObjects": _objects(state, world),
        "closestNPCs": _npcs(state, world),
        "bank": _bank(state),
        "bank_widgets": _bank_widgets(state),
        "inventory": _inventory(state),
        "tabs": {
            "currentTab": state.tab,
            "bounds": {name: rect.to_bounds() for name, rect in LAYOUT.tabs.items()},
        },
        "skills": {"craftingLevel": level_of(state.crafting_xp), "craftingXP": state.crafting_xp},
        "craftingInterfaceOpen": state.mode == "furnace",
        "crafting_widgets": _crafting_widgets(state),
        "levelUpDialog": _dialog(state),
        "menuOpen": state.menu is not None,
        "menuEntries": [
            {"index": index, "option": option.text, "target": option.target}
            for index, option in enumerate(state.menu.options if state.menu else options)
        ],
        "lastInteraction": _last_interaction(state),
        "chat": state.chat[-_CHAT_LINES:],
        "minimap": {"bounds": LAYOUT.minimap.to_bounds()},
        "sim": {"seed": state.seed, "tick": state.tick, "phase": phase_of(state), "ringsMade": state.rings_made},
    }


def phase_of(state: State) -> str:
    """Return what the player is about: `banking`, `smelting`, `choosing`, `dialog`, `walking` or `idle`."""
    if state.mode != "none":
        return {"bank": "banking", "furnace": "choosing", "levelup": "dialog"}[state.mode]
    if state.crafting.product:
        return "smelting"
    return "walking" if state.player.path or state.player.trail else "idle"


def _player(state: State) -> Json:
    player = state.player
    return {
        "worldX": WORLD_X + player.x,
        "worldY": WORLD_Y + player.y,
        "plane": 0,
        "animation": _ANIMATION_IDS[player.animation],
        "orientation": player.facing,
        "isMoving": bool(player.path or player.trail),
        "isRunning": player.is_running,
    }


def _camera(state: State) -> Json:
    camera, eye = state.camera, projection_of(state)
    return {
        "X": round(eye.eye_x),
        "Y": round(eye.eye_y),
        "Z": -round(eye.eye_up),
        "Pitch": camera.pitch,
        "Yaw": camera.yaw,
        "Scale": camera.zoom,
        "Zoom": camera.zoom_target or camera.zoom,
    }


def _hovered_tile(state: State) -> Json | None:
    tile = None if state.mode in ("bank", "furnace") else tile_at(state, state.pointer.x, state.pointer.y)
    return {"worldX": WORLD_X + tile[0], "worldY": WORLD_Y + tile[1], "plane": 0} if tile else None


def _objects(state: State, world: Sequence[Visible]) -> list[Json]:
    seen = {one.index: one for one in world if one.kind == "object"}
    entries = []
    for index in _nearest(state, [(thing.x, thing.y) for thing in state.objects]):
        thing = state.objects[index]
        kind = RULES.objects[thing.kind]
        entry = {"index": index, "id": kind.id, "name": kind.name, "actions": list(kind.options)}
        _place(entry, state, (thing.x, thing.y), seen.get(index), world)
        entries.append(entry)
    return entries


def _npcs(state: State, world: Sequence[Visible]) -> list[Json]:
    seen = {one.index: one for one in world if one.kind == "npc"}
    entries = []
    for index in _nearest(state, [(npc.x, npc.y) for npc in state.npcs]):
        npc = state.npcs[index]
        kind = RULES.npcs[npc.kind]
        entry = {"index": index, "id": kind.id, "name": kind.name, "actions": ["Talk-to"]}
        _place(entry, state, (npc.x, npc.y), seen.get(index), world)
        entries.append(entry)
    return entries


def _place(entry: Json, state: State, tile: tuple[int, int], seen: Visible | None, world: Sequence[Visible]) -> None:
    x, y = tile
    entry["worldX"], entry["worldY"], entry["plane"] = WORLD_X + x, WORLD_Y + y, 0
    entry["distance"] = _distance(state, tile)
    dot = minimap_point(state, x, y)
    if dot is not None:
        entry["minimapX"], entry["minimapY"] = round(dot[0]), round(dot[1])
    if seen is None or state.mode in ("bank", "furnace"):
        return
    point = click_point(state, seen, world)
    if point is not None:
        entry["canvasX"], entry["canvasY"] = point
        entry["clickbox"] = seen.rect.to_bounds()


def _nearest(state: State, tiles: Sequence[tuple[int, int]]) -> list[int]:
    """Return the indices of the nearest few tiles, nearest first."""
    return sorted(range(len(tiles)), key=lambda index: (_distance(state, tiles[index]), index))[:_CLOSEST]


def _distance(state: State, tile: tuple[int, int]) -> int:
    return max(abs(tile[0] - state.player.x), abs(tile[1] - state.player.y))


def _bank(state: State) -> Json:
    is_open = state.mode == "bank"
    slots = [
        {"slotId": slot, **_item(stack.item, stack.quantity), "bounds": rect.to_bounds()}
        for slot, (stack, rect) in enumerate(zip(state.bank, LAYOUT.bank.cells, strict=False))
        if is_open
    ]
    return {"bankOpen": is_open, "slots": slots, "totalItems": len(slots)}


def _bank_widgets(state: State) -> Json:
    if state.mode != "bank":
        return {}
    deposit = LAYOUT.bank.deposit_inventory
    return {
        **_quantities(LAYOUT.bank.quantities, state.bank_quantity, state.bank_x),
        "deposit_inventory": _bounds(deposit) if deposit else {},
        "close": _bounds(LAYOUT.bank.close),
    }


def _crafting_widgets(state: State) -> Json:
    if state.mode != "furnace":
        return {}
    cells = zip(RULES.products, LAYOUT.furnace.cells, strict=False)
    return {
        "crafting_interface": _bounds(LAYOUT.furnace.window),
        **{f"make_{product.key}s": _bounds(rect) for product, rect in cells},
        **_quantities(LAYOUT.furnace.quantities, state.furnace_quantity, state.furnace_x),
        "close": _bounds(LAYOUT.furnace.close),
    }


def _quantities(rects: dict[str, Rect], selected: str, number_for_x: int) -> Json:
    buttons = {f"quantity_{name.lower()}": _bounds(rect) for name, rect in rects.items()}
    return {"quantity": selected, "quantity_x_value": number_for_x, **buttons}


def _dialog(state: State) -> Json | None:
    if state.mode != "levelup":
        return None
    return {"level": state.new_level, "continue": _bounds(LAYOUT.dialog_continue)}


def _inventory(state: State) -> Json:
    # Slots of another tab aren't on the screen: they keep their contents and lose their bounds.
    is_shown = state.tab == "inventory"
    slots = []
    for slot, (stack, rect) in enumerate(zip(state.inventory, LAYOUT.inventory, strict=True)):
        entry = _item(stack.item, stack.quantity) if stack else {"itemId": -1, "itemName": "", "quantity": 0}
        slots.append({"slotId": slot, **entry, "isNoted": False, **(_bounds(rect) if is_shown else {})})
    total = sum(stack is not None for stack in state.inventory)
    return {
        "slots": slots,
        "selectedSlot": state.selected_slot,
        "totalItems": total,
        "emptySlots": len(slots) - total,
        "totalSlots": len(slots),
    }


def _item(item: str, quantity: int) -> Json:
    kind = RULES.items[item]
    return {"itemId": kind.id, "itemName": kind.name, "quantity": quantity}


def _bounds(rect: Rect) -> Json:
    return {"bounds": rect.to_bounds()}


def _last_interaction(state: State) -> Json:
    last = state.interaction
    return {
        "action": last.action,
        "target": last.target,
        "timestamp": last.t_ms,
        "mouse_coordinates": {"x": last.x, "y": last.y},
    }
