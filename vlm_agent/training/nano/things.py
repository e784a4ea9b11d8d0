"""Names and boxes of everything on a Ringcraft screen, for the dense vision stage and for questions that only point."""

from __future__ import annotations

from collections.abc import Callable

from vlm_agent.games.ringcraft.geometry import (
    Visible,
    click_point,
    minimap_point,
    visible_widgets,
    visible_world,
)
from vlm_agent.games.ringcraft.layout import LAYOUT, Rect
from vlm_agent.games.ringcraft.rules import RULES
from vlm_agent.games.ringcraft.state import State
from vlm_agent.training.nano.samples import Thing

MARKED, MARK_PX = ("bank_booth", "furnace"), 11
"""Kinds of objects that have a mark of their own on the minimap, and its size in frame pixels."""
POINTER = "pointer"
"""Name of the mouse pointer, which lies on top of everything."""


def list_things(state: State) -> list[Thing]:
    """Return what can be recognised on a state's screen; what is hidden by a window or by nearer things is left out."""
    widgets = visible_widgets(state)
    things = [thing for widget in widgets if (thing := _name_widget(widget, state))]
    world = visible_world(state)
    for seen in world:
        point = click_point(state, seen, world)
        if point is not None:
            things.append(_thing(words_of(seen.name), seen.rect, is_anywhere=True))
    things += _map_marks(state)
    pointer = state.pointer
    if LAYOUT.frame.contains(pointer.x, pointer.y):
        things.append(_thing(POINTER, Rect(pointer.x - 4, pointer.y - 4, 9, 9)))
    return things


def _map_marks(state: State) -> list[Thing]:
    """The marks on the minimap that can be told apart; other things are dots there."""
    marks = []
    for thing in state.objects:
        if thing.kind not in MARKED:
            continue
        kind = RULES.objects[thing.kind]
        point = minimap_point(state, thing.x + (kind.width - 1) / 2, thing.y + (kind.depth - 1) / 2)
        if point is not None:
            left, top = round(point[0]) - MARK_PX // 2, round(point[1]) - MARK_PX // 2
            marks.append(_thing(words_of(thing.kind), Rect(left, top, MARK_PX, MARK_PX), is_anywhere=True))
    return marks


def _name_widget(widget: Visible, state: State) -> Thing | None:
    name = _NAMES.get(widget.name)
    words = name(widget, state) if name else ""
    return _thing(words, widget.rect) if words else None


def _inventory(widget: Visible, state: State) -> str:
    stack = state.inventory[widget.index]
    return words_of(stack.item) if stack else ""


def _bank_slot(widget: Visible, state: State) -> str:
    return words_of(state.bank[widget.index].item)


def _product(widget: Visible, _: State) -> str:
    return f"make {words_of(RULES.products[widget.index].key)}"


def _label(widget: Visible, _: State) -> str:
    return f"{words_of(widget.name)} {widget.label.lower()}"


def _selected(chosen: Callable[[State], str]) -> Callable[[Visible, State], str]:
    def name(widget: Visible, state: State) -> str:
        mark = " selected" if widget.label == chosen(state) else ""
        return f"quantity {widget.label.lower()}{mark}"

    return name


def _plain(widget: Visible, _: State) -> str:
    return words_of(widget.name)


_NAMES: dict[str, Callable[[Visible, State], str]] = {
    "inventory": _inventory,
    "bank_slot": _bank_slot,
    "product": _product,
    "tab": _label,
    "bank_quantity": _selected(lambda state: state.bank_quantity),
    "furnace_quantity": _selected(lambda state: state.furnace_quantity),
    "bank_close": _plain,
    "furnace_close": _plain,
    "deposit_inventory": _plain,
    "dialog_continue": _plain,
    "compass": _plain,
    "orb": _label,
}


def words_of(key: str) -> str:
    """Return what a person calls something of the rules."""
    return key.replace("_", " ")


def _thing(name: str, rect: Rect, *, is_anywhere: bool = False) -> Thing:
    frame = LAYOUT.frame
    return Thing(
        name,
        left=rect.x * 1000 // frame.width,
        top=rect.y * 1000 // frame.height,
        right=(rect.x + rect.width) * 1000 // frame.width,
        bottom=(rect.y + rect.height) * 1000 // frame.height,
        is_anywhere=is_anywhere,
    )
