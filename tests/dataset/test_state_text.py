"""Game state as text: golden texts of real exports, a hard cap, and no way to make it raise."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlm_agent.actions.space import CoordinateSpace
from vlm_agent.dataset.state_text import (
    MAX_BANK_ITEMS,
    MAX_MENU_ROWS,
    MAX_NEAR,
    MAX_WORDS_CHARS,
    PLENTY,
    crop_state,
    render_state,
)
from vlm_agent.games.ringcraft.core import Ringcraft
from vlm_agent.games.ringcraft.state import Stack

SPACE = CoordinateSpace(765, 503)
BOUNDS = {"x": 560, "y": 200, "width": 36, "height": 32}

THING_KEYS = (
    "name",
    "itemName",
    "itemId",
    "quantity",
    "distance",
    "bounds",
    "clickbox",
    "canvasX",
    "minimapX",
    "option",
)
ODD = (None, True, False, -1, 0, 3, 10**30, 2.5, float("nan"), float("inf"), "", "Gold bar", "<col=1>x;\n\ty", "ü" * 90)


def random_json(rng, depth=2):
    """Return any JSON-like value."""
    if depth and rng.random() < 0.3:
        keys = [rng.choice(["x", "y", "slots", "name", "", "bounds"]) for _ in range(rng.randint(0, 3))]
        return {key: random_json(rng, depth - 1) for key in keys}
    if depth and rng.random() < 0.2:
        return [random_json(rng, depth - 1) for _ in range(rng.randint(0, 3))]
    return rng.choice(ODD)


def maybe(rng, value):
    """Return the value, or now and then anything else."""
    return value if rng.random() < 0.85 else random_json(rng)


def random_bounds(rng):
    return {key: maybe(rng, rng.randint(-50, 900)) for key in ("x", "y", "width", "height")}


def random_thing(rng):
    thing = {key: random_json(rng) for key in THING_KEYS if rng.random() < 0.3}
    names = {"name": rng.choice(["Tree", "Bank booth", "x" * 80]), "itemName": rng.choice(["Sapphire", "Coal"])}
    places = {"bounds": random_bounds(rng), "clickbox": random_bounds(rng), "canvasX": 5, "canvasY": 9}
    return maybe(rng, {**{k: v for k, v in {**names, **places}.items() if rng.random() < 0.7}, **thing})


def random_state(rng):
    """Return a state in which every known key may be missing, right, or anything at all."""
    things = {key: maybe(rng, [random_thing(rng) for _ in range(rng.randint(0, 12))]) for key in "abcde"}
    widgets = {rng.choice(["close", "quantity_x", "quantity", ";"]): {"bounds": random_bounds(rng)} for _ in range(5)}
    state = {
        "player": {"animation": rng.choice(ODD), "isMoving": rng.choice(ODD)},
        "inventory": {"slots": things["a"], "emptySlots": rng.choice(ODD)},
        "bank": {"bankOpen": True, "slots": things["b"]},
        "bank_widgets": {**widgets, "quantity": rng.choice(ODD)},
        "craftingInterfaceOpen": True,
        "crafting_widgets": widgets,
        "levelUpDialog": {"continue": {"bounds": random_bounds(rng)}},
        "menuOpen": True,
        "menuEntries": things["c"],
        "closestGameObjects": things["d"],
        "closestNPCs": things["e"],
        "mouse": {"canvasX": rng.choice(ODD), "canvasY": rng.choice(ODD)},
        "hoverText": rng.choice(ODD),
        "tabs": {"currentTab": rng.choice(ODD), "bounds": {"inventory": random_bounds(rng)}},
        "skills": {"craftingLevel": rng.choice(ODD)},
        "chat": [rng.choice(ODD)],
    }
    return {key: maybe(rng, value) for key, value in state.items() if rng.random() < 0.8}


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 2**32), max_chars=st.integers(0, 900))
def test_any_state_fits_the_cap_and_never_raises(seed, max_chars):
    state = random_state(random.Random(seed))
    text = render_state(state, SPACE, max_chars)
    assert len(text) <= max_chars
    assert text == render_state(state, SPACE, max_chars)
    assert all(line.strip() for line in text.splitlines())


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
    shorter = render_state(state, SPACE, 80)
    assert shorter.splitlines()[-1].startswith("now: idle; bank open")


@pytest.mark.parametrize(
    ("animation", "is_moving", "words"),
    [(-1, False, "idle"), (-1, True, "moving"), (899, False, "crafting"), (714, False, "busy")],
)
def test_what_the_player_does(animation, is_moving, words):
    state = {"player": {"animation": animation, "isMoving": is_moving}}
    assert render_state(state, SPACE, 700) == f"now: {words}"


def test_items_are_gathered_by_name_and_placed_at_the_first():
    slots = [
        {"itemId": 1, "itemName": "Gold bar", "quantity": 1, "bounds": BOUNDS},
        {"itemId": -1, "itemName": "", "quantity": 0},
        {"itemId": 1, "itemName": "Gold bar", "quantity": 1, "bounds": {**BOUNDS, "x": 700}},
    ]
    text = render_state({"inventory": {"slots": slots, "emptySlots": 26}}, SPACE, 700)
    assert text.splitlines() == ["inv: gold bar @756,430", "now: have gold bar 2; free 26"]


def test_a_bank_s_small_stacks_are_counted():
    slots = [{"itemName": "Coal", "quantity": count, "bounds": BOUNDS} for count in (PLENTY - 1, PLENTY)]
    text = render_state({"bank": {"bankOpen": True, "slots": slots}}, SPACE, 700)
    assert text.splitlines() == ["bank: coal @756,430 x99; coal @756,430", "now: bank open"]


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("none", "idle; no window; have nothing; free 28"),
        ("bank", "idle; bank open; quantity x; have nothing; free 28"),
        ("furnace", "idle; furnace window open; quantity all; have nothing; free 28"),
        ("levelup", "idle; dialog open; have nothing; free 28"),
    ],
)
def test_the_last_line_says_how_things_stand(mode, words):
    game = Ringcraft(3)
    state = game.state
    state.mode, state.bank_quantity, state.furnace_quantity = mode, "X", "All"
    state.inventory = [None] * len(state.inventory)
    assert render_state(game.export(), SPACE, 700).splitlines()[-1] == f"now: {words}"


def test_an_item_in_hand_and_another_tab_are_told():
    game = Ringcraft(3)
    game.state.inventory = [Stack("sapphire"), Stack("gold_bar"), *[None] * 26]
    game.state.selected_slot, game.state.tab = 1, "magic"
    text = render_state(game.export(), SPACE, 700)
    want = "idle; no window; magic tab; gold bar selected; have sapphire 1; gold bar 1; free 26"
    assert text.splitlines()[-1] == f"now: {want}"
    assert "inv:" not in text  # what another tab covers can't be clicked


def test_how_things_stand_is_left_out_last():
    game = Ringcraft(3)
    game.state.mode = "bank"
    assert render_state(game.export(), SPACE, 60).startswith("now: idle; bank open")


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
        "now: menu open; stats tab",
    ]


def test_of_a_large_bank_the_largest_stacks_are_shown_in_their_order():
    counts = [number * 7 % 30 + 1 for number in range(30)]
    slots = [{"itemName": f"item {number}", "quantity": count} for number, count in enumerate(counts)]
    text = render_state({"bank": {"bankOpen": True, "slots": slots}}, SPACE, 2000).splitlines()[0]
    largest = sorted(counts)[-MAX_BANK_ITEMS:]
    assert text == "bank: " + "; ".join(f"item {i} x{count}" for i, count in enumerate(counts) if count in largest)


def test_what_is_carried_in_several_stacks_is_added_up():
    slots = [{"itemName": name, "quantity": count} for name, count in (("Coal", 3), ("Ring", None), ("Coal", 20))]
    assert render_state({"inventory": {"slots": slots}}, SPACE, 700) == "now: have coal 23; ring 1"


def test_lists_and_names_have_an_end():
    things = [{"name": f"tree {i}", "distance": i, "canvasX": 10, "canvasY": 10} for i in range(MAX_NEAR + 3)]
    assert render_state({"closestGameObjects": things[::-1]}, SPACE, 2000).count("tree") == MAX_NEAR
    rows = [{"option": f"take {i}", "target": ""} for i in range(MAX_MENU_ROWS + 3)]
    menu = render_state({"menuOpen": True, "menuEntries": rows}, SPACE, 2000).splitlines()[0]
    assert menu == "menu: " + "; ".join(f"take {i}" for i in range(MAX_MENU_ROWS))
    assert render_state({"chat": ["old", "n" * 90]}, SPACE, 2000) == "chat: " + "n" * MAX_WORDS_CHARS


@pytest.mark.parametrize(
    ("thing", "left"),
    [
        ({"canvasX": 20, "canvasY": 30}, {"canvasX": 16, "canvasY": 27}),
        ({"minimapX": 4, "minimapY": 3}, {"minimapX": 0, "minimapY": 0}),
        ({"canvasX": 53, "canvasY": 42, "name": "rock"}, {"canvasX": 49, "canvasY": 39, "name": "rock"}),
        ({"canvasX": 54, "canvasY": 42, "name": "rock"}, {"name": "rock"}),
        ({"canvasX": 53, "canvasY": 43, "name": "rock"}, {"name": "rock"}),
        ({"canvasX": 3, "canvasY": 30, "name": "rock"}, {"name": "rock"}),
        ({"canvasX": -1, "canvasY": -1}, {"canvasX": -1, "canvasY": -1}),
        ({"x": 10, "y": 20, "width": 6, "height": 8}, {"x": 6, "y": 17, "width": 6, "height": 8}),
        ({"x": 0, "y": 20, "width": 6, "height": 8}, None),  # its middle is cut off
        ({"x": 2, "y": 20, "width": 6, "height": 8}, {"x": -2, "y": 17, "width": 6, "height": 8}),
        ([{"canvasX": 20, "canvasY": 30}, 5], [{"canvasX": 16, "canvasY": 27}, 5]),
    ],
)
def test_where_a_part_is_seen_places_count_from_there(thing, left):
    assert crop_state({"a": thing}, (4, 3, 50, 40)) == {"a": left}


def test_the_middle_of_a_rectangle_is_clicked():
    state = {"levelUpDialog": {"continue": {"bounds": {"x": 100, "y": 50, "width": 20, "height": 60}}}}
    x, y = SPACE.to_model(110, 80)
    assert f"dialog: continue @{x},{y}" in render_state(state, SPACE, 700)
