"""What a player does next to craft sapphire rings, as a rule from what is to be seen to one step.

The rule has no memory: the same state and habits always give the same step, so that someone who watches can learn it,
and whatever goes wrong (a misclick, a dialog, a window that closed) is dealt with by looking again. It is a trip: at
the bank put away the rings (everything, if anything is carried that shouldn't be), take 13 gold bars, take 13
sapphires, close; at the furnace make all; back.
This module says where to press and never presses: `demonstrator` does, by hand.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import atan2, pi
from typing import Literal

from vlm_agent.games.ringcraft.geometry import menu_row_rects
from vlm_agent.games.ringcraft.layout import LAYOUT, Rect
from vlm_agent.games.ringcraft.rules import RULES
from vlm_agent.games.ringcraft.sight import minimap_rect, reachable_rect, sort_objects
from vlm_agent.games.ringcraft.skill import Habits
from vlm_agent.games.ringcraft.state import FULL_TURN, Crafting, Stack, State

PRODUCT = "sapphire_ring"
LOAD = 13
"""Rings a trip: 13 bars, 13 gems and the mould fill 27 of 28 slots."""
TURN_TILES = 9
"""A player who turns the camera does so for things no further off than this; it wouldn't show those beyond."""
HIDDEN_TILES = 3
"""What can't be seen from so near is hidden by something, and the camera must look at it from another side."""
LOOK_ROUND_UNITS = 300
AHEAD_UNITS = 128
"""A thing within this yaw of straight ahead won't come into view by turning."""

Place = Literal[
    "menu_row", "tab", "orb", "inventory", "bank_quantity", "bank_slot", "deposit_all", "close", "furnace_quantity",
    "product", "object", "minimap", "nowhere",
]  # fmt: skip


_CELLS = {"inventory": LAYOUT.inventory, "bank_slot": LAYOUT.bank.cells, "product": LAYOUT.furnace.cells}
_LABELLED = {
    "tab": LAYOUT.tabs,
    "orb": LAYOUT.orbs,
    "bank_quantity": LAYOUT.bank.quantities,
    "furnace_quantity": LAYOUT.furnace.quantities,
    "close": {"bank": LAYOUT.bank.close, "furnace": LAYOUT.furnace.close},
}


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do, or to wait for."""

    name: str
    """What it is for."""
    goal: str
    """The short goal it serves, by its text in `goals.GOALS`."""
    kind: Literal["click", "key", "turn", "wait"]
    """A left click, a tap of a key, an arrow key held to turn the camera, or nothing."""
    place: Place = "nowhere"
    """Where a click goes."""
    index: int = 0
    """Which slot, cell, row or object of that place; of a waiting step, the object that is walked to."""
    label: str = ""
    """Which tab, orb, quantity or window; of a `key` or `turn` step, the key."""


def choose_step(state: State, habits: Habits) -> Step:
    """Return what this player does next when the screen shows `state`."""
    if state.menu is not None:
        return Step("close the menu", "close the menu", "click", "menu_row", len(state.menu.options) - 1)
    if state.mode == "levelup":
        return Step("continue", "continue the dialog", "key", label="space")
    if state.tab != "inventory":
        return Step("show the inventory", "open the inventory tab", "click", "tab", label="inventory")
    if state.mode == "bank":
        return _choose_in_bank(state, habits)
    if state.mode == "furnace":
        return _choose_at_furnace(state, habits)
    if state.crafting.remaining > 0:
        return Step("wait for the rings", "wait until the rings are done", "wait")
    if state.selected_slot >= 0:
        picked = state.inventory[state.selected_slot]
        goal = f"use the {RULES.items[picked.item].name.lower()}" if picked else "open the inventory tab"
        return Step("let go of the item", goal, "click", "inventory", state.selected_slot)
    if habits.runs not in (None, state.player.is_running):
        return Step("set the pace", "start running" if habits.runs else "stop running", "click", "orb", label="run")
    if _num_to_make(state) > 0:
        return _go_to(state, "furnace", habits)
    return _go_to(state, "bank_booth", habits)


def locate(state: State, step: Step) -> Rect | None:
    """Return where on the screen a click of this step goes; None for other steps and for what isn't in view."""
    if step.place in _CELLS:
        return _CELLS[step.place][step.index]
    if step.place == "deposit_all":
        return LAYOUT.bank.deposit_inventory
    if step.place in _LABELLED:
        return _LABELLED[step.place][step.label]
    if step.place == "object":
        return reachable_rect(state, step.index)
    if step.place == "minimap":
        return minimap_rect(state, step.index)
    if step.place == "menu_row" and state.menu is not None:
        return menu_row_rects(state.menu)[step.index]
    return None


def foresee(state: State, step: Step) -> State:
    """Return the state this player expects once `step` has worked; the given one is not touched.

    Good enough to point at the next place in advance, not a copy of the rules.
    """
    match step.name:
        case "close the window":
            return replace(state, mode="none")
        case "put away":
            item = state.inventory[step.index]
            return replace(state, inventory=_without(state, item.item if item else ""))
        case "put all away":
            return _foresee_empty_bag(state)
        case "choose X":
            return replace(state, bank_quantity="X")
        case "take":
            return replace(state, inventory=_with(state, state.bank[step.index].item))
        case "choose All":
            return replace(state, furnace_quantity="All")
        case "make sapphire rings":
            return _foresee_rings(state)
        case "wait for the rings":
            return _foresee_rings(replace(state, crafting=Crafting()))
        case "go to the furnace" | "go to the bank":
            at_furnace = step.name.endswith("furnace")
            return replace(state, mode="furnace" if at_furnace else "bank", player=replace(state.player, errand=None))
    return state


def turn_units(state: State, step: Step) -> int:
    """Return how far a `turn` step turns the camera, units of yaw."""
    return LOOK_ROUND_UNITS if step.name == "look round it" else abs(turn_needed(state, step.index))


def turn_needed(state: State, index: int) -> int:
    """Return the change of yaw, -1024..1023, that would bring an object straight ahead."""
    thing, camera = state.objects[index], state.camera
    east, north = thing.x - camera.focus_x, thing.y - camera.focus_y
    # Yaw grows as the view turns left: looking west is a quarter turn.
    bearing = round(atan2(-east, north) * FULL_TURN / (2 * pi))
    return (bearing - camera.yaw + FULL_TURN // 2) % FULL_TURN - FULL_TURN // 2


def _choose_in_bank(state: State, habits: Habits) -> Step:
    step = _put_away(state) or _take(state, habits)
    if step is None and _num_to_make(state) == 0:
        return Step("nothing left to make", "close the bank", "wait")
    if step is None:
        return _close("bank", habits)
    if state.bank_quantity != "X":
        return Step("choose X", "select quantity X", "click", "bank_quantity", label="X")
    return step


def _take(state: State, habits: Habits) -> Step | None:
    """Return the step that withdraws what is missing first, or None."""
    materials = ("gold_bar", "sapphire") if habits.first_item == "gold_bar" else ("sapphire", "gold_bar")
    for item in ("ring_mould", *materials):
        slot = _bank_slot(state, item)
        if _num(state, item) == 0 and slot is not None:
            return Step("take", f"withdraw {RULES.items[item].many}", "click", "bank_slot", slot)
    return None


def _choose_at_furnace(state: State, habits: Habits) -> Step:
    if _num_to_make(state) == 0 or state.crafting.remaining > 0:
        return _close("furnace", habits)
    if state.furnace_quantity != "All":
        return Step("choose All", "select quantity All", "click", "furnace_quantity", label="All")
    index = next(i for i, product in enumerate(RULES.products) if product.key == PRODUCT)
    return Step("make sapphire rings", "make sapphire rings", "click", "product", index)


def _go_to(state: State, kind: str, habits: Habits) -> Step:
    """Click the object when it is in view; else come nearer by the minimap, or turn the camera to it."""
    name, goal = ("go to the furnace", "use the furnace") if kind == "furnace" else ("go to the bank", "open the bank")
    if _walks_to(state, kind):
        return Step(name, goal, "wait")
    candidates = sort_objects(state, kind)
    if not candidates:
        return Step("nowhere to go", goal, "wait")
    for index in candidates:
        if reachable_rect(state, index) is not None:
            return Step(name, goal, "click", "object", index)
    return _come_into_view(state, candidates[0], goal, habits)


def _come_into_view(state: State, index: int, goal: str, habits: Habits) -> Step:
    if _is_heading_for(state, index):
        return Step("come nearer", goal, "wait", index=index)
    distance = _distance_tiles(state, index)
    if distance <= HIDDEN_TILES:
        return Step("look round it", goal, "turn", index=index, label="left")
    turn = turn_needed(state, index)
    if habits.turns_camera and distance <= TURN_TILES and abs(turn) > AHEAD_UNITS:
        return Step("turn to it", goal, "turn", index=index, label="left" if turn > 0 else "right")
    return Step("come nearer", goal, "click", "minimap", index)


def _walks_to(state: State, kind: str) -> bool:
    errand = state.player.errand
    return errand is not None and errand.verb == "interact" and state.objects[errand.index].kind == kind


def _is_heading_for(state: State, index: int) -> bool:
    """Tell whether the walk under way brings the player at least half the way to an object."""
    if not state.player.path:
        return False
    thing, (x, y) = state.objects[index], state.player.path[-1]
    return max(abs(thing.x - x), abs(thing.y - y)) <= max(2, _distance_tiles(state, index) // 2)


def _distance_tiles(state: State, index: int) -> int:
    thing, player = state.objects[index], state.player
    return max(abs(thing.x - player.x), abs(thing.y - player.y))


def _close(window: str, habits: Habits) -> Step:
    goal = "close the bank" if window == "bank" else "close the furnace window"
    if habits.closes_with == "key":
        return Step("close the window", goal, "key", label="escape")
    return Step("close the window", goal, "click", "close", label=window)


def _put_away(state: State) -> Step | None:
    """Return the step that deposits the rings; everything, if there are oddments or loads of the wrong size."""
    carried = {stack.item: slot for slot, stack in reversed(list(enumerate(state.inventory))) if stack is not None}
    loads = [item for item in ("gold_bar", "sapphire") if item in carried]
    if carried.keys() - {"ring_mould", PRODUCT, *loads} or any(_num(state, i) != _load_of(state, i) for i in loads):
        return Step("put all away", "deposit the inventory", "click", "deposit_all")
    if PRODUCT in carried:
        return Step("put away", f"deposit the {RULES.items[PRODUCT].many}", "click", "inventory", carried[PRODUCT])
    return None


def _load_of(state: State, item: str) -> int:
    slot = _bank_slot(state, item)
    return min(LOAD, _num(state, item) + (state.bank[slot].quantity if slot is not None else 0))


def _num_to_make(state: State) -> int:
    product = RULES.product(PRODUCT)
    if _num(state, product.tool) == 0:
        return 0
    return min(_num(state, item) for item in product.inputs)


def _num(state: State, item: str) -> int:
    return sum(stack.quantity for stack in state.inventory if stack is not None and stack.item == item)


def _bank_slot(state: State, item: str) -> int | None:
    return next((i for i, stack in enumerate(state.bank) if stack.item == item and stack.quantity > 0), None)


def _without(state: State, item: str) -> list[Stack | None]:
    return [None if stack is None or stack.item == item else stack for stack in state.inventory]


def _with(state: State, item: str) -> list[Stack | None]:
    count = 1 if item == "ring_mould" else LOAD
    inventory = list(state.inventory)
    for slot, stack in enumerate(inventory):
        if stack is None and count > 0:
            inventory[slot] = Stack(item)
            count -= 1
    return inventory


def _foresee_empty_bag(state: State) -> State:
    # Of what is put away only the mould is wanted at once; what is new in the bank comes last.
    has_mould = _num(state, "ring_mould") > 0
    bank = [*state.bank, Stack("ring_mould")] if has_mould and _bank_slot(state, "ring_mould") is None else state.bank
    return replace(state, inventory=[None] * len(state.inventory), bank=bank)


def _foresee_rings(state: State) -> State:
    bare = replace(state, inventory=_without(state, "gold_bar"))
    bare = replace(bare, mode="none", inventory=_without(bare, "sapphire"))
    return replace(bare, inventory=_with(bare, PRODUCT))
