"""The single-step goals of making rings, a class a family: when each makes sense, is reached, and what to press next.

Windows, walking, the bank and the furnace are here, everything else in `side_goals`; `goals` makes the goals of each
family and finds them by their text.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from vlm_agent.games.ringcraft.commands import count_items, lacking
from vlm_agent.games.ringcraft.layout import LAYOUT
from vlm_agent.games.ringcraft.pathing import footprint
from vlm_agent.games.ringcraft.rules import RULES
from vlm_agent.games.ringcraft.state import Quantity, State
from vlm_agent.games.ringcraft.targets import (
    WAIT,
    Target,
    clear_or,
    click,
    close_rect,
    find_in_bank,
    find_in_inventory,
    reach_object,
)

NEAR_TILES = 2
"""Walking to a thing has succeeded at this distance."""


@dataclass(frozen=True)
class GameGoal(ABC):
    """One thing to ask for."""

    text: str
    """How it is asked for; also its name."""
    paraphrases: tuple[str, ...]
    """Other wordings of the same."""

    @property
    def is_long(self) -> bool:
        """Whether it takes many steps and is scored by the rings made, instead of ending when it is reached."""
        return False

    @abstractmethod
    def applicable(self, state: State) -> bool:
        """Tell whether it makes sense to ask now: it is possible, and not reached already."""

    @abstractmethod
    def is_done(self, before: State, after: State) -> bool:
        """Tell whether it was reached between two states of one game."""

    @abstractmethod
    def target(self, state: State) -> Target:
        """Return the press that comes next."""


@dataclass(frozen=True)
class OpenWindow(GameGoal):
    """Go to the bank or the furnace and use it."""

    kind: str
    """`bank_booth` or `furnace`."""
    mode: str
    """The window that opens."""

    def applicable(self, state: State) -> bool:
        """Not while that window is open."""
        return state.mode != self.mode

    def is_done(self, before: State, after: State) -> bool:
        """The window opened."""
        return before.mode != self.mode and after.mode == self.mode

    def target(self, state: State) -> Target:
        """The thing itself where it shows, else its place on the minimap."""
        return reach_object(state, self.kind)


@dataclass(frozen=True)
class CloseWindow(GameGoal):
    """Close a window by its X, or the level-up dialog by its line."""

    mode: str
    """The window to close."""

    def applicable(self, state: State) -> bool:
        """Only while it is open."""
        return state.mode == self.mode

    def is_done(self, before: State, after: State) -> bool:
        """It was open and is no more."""
        return before.mode == self.mode != after.mode

    def target(self, state: State) -> Target:
        """Its X, or the dialog's `Click here to continue`."""
        rect = LAYOUT.dialog_continue if self.mode == "levelup" else close_rect(state)
        return clear_or(state, click(rect))


@dataclass(frozen=True)
class CloseMenu(GameGoal):
    """Close the right-click menu without choosing anything."""

    def applicable(self, state: State) -> bool:
        """Only while it is open."""
        return state.menu is not None

    def is_done(self, before: State, after: State) -> bool:
        """It is gone, and nothing was chosen from it."""
        is_closed = before.menu is not None and after.menu is None
        return is_closed and after.interaction.count == before.interaction.count

    def target(self, state: State) -> Target:
        """Its last row."""
        return clear_or(state, WAIT)


@dataclass(frozen=True)
class WalkTo(GameGoal):
    """Get near the bank or the furnace."""

    kind: str
    """`bank_booth` or `furnace`."""

    def applicable(self, state: State) -> bool:
        """Not when already there."""
        return not is_near(state, self.kind)

    def is_done(self, before: State, after: State) -> bool:
        """The player came near it."""
        return not is_near(before, self.kind) and is_near(after, self.kind)

    def target(self, state: State) -> Target:
        """The thing itself where it shows, else its place on the minimap."""
        return reach_object(state, self.kind)


@dataclass(frozen=True)
class Withdraw(GameGoal):
    """Take an item out of the bank."""

    item: str
    """Key of the item."""

    def applicable(self, state: State) -> bool:
        """The bank is open and holds some, and there is room."""
        has_room = any(stack is None for stack in state.inventory)
        return state.mode == "bank" and has_room and find_in_bank(state, self.item) is not None

    def is_done(self, before: State, after: State) -> bool:
        """More of it is carried than before, and less is in the bank."""
        return count_items(after, self.item) > count_items(before, self.item) and _num_in_bank(
            after, self.item
        ) < _num_in_bank(before, self.item)

    def target(self, state: State) -> Target:
        """Its cell in the bank."""
        return clear_or(state, _once(state, "withdraw", self.item, click(find_in_bank(state, self.item))))


@dataclass(frozen=True)
class Deposit(GameGoal):
    """Put an item into the bank."""

    item: str
    """Key of the item."""

    def applicable(self, state: State) -> bool:
        """The bank is open and some are carried."""
        return state.mode == "bank" and count_items(state, self.item) > 0

    def is_done(self, before: State, after: State) -> bool:
        """Less of it is carried than before, and more is in the bank."""
        return count_items(after, self.item) < count_items(before, self.item) and _num_in_bank(
            after, self.item
        ) > _num_in_bank(before, self.item)

    def target(self, state: State) -> Target:
        """Its first cell in the inventory."""
        target = _once(state, "deposit", self.item, click(find_in_inventory(state, self.item)))
        return clear_or(state, target, wants_inventory=True)


@dataclass(frozen=True)
class DepositInventory(GameGoal):
    """Put everything into the bank at once."""

    def applicable(self, state: State) -> bool:
        """The bank is open and something is carried."""
        return state.mode == "bank" and any(state.inventory)

    def is_done(self, before: State, after: State) -> bool:
        """Nothing is carried any more."""
        return any(before.inventory) and not any(after.inventory)

    def target(self, state: State) -> Target:
        """The button for it."""
        return clear_or(state, _once(state, "deposit_all", "", click(LAYOUT.bank.deposit_inventory)))


@dataclass(frozen=True)
class Make(GameGoal):
    """Begin to make something at the furnace."""

    product_index: int
    """Index into `RULES.products`."""

    @property
    def item(self) -> str:
        """Key of the item that comes out."""
        return RULES.products[self.product_index].key

    def applicable(self, state: State) -> bool:
        """The furnace window is open, and level, mould and materials suffice."""
        return state.mode == "furnace" and not lacking(state, self.product_index)

    def is_done(self, before: State, after: State) -> bool:
        """The job was begun, or some were made."""
        begun = after.crafting.product == self.item != before.crafting.product
        return begun or (count_items(after, self.item) > count_items(before, self.item) and after.mode != "bank")

    def target(self, state: State) -> Target:
        """Its cell in the window."""
        cell = click(LAYOUT.furnace.cells[self.product_index])
        return clear_or(state, _once(state, "make", self.item, cell))


@dataclass(frozen=True)
class AwaitRings(GameGoal):
    """Let the job at the furnace run to its end."""

    def applicable(self, state: State) -> bool:
        """Something is being made."""
        return bool(state.crafting.product) and state.menu is None

    def is_done(self, before: State, after: State) -> bool:
        """Something was being made, and isn't any more."""
        return bool(before.crafting.product) and not after.crafting.product

    def target(self, state: State) -> Target:
        """Nothing but time."""
        return clear_or(state, WAIT)


@dataclass(frozen=True)
class SelectQuantity(GameGoal):
    """Choose how many a click in the open window moves or makes."""

    quantity: Quantity

    def applicable(self, state: State) -> bool:
        """A window with quantities is open and another is chosen."""
        return _quantity_of(state) not in ("", self.quantity)

    def is_done(self, before: State, after: State) -> bool:
        """It became the chosen one."""
        return _quantity_of(before) != self.quantity == _quantity_of(after)

    def target(self, state: State) -> Target:
        """Its button."""
        window = LAYOUT.bank if state.mode == "bank" else LAYOUT.furnace
        return clear_or(state, click(window.quantities[self.quantity]))


def is_near(state: State, kind: str) -> bool:
    """Tell whether the player stands within two tiles of an object of a kind."""
    player = state.player
    return any(
        max(abs(x - player.x), abs(y - player.y)) <= NEAR_TILES
        for thing in state.objects
        if thing.kind == kind
        for x, y in footprint(thing)
    )


def _num_in_bank(state: State, item: str) -> int:
    return sum(stack.quantity for stack in state.bank if stack.item == item)


def _once(state: State, verb: str, item: str, target: Target) -> Target:
    """Return the target, or waiting when the command has been given and waits for the tick."""
    is_queued = any(option.verb == verb and option.item == item for option in state.queued)
    return WAIT if is_queued else target


def _quantity_of(state: State) -> str:
    return {"bank": state.bank_quantity, "furnace": state.furnace_quantity}.get(state.mode, "")
