"""The demonstrator as a contender: the same scenes and goal, played with a hand instead of chunks."""

from __future__ import annotations

from typing import Any

from vlm_agent.actions.events import InputEvent
from vlm_agent.actions.types import ActionChunk
from vlm_agent.games.ringcraft.demonstrator import Demonstrator, demonstrate
from vlm_agent.games.ringcraft.env import Frame, Info, RingcraftEnv
from vlm_agent.games.ringcraft.state import TICK_MS


class DemonstratedEnv(RingcraftEnv):
    """Ringcraft that plays itself towards the long goal: a step lets the demonstrator act for one world tick.

    The chunk of a step is not looked at. `info["events"]` holds the device events of the step.
    """

    def __init__(self, *, player: int = 0, max_ticks: int = 1000) -> None:
        """Take whose habits the demonstrator has, and the greatest length of an episode."""
        super().__init__(max_ticks=max_ticks)
        self._player = player
        self._demonstrator = Demonstrator(0, player=player)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Frame, Info]:
        """Begin an episode; the seed also decides the demonstrator's chance."""
        frame, info = super().reset(seed=seed, options=options)
        self._demonstrator = Demonstrator(int(info["seed"]), player=self._player)
        return frame, info

    def step(self, action: ActionChunk) -> tuple[Frame, float, bool, bool, Info]:
        """Let one world tick pass."""
        events: list[InputEvent] = []
        rings = self.core.state.rings_made
        demonstrate(self.core, self._demonstrator, TICK_MS, on_tick=lambda _, pressed: events.extend(pressed))
        state = self.core.state
        truncated = state.tick - self._start.tick >= self._max_ticks
        info = {**self._info(), "events": tuple(events)}
        return self._observe(), float(state.rings_made - rings), False, truncated, info
