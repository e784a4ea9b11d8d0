"""Where an instructed player presses next: a rectangle to click, a key to tap, or nothing but waiting.

All of it only reads a state; rectangles come from `geometry` and `sight`, so a click in one does what it is for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vlm_agent.games.ringcraft.geometry import click_point, menu_row_rects, visible_world
from vlm_agent.games.ringcraft.layout import LAYOUT, Rect
from vlm_agent.games.ringcraft.sight import find_object, minimap_rect, reachable_rect
from vlm_agent.games.ringcraft.state import State

_NPC_AIM_PX = 5


@dataclass(frozen=True, slots=True)
class Target:
    """One press, or none."""

    kind: Literal["click", "key", "wait"]
    rect: Rect | None = None
    """Where to click: any pixel of it does the same. Frame pixels; None unless `kind` is `click`."""
    button: str = "left"
    key: str = ""
    """Which key to tap; empty unless `kind` is `key`."""


WAIT = Target("wait")


def click(rect: Rect | None, button: str = "left") -> Target:
    """Return the target for a click, or waiting where there is nothing to click."""
    return WAIT if rect is None else Target("click", rect, button)


def tap(key: str) -> Target:
    """Return the target for a key."""
    return Target("key", key=key)


def find_in_bank(state: State, item: str) -> Rect | None:
    """Return the bank cell that shows an item, or None; doesn't ask whether the bank is open."""
    cells = zip(state.bank, LAYOUT.bank.cells, strict=False)
    return next((rect for stack, rect in cells if stack.item == item), None)


def find_in_inventory(state: State, item: str) -> Rect | None:
    """Return the first inventory cell that holds an item, or None."""
    cells = zip(state.inventory, LAYOUT.inventory, strict=True)
    return next((rect for stack, rect in cells if stack is not None and stack.item == item), None)


def close_rect(state: State) -> Rect | None:
    """Return the close button of the open window, or None."""
    windows = {"bank": LAYOUT.bank.close, "furnace": LAYOUT.furnace.close}
    return windows.get(state.mode)


def menu_row(state: State, text: str, name: str = "") -> Rect | None:
    """Return the row of the open right-click menu that says something, or None."""
    if state.menu is None:
        return None
    rows = zip(state.menu.options, menu_row_rects(state.menu), strict=True)
    return next((rect for option, rect in rows if option.text == text and name in ("", option.target)), None)


def first_clear_away(state: State, *, wants_inventory: bool = False) -> Target | None:
    """Return the press that removes what is in the way of an ordinary click, or None when nothing is."""
    if state.menu is not None:
        return click(menu_row(state, "Cancel"))
    if wants_inventory and state.tab != "inventory":
        return click(LAYOUT.tabs["inventory"])
    return None


def reach_object(state: State, kind: str) -> Target:
    """Return the press that goes to the nearest object of a kind: the object, the minimap, or a window to close."""
    aside = first_clear_away(state)
    if aside is not None:
        return aside
    if is_going_to(state, kind):
        return WAIT
    close = close_rect(state)
    if close is not None:
        return click(close)
    index = find_object(state, kind)
    if index is None:
        return WAIT
    rect = reachable_rect(state, index)
    if rect is None and state.player.path:
        return WAIT
    return click(rect or minimap_rect(state, index))


def is_going_to(state: State, kind: str) -> bool:
    """Tell whether the player is on the way to an object of a kind, or has just been told to go."""
    errand = state.player.errand
    told = [option.index for option in state.queued if option.verb == "interact"]
    if errand is not None and errand.verb == "interact":
        told.append(errand.index)
    return any(state.objects[index].kind == kind for index in told)


def npc_rect(state: State, kind: str) -> Rect | None:
    """Return a small rectangle on a character of a kind that can be clicked now, or None."""
    world = visible_world(state)
    if close_rect(state) is not None:
        return None
    for seen in reversed(world):
        if seen.kind == "npc" and seen.name == kind:
            point = click_point(state, seen, world)
            if point is not None:
                half = _NPC_AIM_PX // 2
                return Rect(point[0] - half, point[1] - half, _NPC_AIM_PX, _NPC_AIM_PX)
    return None


def object_rect(state: State, kind: str) -> Rect | None:
    """Return where an object of a kind can be clicked now, the nearest first; None where none is in view."""
    if close_rect(state) is not None:
        return None
    player = state.player
    near = sorted(
        ((thing.x - player.x) ** 2 + (thing.y - player.y) ** 2, index)
        for index, thing in enumerate(state.objects)
        if thing.kind == kind
    )
    rects = (reachable_rect(state, index) for _, index in near)
    return next((rect for rect in rects if rect is not None), None)


def clear_or(state: State, target: Target, *, wants_inventory: bool = False) -> Target:
    """Return the press that clears the way where something is in it, else the target itself."""
    return first_clear_away(state, wants_inventory=wants_inventory) or target


def examine_target(state: State, name: str, rect: Rect | None) -> Target:
    """Return the press that examines a thing: the `Examine` row of the open menu, else a right click on the thing."""
    row = menu_row(state, "Examine", name)
    return click(row) if row is not None else clear_or(state, click(rect, "right"))
