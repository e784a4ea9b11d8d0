"""Game state as text: golden texts of real exports, a hard cap, and no way to make it raise."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlm_agent.actions.space import CoordinateSpace
from vlm_agent.dataset.state_text import render_state
from vlm_agent.games.ringcraft.core import Ringcraft

SPACE = CoordinateSpace(765, 503)
BOUNDS = {"x": 560, "y": 200, "width": 36, "height": 32}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
bounds = st.fixed_dictionaries({key: st.integers(-9, 900) | json_values for key in ("x", "y", "width", "height")})
things = st.lists(
    json_values
    | st.fixed_dictionaries(
        {},
        optional={
            "name": st.text(max_size=60) | json_values,
            "itemName": st.text(max_size=60) | json_values,
            "itemId": json_values,
            "quantity": json_values,
            "distance": json_values,
            "bounds": bounds | json_values,
            "clickbox": bounds | json_values,
            "canvasX": json_values,
            "canvasY": json_values,
            "minimapX": json_values,
            "minimapY": json_values,
            "option": json_values,
            "target": json_values,
        },
    ),
    max_size=30,
)
widgets = st.dictionaries(
    st.text(max_size=20), st.fixed_dictionaries({"bounds": bounds | json_values}) | json_values, max_size=8
)
states = st.fixed_dictionaries(
    {},
    optional={
        "player": st.fixed_dictionaries({}, optional={"animation": json_values, "isMoving": json_values}) | json_values,
        "inventory": st.fixed_dictionaries({"slots": things}, optional={"emptySlots": json_values}) | json_values,
        "bank": st.fixed_dictionaries({"bankOpen": st.just(True) | json_values, "slots": things}) | json_values,
        "bank_widgets": widgets | json_values,
        "craftingInterfaceOpen": st.just(True) | json_values,
        "crafting_widgets": widgets | json_values,
        "levelUpDialog": widgets | json_values,
        "menuOpen": st.just(True) | json_values,
        "menuEntries": things,
        "closestGameObjects": things,
        "closestNPCs": things,
        "mouse": json_values | st.fixed_dictionaries({"canvasX": st.integers(), "canvasY": st.integers()}),
        "hoverText": json_values,
        "tabs": st.fixed_dictionaries({"currentTab": json_values, "bounds": json_values}) | json_values,
        "skills": json_values | st.fixed_dictionaries({"craftingLevel": json_values}),
        "chat": json_values,
    },
)


@settings(max_examples=200)
@given(state=states, max_chars=st.integers(0, 900))
def test_any_state_fits_the_cap_and_never_raises(state, max_chars):
    text = render_state(state, SPACE, max_chars)
    assert len(text) <= max_chars
    assert text == render_state(state, SPACE, max_chars)
    assert all(line.strip() for line in text.splitlines())


@given(state=st.dictionaries(st.text(max_size=12), json_values, max_size=6))
def test_any_json_object_is_tolerated(state):
    assert len(render_state(state, SPACE, 300)) <= 300


@pytest.mark.parametrize("mode", ["none", "bank", "furnace", "levelup"])
def test_golden_text_of_the_built_in_game(mode, snapshot):
    game = Ringcraft(3)
    game.state.mode = mode
    text = render_state(game.export(), SPACE, 700)
    assert text == snapshot
    assert len(text.split()) <= 120


def test_nothing_known_gives_no_text():
    assert render_state({}, SPACE, 700) == ""
    assert render_state({"timestamp": 5, "gameState": "LOGGED_IN"}, SPACE, 700) == ""
    assert render_state({"player": {"animation": -1}}, SPACE, 0) == ""


def test_the_simulator_s_secrets_never_leak():
    game = Ringcraft(7)
    state = game.export()
    loud = {"seed": 4711, "tick": 4712, "phase": "secretphase", "ringsMade": 4713}
    text = render_state({**state, "sim": loud}, SPACE, 10_000)
    assert text == render_state({**state, "sim": None}, SPACE, 10_000)
    assert "secretphase" not in text
    assert "471" not in text


def test_the_least_useful_goes_first():
    game = Ringcraft(3)
    game.state.mode = "bank"
    state = game.export()
    heads = [line.partition(" ")[0] for line in render_state(state, SPACE, 400).splitlines()]
    assert "bank:" in heads
    assert "chat:" not in heads
    assert render_state(state, SPACE, 700).startswith(render_state(state, SPACE, 700)[:20])
    shorter = render_state(state, SPACE, 80)
    assert shorter.startswith("bank") or "bank" in shorter


@pytest.mark.parametrize(
    ("animation", "is_moving", "words"),
    [(-1, False, "idle"), (-1, True, "moving"), (899, False, "crafting"), (714, False, "busy")],
)
def test_what_the_player_does(animation, is_moving, words):
    state = {"player": {"animation": animation, "isMoving": is_moving}}
    assert render_state(state, SPACE, 700) == f"player {words}"


def test_items_are_gathered_by_name_and_placed_at_the_first():
    slots = [
        {"itemId": 1, "itemName": "Gold bar", "quantity": 1, "bounds": BOUNDS},
        {"itemId": -1, "itemName": "", "quantity": 0},
        {"itemId": 1, "itemName": "Gold bar", "quantity": 1, "bounds": {**BOUNDS, "x": 700}},
    ]
    text = render_state({"inventory": {"slots": slots, "emptySlots": 26}}, SPACE, 700)
    assert text == "inv: gold bar 2 @756,430; free 26"


def test_names_lose_tags_and_capitals():
    thing = {"name": "<col=ffff>Bank  Booth</col>", "distance": 3, "canvasX": 100, "canvasY": 50}
    text = render_state({"closestGameObjects": [thing]}, SPACE, 700)
    assert text == "near: bank booth @131,100 3"


def test_one_of_a_name_is_shown_the_nearest_that_can_be_seen():
    near = {"name": "Tree", "distance": 1}
    seen = {"name": "Tree", "distance": 4, "clickbox": BOUNDS}
    far = {"name": "Tree", "distance": 9, "clickbox": {**BOUNDS, "x": 0}}
    assert render_state({"closestGameObjects": [near, seen, far]}, SPACE, 700) == "near: tree @756,430 4"
    assert render_state({"closestGameObjects": [near]}, SPACE, 700) == ""


def test_a_canvas_point_beside_its_clickbox_is_not_clicked():
    beside = {"name": "Furnace", "distance": 2, "canvasX": 5, "canvasY": 5, "clickbox": BOUNDS}
    inside = {**beside, "canvasX": 565, "canvasY": 205}
    assert "@756,430" in render_state({"closestGameObjects": [beside]}, SPACE, 700)
    assert "@739,408" in render_state({"closestGameObjects": [inside]}, SPACE, 700)


def test_menu_and_tab_and_mouse():
    state = {
        "menuOpen": True,
        "menuEntries": [{"option": "Withdraw-13", "target": "Gold bar"}, {"option": "Cancel", "target": ""}],
        "tabs": {"currentTab": "stats", "bounds": {"inventory": BOUNDS}},
        "mouse": {"canvasX": 100, "canvasY": 50},
        "hoverText": "Smelt Furnace / 2 more options",
    }
    assert render_state(state, SPACE, 700).splitlines() == [
        "menu: withdraw-13 gold bar; cancel",
        "tab: stats; inventory @756,430",
        'mouse @131,100 over "smelt furnace"',
    ]
