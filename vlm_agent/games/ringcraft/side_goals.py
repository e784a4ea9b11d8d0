"""The single-step goals that have nothing to do with rings: tabs, other objects, characters, items and the camera.

They are what a game full of distractions can be asked for; built like those of `goal_families`.
"""

from __future__ import annotations

from dataclasses import dataclass

from vlm_agent.games.ringcraft.commands import count_items
from vlm_agent.games.ringcraft.geometry import PITCH_MAX, PITCH_MIN
from vlm_agent.games.ringcraft.goal_families import GameGoal
from vlm_agent.games.ringcraft.layout import LAYOUT
from vlm_agent.games.ringcraft.rules import RULES
from vlm_agent.games.ringcraft.state import FULL_TURN, State
from vlm_agent.games.ringcraft.targets import (
    Target,
    clear_or,
    click,
    examine_target,
    find_in_inventory,
    npc_rect,
    object_rect,
    tap,
)

TURN_UNITS = 24
"""A camera has turned when yaw or pitch changed by so much: about one tap of an arrow key."""
_QUARTER = FULL_TURN // 4


@dataclass(frozen=True)
class OpenTab(GameGoal):
    """Show another side panel."""

    tab: str

    def applicable(self, state: State) -> bool:
        """Not while it shows."""
        return state.tab != self.tab

    def is_done(self, before: State, after: State) -> bool:
        """It shows now and didn't before."""
        return before.tab != self.tab == after.tab

    def target(self, state: State) -> Target:
        """Its stone."""
        return clear_or(state, click(LAYOUT.tabs[self.tab]))


@dataclass(frozen=True)
class ClickObject(GameGoal):
    """Use one of the things that have nothing to do with rings."""

    kind: str

    def applicable(self, state: State) -> bool:
        """One can be clicked."""
        return object_rect(state, self.kind) is not None

    def is_done(self, before: State, after: State) -> bool:
        """The last thing done was to use one."""
        kind = RULES.objects[self.kind]
        return _did(before, after, kind.options, kind.name)

    def target(self, state: State) -> Target:
        """The nearest of them."""
        return clear_or(state, click(object_rect(state, self.kind)))


@dataclass(frozen=True)
class TalkTo(GameGoal):
    """Talk to a character."""

    kind: str

    def applicable(self, state: State) -> bool:
        """One can be clicked."""
        return npc_rect(state, self.kind) is not None

    def is_done(self, before: State, after: State) -> bool:
        """The last thing done was to talk to one."""
        return _did(before, after, ("Talk-to",), RULES.npcs[self.kind].name)

    def target(self, state: State) -> Target:
        """The nearest of them."""
        return clear_or(state, click(npc_rect(state, self.kind)))


@dataclass(frozen=True)
class Examine(GameGoal):
    """Right-click a thing and choose `Examine`."""

    kind: str

    def applicable(self, state: State) -> bool:
        """One can be clicked."""
        return object_rect(state, self.kind) is not None

    def is_done(self, before: State, after: State) -> bool:
        """The last thing done was to examine one."""
        return _did(before, after, ("Examine",), RULES.objects[self.kind].name)

    def target(self, state: State) -> Target:
        """The row of the open menu, else a right click on the nearest of them."""
        return examine_target(state, RULES.objects[self.kind].name, object_rect(state, self.kind))


@dataclass(frozen=True)
class UseItem(GameGoal):
    """Pick an item in the inventory with a click."""

    item: str

    def applicable(self, state: State) -> bool:
        """Some are carried, none is picked, and no window changes what a click on it does."""
        return state.mode != "bank" and count_items(state, self.item) > 0 and _picked(state) != self.item

    def is_done(self, before: State, after: State) -> bool:
        """It is picked now and wasn't before."""
        return _picked(before) != self.item == _picked(after)

    def target(self, state: State) -> Target:
        """Its first cell."""
        return clear_or(state, click(find_in_inventory(state, self.item)), wants_inventory=True)


@dataclass(frozen=True)
class TurnCamera(GameGoal):
    """Turn or tilt the camera with an arrow key."""

    key: str
    """The arrow key: `left`, `right`, `up` or `down`."""

    def applicable(self, state: State) -> bool:
        """Always to the sides; up and down only with room to move."""
        room = {"up": PITCH_MAX - state.camera.pitch, "down": state.camera.pitch - PITCH_MIN}
        return room.get(self.key, FULL_TURN) > TURN_UNITS

    def is_done(self, before: State, after: State) -> bool:
        """The angle changed that way by a tap or more, and less than a quarter turn."""
        yaw = (after.camera.yaw - before.camera.yaw + FULL_TURN // 2) % FULL_TURN - FULL_TURN // 2
        pitch = after.camera.pitch - before.camera.pitch
        change = {"left": yaw, "right": -yaw, "up": 2 * pitch, "down": -2 * pitch}[self.key]
        return TURN_UNITS <= change < _QUARTER

    def target(self, state: State) -> Target:
        """The key itself."""
        return clear_or(state, tap(self.key))


@dataclass(frozen=True)
class LookNorth(GameGoal):
    """Click the compass."""

    def applicable(self, state: State) -> bool:
        """The camera looks elsewhere."""
        return TURN_UNITS < state.camera.yaw < FULL_TURN - TURN_UNITS

    def is_done(self, before: State, after: State) -> bool:
        """The compass was clicked."""
        return before.camera.yaw != 0 and _did(before, after, ("Look North",), "")

    def target(self, state: State) -> Target:
        """The compass."""
        return clear_or(state, click(LAYOUT.compass))


@dataclass(frozen=True)
class ToggleRun(GameGoal):
    """Switch between running and walking."""

    runs: bool
    """Whether to run afterwards."""

    def applicable(self, state: State) -> bool:
        """It is the other way round now."""
        return state.player.is_running != self.runs

    def is_done(self, before: State, after: State) -> bool:
        """It was switched."""
        return before.player.is_running != self.runs == after.player.is_running

    def target(self, state: State) -> Target:
        """The orb with the boot."""
        return clear_or(state, click(LAYOUT.orbs["run"]))


def _picked(state: State) -> str:
    stack = state.inventory[state.selected_slot] if state.selected_slot >= 0 else None
    return stack.item if stack is not None else ""


def _did(before: State, after: State, actions: tuple[str, ...], name: str) -> bool:
    last = after.interaction
    return last.count > before.interaction.count and last.action in actions and last.target == name
