"""What a click would do: the options under a pixel, for the left click, the hover text and the right-click menu.

`options_at` only reads a state. The left click carries out its first option, the right click lists them all, and the
hover text names the first; `commands` carries options out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vlm_agent.games.ringcraft.geometry import Visible, minimap_tile, tile_at, visible_widgets, visible_world
from vlm_agent.games.ringcraft.layout import LAYOUT
from vlm_agent.games.ringcraft.rules import RULES
from vlm_agent.games.ringcraft.state import MAP_TILES, QUANTITIES, Menu, MenuOption, State

CANCEL = MenuOption("Cancel", "", "cancel")
_CHARACTER_WIDTH_PX = 6
_MENU_MIN_WIDTH_PX = 90


def options_at(state: State, x: int, y: int, world: Sequence[Visible] | None = None) -> list[MenuOption]:
    """Return what can be done at a pixel, the left click's first; empty where a click does nothing.

    `world` may hand over the state's `visible_world`, to save working it out again.
    """
    widget = next((one for one in reversed(visible_widgets(state)) if one.contains(x, y)), None)
    if widget is not None:
        if widget.name == "minimap":
            return _minimap_options(state, x, y)
        describe = _WIDGET_OPTIONS.get(widget.name)
        return describe(state, widget) if describe else []
    if LAYOUT.viewport.contains(x, y):
        return _world_options(state, x, y, visible_world(state) if world is None else world)
    return []


def hover_text(state: State) -> str:
    """Return the text at the viewport's top left: what a left click would do, and how many more options there are."""
    if state.menu is not None or state.pointer.is_dragging:
        return ""
    options = options_at(state, state.pointer.x, state.pointer.y)
    return describe_hover(options)


def describe_hover(options: list[MenuOption]) -> str:
    """Return the hover text for some options."""
    if not options:
        return ""
    first = " ".join(part for part in (options[0].text, options[0].target) if part)
    more = len(options) - 1
    if more == 0:
        return first
    return f"{first} / {more} more option{'s' if more > 1 else ''}"


def open_menu(options: list[MenuOption], x: int, y: int) -> Menu:
    """Return the right-click menu for some options, placed under the pointer and kept inside the frame."""
    rows = [*options, CANCEL]
    longest = max(len(row.text) + 1 + len(row.target) for row in rows)
    width = max(_MENU_MIN_WIDTH_PX, longest * _CHARACTER_WIDTH_PX + 10)
    height = LAYOUT.menu_header_height_px + len(rows) * LAYOUT.menu_row_height_px + 3
    left = min(max(x - width // 2, 0), LAYOUT.frame.right - width)
    return Menu(left, min(max(y, 0), LAYOUT.frame.bottom - height), width, rows)


def amount_text(amount: str, number_for_x: int) -> str:
    """Return how a quantity reads in an option: `X` shows its number."""
    return str(number_for_x) if amount == "X" else amount


def tile_option(tile: tuple[int, int], text: str = "Walk here") -> MenuOption:
    """Return the option that walks to a tile."""
    return MenuOption(text, "", "walk", tile[0] + tile[1] * MAP_TILES)


def _minimap_options(state: State, x: int, y: int) -> list[MenuOption]:
    tile = minimap_tile(state, x, y)
    return [tile_option(tile)] if tile else []


def _world_options(state: State, x: int, y: int, world: Sequence[Visible]) -> list[MenuOption]:
    actions: list[MenuOption] = []
    examines: list[MenuOption] = []
    for seen in reversed(world):
        if seen.kind != "player" and seen.contains(x, y):
            actions += _actions_on(state, seen)
            name = RULES.objects[seen.name].name if seen.kind == "object" else RULES.npcs[seen.name].name
            examines.append(MenuOption("Examine", name, "examine"))
    tile = tile_at(state, x, y)
    walk = [tile_option(tile)] if tile else []
    return actions + walk + examines


def _actions_on(state: State, seen: Visible) -> list[MenuOption]:
    if seen.kind == "npc":
        return [MenuOption("Talk-to", RULES.npcs[seen.name].name, "talk", seen.index)]
    kind = RULES.objects[seen.name]
    options = [MenuOption(text, kind.name, "interact", seen.index, text) for text in kind.options]
    picked = state.inventory[state.selected_slot] if state.selected_slot >= 0 else None
    if picked is not None:
        target = f"{RULES.items[picked.item].name} -> {kind.name}"
        options.insert(0, MenuOption("Use", target, "interact", seen.index, "Use", picked.item))
    return options


def _inventory_options(state: State, widget: Visible) -> list[MenuOption]:
    stack = state.inventory[widget.index]
    if stack is None:
        return []
    name = RULES.items[stack.item].name
    examine = MenuOption("Examine", name, "examine", item=stack.item)
    if state.mode == "bank":
        return [*_amounts("Deposit", "deposit", stack.item, state), examine]
    return [MenuOption("Use", name, "use", widget.index, item=stack.item), examine]


def _bank_slot_options(state: State, widget: Visible) -> list[MenuOption]:
    item = state.bank[widget.index].item
    examine = MenuOption("Examine", RULES.items[item].name, "examine", item=item)
    return [*_amounts("Withdraw", "withdraw", item, state), examine]


def _amounts(text: str, verb: str, item: str, state: State) -> list[MenuOption]:
    name = RULES.items[item].name
    order = [state.bank_quantity, *(amount for amount in QUANTITIES if amount != state.bank_quantity)]
    return [
        MenuOption(f"{text}-{amount_text(amount, state.bank_x)}", name, verb, amount=amount, item=item)
        for amount in order
    ]


def _product_options(state: State, widget: Visible) -> list[MenuOption]:
    product = RULES.products[widget.index]
    name = RULES.items[product.key].name
    order = [state.furnace_quantity, *(amount for amount in QUANTITIES if amount != state.furnace_quantity)]
    return [
        MenuOption(f"Make-{amount_text(amount, state.furnace_x)}", name, "make", widget.index, amount, product.key)
        for amount in order
    ]


def _tab_options(_state: State, widget: Visible) -> list[MenuOption]:
    return [MenuOption(widget.label.capitalize(), "", "select_tab", amount=widget.label)]


def _orb_options(_state: State, widget: Visible) -> list[MenuOption]:
    return [MenuOption("Toggle run", "", "toggle_run")] if widget.label == "run" else []


def _quantity_options(_state: State, widget: Visible) -> list[MenuOption]:
    window = widget.name.removesuffix("_quantity")
    return [MenuOption(f"Quantity {widget.label}", "", f"set_{window}_quantity", amount=widget.label)]


def _fixed(text: str, verb: str) -> Callable[[State, Visible], list[MenuOption]]:
    return lambda _state, _widget: [MenuOption(text, "", verb)]


_WIDGET_OPTIONS: dict[str, Callable[[State, Visible], list[MenuOption]]] = {
    "inventory": _inventory_options,
    "bank_slot": _bank_slot_options,
    "product": _product_options,
    "tab": _tab_options,
    "orb": _orb_options,
    "bank_quantity": _quantity_options,
    "furnace_quantity": _quantity_options,
    "compass": _fixed("Look North", "look_north"),
    "deposit_inventory": _fixed("Deposit inventory", "deposit_all"),
    "bank_close": _fixed("Close", "close"),
    "furnace_close": _fixed("Close", "close"),
    "dialog_continue": _fixed("Continue", "continue"),
}
