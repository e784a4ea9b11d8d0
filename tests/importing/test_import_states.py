"""Game states of other exporters: known by their keys, brought to v2, and shown to a model."""

from __future__ import annotations

import pytest

from vlm_agent.actions.space import CoordinateSpace
from vlm_agent.dataset.state_text import render_state
from vlm_agent.errors import LeftOutError
from vlm_agent.sessions.game_states import find_exporter, to_v2

V2 = {
    "timestamp": 1,
    "player": {"worldX": 3105, "worldY": 3499, "animation": -1},
    "bank": {"bankOpen": False, "slots": []},
    "inventory": {"slots": [{"slotId": 0, "itemId": 1607, "itemName": "Sapphire", "quantity": 1}], "emptySlots": 27},
    "newKey": {"of": "a later version"},
}
V1 = {
    "timestamp": 1724769000123,
    "player": {"world_x": 3105, "world_y": 3499, "animation_id": 899, "is_moving": False, "movement_direction": "N"},
    "last_interaction": {"action": "Use", "item_name": "Sapphire", "target": "Furnace", "timestamp": 5},
    "camera_x": 1,
    "camera_pitch": 300,
    "inventory": [{"id": 1607, "name": "Sapphire", "quantity": 1}, {"id": -1, "name": "", "quantity": 0}],
    "bank_open": True,
    "bank_item_positions": {"sapphires": [{"quantity": 500, "slot": 3, "canvas_x": 88, "canvas_y": 99}], "rings": []},
    "phase_context": {"cycle_phase": "banking"},
    "game_objects": [{"id": 10355, "name": "Bank booth", "x": 3104, "y": 3498, "distance": 1}],
    "furnaces": [{"id": 16469, "name": "Furnace", "x": 3109, "y": 3499, "distance": 4, "canvas_x": 10, "canvas_y": 20}],
    "npcs": [{"id": 1, "name": "Banker", "x": 3105, "y": 3500, "distance": 1}],
    "tabs": {"currentTab": "inventory"},
    "skills": {"crafting": {"level": 34, "xp": 20000}},
}
MORG_EVENTS = {
    "animation": 899,
    "animation pose": 808,
    "latest msg": "You make a sapphire ring.",
    "run energy": 10000,
    "game tick": 77,
    "health": "64/99",
    "npc health ": 0,
    "MAX_DISTANCE": 2350,
    "worldPoint": {"x": 3109, "y": 3499, "plane": 0, "regionID": 12342},
    "camera": {"yaw": 10, "pitch": 300, "x": 1, "y": 2, "z": 3},
    "mouse": {"x": 300, "y": 200},
}
MORG_STATS = [
    {"username": "-1", "player name": "me"},
    {"stat": "Crafting", "level": 34, "boostedLevel": 34, "xp": 20000},
]
MORG_INVENTORY = [{"id": 1607, "quantity": 1}, {"id": -1, "quantity": 0}]


@pytest.mark.parametrize(
    ("value", "exporter"),
    [
        (V2, "v2"),
        (V1, "v1"),
        (MORG_EVENTS, "http"),
        (MORG_STATS, "http"),
        (MORG_INVENTORY, "http"),
        ({"inv": MORG_INVENTORY, "events": MORG_EVENTS}, "http"),
        ({"score": 3}, "unknown"),
        ({}, "unknown"),
        ([], "unknown"),
        ([1], "unknown"),
        (None, "unknown"),
        ({"player": {"world_x": 1}}, "v1"),
        ({"player": {"worldX": 1}}, "v2"),
        ({"closestNPCs": None}, "v2"),
    ],
)
def test_exporters_are_known_by_their_keys(value, exporter):
    assert find_exporter(value) == exporter


def test_v2_and_unknown_objects_are_passed_on_as_they_are():
    assert to_v2(V2) == (V2, "v2")
    assert to_v2({"score": 3}) == ({"score": 3}, "unknown")


def test_v1_becomes_v2_and_is_kept():
    state, exporter = to_v2(V1)
    assert exporter == "v1"
    assert state["raw"] is V1
    assert state["player"] == {"worldX": 3105, "worldY": 3499, "animation": 899, "isMoving": False}
    assert state["camera"] == {"X": 1, "Pitch": 300}
    assert state["inventory"]["slots"][0] == {"slotId": 0, "itemId": 1607, "itemName": "Sapphire", "quantity": 1}
    assert (state["inventory"]["emptySlots"], state["inventory"]["totalItems"]) == (1, 1)
    assert state["bank"]["bankOpen"] is True
    assert state["bank"]["slots"] == [
        {"slotId": 3, "itemName": "Sapphire", "quantity": 500, "canvasX": 88, "canvasY": 99}
    ]
    assert [thing["name"] for thing in state["closestGameObjects"]] == ["Bank booth", "Furnace"]
    assert state["skills"] == {"craftingLevel": 34, "craftingXP": 20000}
    assert state["lastInteraction"]["target"] == "Furnace"


def test_replies_of_a_server_become_v2():
    state, _ = to_v2({"inv": MORG_INVENTORY, "stats": MORG_STATS, "events": MORG_EVENTS})
    assert state["player"] == {"worldX": 3109, "worldY": 3499, "plane": 0, "animation": 899}
    assert state["mouse"] == {"canvasX": 300, "canvasY": 200}
    assert state["chat"] == ["You make a sapphire ring."]
    assert state["skills"] == {"craftingLevel": 34, "craftingXP": 20000}
    assert state["inventory"]["emptySlots"] == 1
    assert to_v2(MORG_STATS)[0]["skills"] == state["skills"]
    assert to_v2(MORG_INVENTORY)[0]["inventory"] == state["inventory"]


def test_a_model_can_read_them():
    space = CoordinateSpace(765, 503, 765, 503)
    text = render_state(to_v2(V1)[0], space, 2000)
    assert "bank: sapphire @88,99" in text
    assert "crafting" in text
    assert "have sapphire 1" in text
    assert "banking" not in text  # the phase is what no player is told
    text = render_state(to_v2(MORG_EVENTS)[0], space, 2000)
    assert "mouse @300,200" in text
    assert "you make a sapphire ring." in text


@pytest.mark.parametrize("value", [None, 3, "x", [], [1, {}]])
def test_what_is_no_state_is_left_out(value):
    with pytest.raises(LeftOutError):
        to_v2(value)


@pytest.mark.parametrize("value", [{**V1, key: odd} for key in V1 for odd in (None, 3, "x", [], [None, 3], {"a": {}})])
def test_odd_values_in_v1_raise_nothing(value):
    to_v2(value)
