"""Game states of several exporters, as the JSON that the rest of the project reads.

Exporters are told apart by their keys, never by a version number, since none writes one:

    v2     IL_bot's StateExporter2, `inventory.slots`, `closestGameObjects`, …: passed on as it is
    v1     IL_bot's first one: flat, `player.world_x`, `bank_open`, `game_objects`
    http   MorgHTTP and its kin, one reply or several: `worldPoint`, `game tick`, lists of items or of skills

v1 and http become the v2 keys that have a source, and keep the original under `raw`. Anything else is passed on as it
is: a model is shown only what `state_text` understands. Keys may be missing, unknown or of another type.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from vlm_agent.errors import LeftOutError
from vlm_agent.sessions.plain_json import parse_json

Exporter = Literal["v2", "v1", "http", "unknown"]
Json = dict[str, Any]

NOT_JSON = "state_is_not_json"
"""Why a state is left out that may not be written to its end yet."""
_V2_KEYS = frozenset(
    ("closestGameObjects", "closestNPCs", "bank_widgets", "crafting_widgets", "craftingInterfaceOpen", "gameState")
)
_V1_KEYS = frozenset(
    ("bank_open", "bank_item_positions", "phase_context", "game_objects", "last_interaction", "camera_x")
)
_HTTP_KEYS = frozenset(("worldPoint", "game tick", "latest msg", "animation pose", "run energy"))
_HTTP_REPLIES = frozenset(("events", "inv", "stats", "equip"))
_V1_BANK_NAMES = {"sapphires": "Sapphire", "gold_bars": "Gold bar", "rings": "Sapphire ring", "moulds": "Ring mould"}
_CAMERA = {"x": "X", "y": "Y", "z": "Z", "pitch": "Pitch", "yaw": "Yaw", "scale": "Scale"}


class ReadState(NamedTuple):
    """A state as sessions keep it."""

    state: Json
    """Plain JSON data, with v2 keys where it was v1 or http."""
    original: Json
    """What its exporter wrote, so far as that was an object; where its own time is looked up."""
    exporter: Exporter
    """Who wrote it."""
    not_finite: int
    """Numbers that were none, or infinite, and are null now."""


def parse_state(data: bytes) -> ReadState:
    """Return the game state in some bytes: the one way in for what is exported live and what is imported.

    Raises:
        LeftOutError: It can't be kept: no JSON (`NOT_JSON`), too large, too deep, cut inside a character, or no object.
    """
    try:
        value, not_finite = parse_json(data)
    except LeftOutError as error:
        raise LeftOutError(f"state_{error.reason}", str(error)) from error
    state, exporter = to_v2(value)
    return ReadState(state, value if isinstance(value, dict) else {}, exporter, not_finite)


def find_exporter(value: Any) -> Exporter:
    """Return who wrote a state."""
    if isinstance(value, list):
        return "http" if value and all(isinstance(item, Mapping) for item in value) else "unknown"
    if not isinstance(value, Mapping):
        return "unknown"
    keys = value.keys()
    if keys & _V2_KEYS or "worldX" in _map(value, "player") or isinstance(_map(value, "inventory").get("slots"), list):
        return "v2"
    if keys & _V1_KEYS or "world_x" in _map(value, "player"):
        return "v1"
    return "http" if keys & _HTTP_KEYS or keys & _HTTP_REPLIES else "unknown"


def to_v2(value: Any) -> tuple[Json, Exporter]:
    """Return a state with v2 keys, and who wrote it.

    Raises:
        LeftOutError: It is no object, nor a list that an exporter writes.
    """
    exporter = find_exporter(value)
    if exporter == "v1":
        return {**_without_nothing(_from_v1(value)), "raw": value}, exporter
    if exporter == "http":
        return {**_without_nothing(_from_http(value)), "raw": value}, exporter
    if not isinstance(value, dict):
        raise LeftOutError("state_is_no_object", "a state that is no JSON object")
    return value, exporter


def _from_v1(state: Mapping[str, Any]) -> Json:
    player, interaction = _map(state, "player"), _map(state, "last_interaction")
    crafting = _map(_map(state, "skills"), "crafting")
    old_camera = {key: state.get(f"camera_{key}") for key in _CAMERA}
    camera = {**old_camera, **_map(state, "camera")}
    return {
        "timestamp": state.get("timestamp"),
        "player": {
            "worldX": player.get("world_x"),
            "worldY": player.get("world_y"),
            "animation": player.get("animation_id"),
            "isMoving": player.get("is_moving"),
        },
        "camera": {name: camera.get(key) for key, name in _CAMERA.items()},
        "inventory": _inventory(state.get("inventory")),
        "bank": _v1_bank(state),
        "closestGameObjects": [
            _v1_thing(thing) for key in ("game_objects", "furnaces", "bank_booths") for thing in _maps(state.get(key))
        ],
        "closestNPCs": [_v1_thing(thing) for thing in _maps(state.get("npcs"))],
        "tabs": {"currentTab": _map(state, "tabs").get("currentTab")},
        "skills": {"craftingLevel": crafting.get("level"), "craftingXP": crafting.get("xp")},
        "lastInteraction": {
            "action": interaction.get("action"),
            "target": interaction.get("target"),
            "target_name": interaction.get("item_name"),
            "timestamp": interaction.get("timestamp"),
        },
    }


def _v1_bank(state: Mapping[str, Any]) -> Json:
    slots = []
    for group, items in _map(state, "bank_item_positions").items():
        for item in _maps(items):
            place = {"canvasX": item.get("canvas_x"), "canvasY": item.get("canvas_y")}
            name = item.get("name") or _V1_BANK_NAMES.get(group, group)
            slots.append({"slotId": item.get("slot"), "itemName": name, "quantity": item.get("quantity"), **place})
    return {"bankOpen": state.get("bank_open"), "slots": [_without_nothing(slot) for slot in slots]}


def _v1_thing(thing: Mapping[str, Any]) -> Json:
    return _without_nothing(
        {
            "id": thing.get("id"),
            "name": thing.get("name"),
            "worldX": thing.get("x"),
            "worldY": thing.get("y"),
            "distance": thing.get("distance"),
            "canvasX": thing.get("canvas_x"),
            "canvasY": thing.get("canvas_y"),
        }
    )


def _from_http(value: Any) -> Json:
    if isinstance(value, list):
        return _from_http_list(value)
    events = {**value, **_map(value, "events")}
    point, camera, mouse = _map(events, "worldPoint"), _map(events, "camera"), _map(events, "mouse")
    message = events.get("latest msg")
    return {
        "player": {
            "worldX": point.get("x"),
            "worldY": point.get("y"),
            "plane": point.get("plane"),
            "animation": events.get("animation"),
        },
        "camera": {name: camera.get(key) for key, name in _CAMERA.items()},
        "mouse": {"canvasX": mouse.get("x"), "canvasY": mouse.get("y")},
        "chat": [message] if isinstance(message, str) else None,
        "inventory": _inventory(value.get("inv")),
        "skills": _http_skills(value.get("stats")),
    }


def _from_http_list(items: list[Any]) -> Json:
    if any("stat" in item for item in items):
        return {"skills": _http_skills(items)}
    return {"inventory": _inventory(items)}


def _http_skills(stats: Any) -> Json | None:
    for stat in _maps(stats):
        if str(stat.get("stat")).lower() == "crafting":
            return {"craftingLevel": stat.get("level"), "craftingXP": stat.get("xp")}
    return None


def _inventory(items: Any) -> Json | None:
    if not isinstance(items, list):
        return None
    slots = []
    for place, item in enumerate(items):
        known = item if isinstance(item, Mapping) else {}
        item_id = known.get("id", -1)
        is_empty = item_id in (-1, 0, None)
        slots.append(
            {
                "slotId": place,
                "itemId": -1 if is_empty else item_id,
                "itemName": "" if is_empty else str(known.get("name") or ""),
                "quantity": 0 if is_empty else known.get("quantity"),
            }
        )
    filled = sum(slot["itemId"] != -1 for slot in slots)
    return {"slots": slots, "totalItems": filled, "emptySlots": len(slots) - filled, "totalSlots": len(slots)}


def _without_nothing(value: Mapping[str, Any]) -> Json:
    tidy = {key: _without_nothing(item) if isinstance(item, Mapping) else item for key, item in value.items()}
    return {key: item for key, item in tidy.items() if item is not None and item != {} and item != []}


def _map(value: Any, key: str) -> Mapping[str, Any]:
    found = value.get(key) if isinstance(value, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _maps(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []
