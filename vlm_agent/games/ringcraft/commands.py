"""What options do: one function a verb, each changing the state and nothing else.

Interface verbs act at once, world verbs wait in `state.queued` for the next world tick, in the order they were given.
Quantities are fixed when the option is chosen; an item is named by its key, so it may have moved to another slot.
"""

from __future__ import annotations

from collections.abc import Callable

from vlm_agent.games.ringcraft.pathing import blocked_tiles, find_path, footprint, tiles_beside
from vlm_agent.games.ringcraft.rules import RULES, level_of
from vlm_agent.games.ringcraft.state import (
    MAP_TILES,
    QUANTITIES,
    ClickCross,
    Crafting,
    Errand,
    Interaction,
    MenuOption,
    Quantity,
    Stack,
    State,
)

CHAT_LINES_KEPT = 30
CROSS_TICKS = 20
_ALL = 10**9


def carry_out(state: State, option: MenuOption) -> None:
    """Do what an option says: at once, or at the next world tick."""
    if option.verb == "cancel":
        return
    note_interaction(state, option.text, option.target or option.amount)
    if option.verb in WORLD_VERBS:
        state.queued.append(option)
        if option.verb in _WALKING_VERBS:
            is_red = option.verb != "walk"
            state.cross = ClickCross(state.pointer.x, state.pointer.y, is_red, CROSS_TICKS)
    else:
        INTERFACE_VERBS[option.verb](state, option)
    if option.verb not in ("use", "examine", "select_tab"):
        state.selected_slot = -1


def carry_out_queued(state: State) -> None:
    """Carry out the world commands given since the last tick."""
    queued, state.queued = state.queued, []
    for option in queued:
        WORLD_VERBS[option.verb](state, option)


def note_interaction(state: State, action: str, target: str) -> None:
    """Remember the last thing done, for the export and the goals."""
    pointer = state.pointer
    count = state.interaction.count + 1
    state.interaction = Interaction(action, target, pointer.x, pointer.y, state.now_ms, count)


def say(state: State, line: str) -> None:
    """Write a line into the chat box."""
    state.chat.append(line)
    del state.chat[:-CHAT_LINES_KEPT]


def count_items(state: State, item: str) -> int:
    """Return how many of an item are carried."""
    return sum(stack.quantity for stack in state.inventory if stack is not None and stack.item == item)


def take_items(state: State, item: str, quantity: int) -> int:
    """Remove up to so many of an item from the inventory, last slots first; return how many there were."""
    taken = 0
    for slot in range(len(state.inventory) - 1, -1, -1):
        stack = state.inventory[slot]
        if taken < quantity and stack is not None and stack.item == item:
            state.inventory[slot] = None
            taken += 1
    return taken


def give_items(state: State, item: str, quantity: int) -> int:
    """Put up to so many of an item into the first empty slots; return how many found room."""
    given = 0
    for slot, stack in enumerate(state.inventory):
        if given < quantity and stack is None:
            state.inventory[slot] = Stack(item)
            given += 1
    return given


def close_window(state: State) -> None:
    """Close whatever window or dialog is open."""
    state.mode = "none"
    state.new_level = 0


def stop_crafting(state: State) -> None:
    """End the make-several job, if there is one."""
    state.crafting = Crafting()
    if state.player.animation == "smelt":
        state.player.animation = "idle"


def lacking(state: State, product_index: int) -> str:
    """Return why a product can't be made now, as the chat says it; empty when it can."""
    product = RULES.products[product_index]
    name = RULES.items[product.key].name.lower()
    if level_of(state.crafting_xp) < product.level:
        return f"You need a Crafting level of {product.level} to make a {name}."
    if not count_items(state, product.tool):
        return f"You need a {RULES.items[product.tool].name.lower()} to make a {name}."
    for item in product.inputs:
        if not count_items(state, item):
            return f"You have no {RULES.items[item].name.lower()} to make a {name} with."
    return ""


def walk_to_object(state: State, index: int, option: str) -> None:
    """Set out for an object, to use it the tick after arrival."""
    player = state.player
    beside = tiles_beside(footprint(state.objects[index])) - blocked_tiles(state)
    _set_out(state, beside)
    player.errand = Errand("interact", index, option)


def walk_to_npc(state: State, index: int) -> None:
    """Set out for a character, to talk to it the tick after arrival."""
    npc = state.npcs[index]
    _set_out(state, tiles_beside([(npc.x, npc.y)]) - blocked_tiles(state))
    state.player.errand = Errand("talk", index, "Talk-to")


def _set_out(state: State, goals: set[tuple[int, int]]) -> None:
    close_window(state)
    stop_crafting(state)
    player = state.player
    player.errand = None
    player.path = find_path((player.x, player.y), goals, blocked_tiles(state))


def _walk(state: State, option: MenuOption) -> None:
    _set_out(state, {(option.index % MAP_TILES, option.index // MAP_TILES)})


def _interact(state: State, option: MenuOption) -> None:
    walk_to_object(state, option.index, option.amount)


def _talk(state: State, option: MenuOption) -> None:
    walk_to_npc(state, option.index)


def _number(amount: str, number_for_x: int) -> int:
    if amount == "X":
        return number_for_x
    return _ALL if amount == "All" else int(amount)


def _withdraw(state: State, option: MenuOption) -> None:
    stack = next((stack for stack in state.bank if stack.item == option.item), None)
    if stack is None:
        return
    wanted = min(_number(option.amount, state.bank_x), stack.quantity)
    given = give_items(state, option.item, wanted)
    if given < wanted:
        say(state, "You don't have enough room to carry that many.")
    stack.quantity -= given
    if stack.quantity == 0:
        state.bank.remove(stack)


def _deposit(state: State, option: MenuOption) -> None:
    _put_into_bank(state, option.item, take_items(state, option.item, _number(option.amount, state.bank_x)))


def _deposit_all(state: State, _option: MenuOption) -> None:
    for slot, stack in enumerate(state.inventory):
        if stack is not None:
            state.inventory[slot] = None
            _put_into_bank(state, stack.item, stack.quantity)


def _put_into_bank(state: State, item: str, quantity: int) -> None:
    stack = next((stack for stack in state.bank if stack.item == item), None)
    if stack is not None:
        stack.quantity += quantity
    elif quantity:
        state.bank.append(Stack(item, quantity))


def _make(state: State, option: MenuOption) -> None:
    reason = lacking(state, option.index)
    if reason:
        say(state, reason)
        return
    if state.mode == "furnace":
        close_window(state)
    count = _number(option.amount, state.furnace_x)
    state.crafting = Crafting(option.item, min(count, len(state.inventory)), RULES.ticks_per_product)
    state.player.animation = "smelt"


def _close(state: State, _option: MenuOption) -> None:
    close_window(state)


def _select_tab(state: State, option: MenuOption) -> None:
    state.tab = option.amount


def _use(state: State, option: MenuOption) -> None:
    state.selected_slot = -1 if state.selected_slot == option.index else option.index


def _examine(state: State, option: MenuOption) -> None:
    say(state, RULES.items[option.item].examine if option.item else f"It's a {option.target.lower()}.")


def _toggle_run(state: State, _option: MenuOption) -> None:
    state.player.is_running = not state.player.is_running


def _look_north(state: State, _option: MenuOption) -> None:
    state.camera.yaw = 0
    state.camera.yaw_speed = 0


def _set_bank_quantity(state: State, option: MenuOption) -> None:
    state.bank_quantity = _quantity(option.amount)


def _set_furnace_quantity(state: State, option: MenuOption) -> None:
    state.furnace_quantity = _quantity(option.amount)


def _quantity(text: str) -> Quantity:
    return next(quantity for quantity in QUANTITIES if quantity == text)


Carry = Callable[[State, MenuOption], None]

WORLD_VERBS: dict[str, Carry] = {
    "walk": _walk,
    "interact": _interact,
    "talk": _talk,
    "withdraw": _withdraw,
    "deposit": _deposit,
    "deposit_all": _deposit_all,
    "make": _make,
}
"""Commands that wait for the next world tick."""

INTERFACE_VERBS: dict[str, Carry] = {
    "close": _close,
    "continue": _close,
    "select_tab": _select_tab,
    "use": _use,
    "examine": _examine,
    "toggle_run": _toggle_run,
    "look_north": _look_north,
    "set_bank_quantity": _set_bank_quantity,
    "set_furnace_quantity": _set_furnace_quantity,
}
"""Commands that act at once."""

_WALKING_VERBS = ("walk", "interact", "talk")
