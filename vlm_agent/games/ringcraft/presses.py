"""Which presses were in vain.

A press is wasted if the game would be the same without it once the coming world tick has heard it. That is so when it
hits nothing; when what it hits can't be done now (the bank has none left, a ring without gold, a window that isn't open
told to close); when it asks for what is so already (the tab that shows, the quantity that is chosen); and when it gives
an order again that is being carried out (the furnace that the player is on the way to). Lines of chat, the mark where a
click went and the log of commands don't count: they tell of a press, and play goes on as if there had been none.
A press that does harm is not wasted: it changed something.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from vlm_agent.games.ringcraft.commands import carry_out_queued
from vlm_agent.games.ringcraft.state import State

_HELD_TO_TURN = ("left", "right", "up", "down")
"""Keys that work by being held; whatever they turn, they were heard."""


def is_same_game(before: State, after: State) -> bool:
    """Tell whether a press that lies between two states of one moment changed nothing; neither state is touched."""
    return _find_essence(_hear(before)) == _find_essence(_hear(after))


def _hear(state: State) -> State:
    heard = deepcopy(state)
    carry_out_queued(heard)
    return heard


def _find_essence(state: State) -> tuple[Any, ...]:
    """What a press may be for; where the player is going counts, not by which of several equal ways."""
    player = state.player
    destination = player.errand or (player.path[-1] if player.path else None)
    return (
        destination,
        player.is_running,
        state.camera,
        state.inventory,
        state.bank,
        state.mode,
        state.bank_quantity,
        state.furnace_quantity,
        state.tab,
        state.menu,
        state.pointer.is_dragging,
        state.selected_slot,
        [key for key in state.held_keys if key in _HELD_TO_TURN],
        state.crafting,
    )
