from __future__ import annotations

import json
from random import Random

from vlm_agent.actions.events import PointerMoved
from vlm_agent.games.ringcraft.core import Ringcraft
from vlm_agent.games.ringcraft.layout import LAYOUT, Rect
from vlm_agent.games.ringcraft.random_scenes import random_scene
from vlm_agent.games.ringcraft.rules import RULES

V2_KEYS = {
    "timestamp", "gameState", "currentWorld", "player", "camera", "mouse", "hoveredTile", "closestNPCs",
    "closestGameObjects", "bank", "bank_widgets", "inventory", "skills", "crafting_widgets", "craftingInterfaceOpen",
    "menuEntries",
    "lastInteraction", "sim",
}  # fmt: skip


def _game(mode: str) -> Ringcraft:
    game = Ringcraft(2)
    game.state.mode = mode  # type: ignore[assignment]
    return game


def _rect(bounds: dict[str, int]) -> Rect:
    return Rect(bounds["x"], bounds["y"], bounds["width"], bounds["height"])


def test_every_export_has_the_keys_of_a_v2_file_and_is_json():
    rng = Random(1)
    for _ in range(30):
        exported = random_scene(rng).export()
        assert exported.keys() >= V2_KEYS
        assert json.loads(json.dumps(exported)) == exported


def test_exporting_changes_nothing():
    game = random_scene(Random(2))
    before = game.hash()
    game.export()
    assert game.hash() == before


def test_bounds_of_slots_are_the_rectangles_that_are_drawn_and_hit():
    game = _game("bank")
    exported = game.export()
    assert exported["bank"]["bankOpen"]
    for slot, stack in zip(exported["bank"]["slots"], game.state.bank, strict=True):
        assert _rect(slot["bounds"]) == LAYOUT.bank.cells[slot["slotId"]]
        assert slot["itemName"] == RULES.items[stack.item].name
        game.feed([PointerMoved(game.now_ns, *_rect(slot["bounds"]).centre)])
        game.advance(20)
        first = game.export()["menuEntries"][0]
        assert first["option"].startswith("Withdraw-")
        assert first["target"] == slot["itemName"]


def test_widgets_are_exported_only_while_they_show():
    closed, bank, furnace, dialog = (_game(mode).export() for mode in ("none", "bank", "furnace", "levelup"))
    assert not closed["bank"]["slots"]
    assert not closed["bank_widgets"]
    assert not closed["crafting_widgets"]
    assert bank["bank_widgets"].keys() >= {"quantity", "quantity_x", "deposit_inventory", "close"}
    assert furnace["craftingInterfaceOpen"]
    assert _rect(furnace["crafting_widgets"]["make_sapphire_rings"]["bounds"]) == LAYOUT.furnace.cells[1]
    assert _rect(dialog["levelUpDialog"]["continue"]["bounds"]) == LAYOUT.dialog_continue
    assert closed["levelUpDialog"] is None


def test_inventory_slots_of_another_tab_have_no_place_on_the_screen():
    game = _game("none")
    assert all("bounds" in slot for slot in game.export()["inventory"]["slots"])
    game.state.tab = "stats"
    slots = game.export()["inventory"]["slots"]
    assert len(slots) == 28
    assert not any("bounds" in slot for slot in slots)


def test_the_place_of_an_object_is_one_where_the_pointer_finds_it():
    rng, found = Random(3), 0
    for _ in range(40):
        game = random_scene(rng)
        game.state.menu = None
        for thing in game.export()["closestGameObjects"]:
            if "canvasX" not in thing:
                assert "clickbox" not in thing
                continue
            assert _rect(thing["clickbox"]).contains(thing["canvasX"], thing["canvasY"])
            game.state.pointer.x, game.state.pointer.y = thing["canvasX"], thing["canvasY"]
            assert thing["name"] in game.export()["menuEntries"][0]["target"]
            found += 1
    assert found > 50


def test_an_open_window_hides_the_world():
    for mode in ("bank", "furnace"):
        exported = _game(mode).export()
        assert exported["closestGameObjects"]
        assert not any("canvasX" in thing for thing in exported["closestGameObjects"] + exported["closestNPCs"])


def test_objects_come_nearest_first():
    rng = Random(4)
    for _ in range(10):
        distances = [thing["distance"] for thing in random_scene(rng).export()["closestGameObjects"]]
        assert distances == sorted(distances)


def test_the_sim_block_tells_seed_tick_and_phase():
    game = Ringcraft(6)
    game.advance(1200)
    assert game.export()["sim"] == {"seed": 6, "tick": 2, "phase": "idle", "ringsMade": 0}
    assert _game("bank").export()["sim"]["phase"] == "banking"
