"""A game of one number and policies that say what they are told, for tests of the agent loop."""

from __future__ import annotations

import numpy as np

from vlm_agent.actions.spec import ActionSpec
from vlm_agent.actions.types import ActionChunk, Click
from vlm_agent.actions.validation import check_chunk
from vlm_agent.observations import Observation
from vlm_agent.policies import Decision, Latency, Policy

SPEC = ActionSpec(64, 48, keys=("space", "alt", "f4"))
CLICK = ActionChunk((Click(100, 20, 10),))


class CountingEnv:
    """Counts left clicks; reached at `needed`, over at `length` ticks. The frame's brightness is the count."""

    def __init__(self, needed: int = 2, length: int = 100) -> None:
        self.needed = needed
        self.length = length
        self.played: list[ActionChunk] = []
        self.goals: list[str] = []
        self.is_closed = False

    @property
    def spec_actions(self) -> ActionSpec:
        return SPEC

    def reset(self, *, seed=None, options=None):
        self.clicks, self.tick, self.seed = 0, 0, seed
        self.played.clear()
        self.goals.append(options["goal"])
        return self._frame(), self._info()

    def step(self, action: ActionChunk):
        check_chunk(action, SPEC)
        self.played.append(action)
        self.tick += 1
        self.clicks += sum(isinstance(one, Click) for one in action.actions)
        return self._frame(), 0.0, False, self.tick >= self.length, self._info()

    def close(self) -> None:
        self.is_closed = True

    def _frame(self):
        return np.full((48, 64, 3), min(self.clicks, 255), np.uint8)

    def _info(self):
        mouse = {"canvasX": 3, "canvasY": 4}
        return {
            "game_state": {"tick": self.tick, "seed": self.seed, "mouse": mouse},
            "score": self.clicks,
            "is_success": self.clicks >= self.needed,
        }


class CannedPolicy(Policy):
    """Says one decision after the other, the last for ever."""

    def __init__(self, *decisions: Decision) -> None:
        self.decisions = decisions
        self.seen: list[Observation] = []

    def begin(self, goal, spec, seed) -> None:
        self.seen.clear()

    def decide(self, observation: Observation) -> Decision:
        self.seen.append(observation)
        return self.decisions[min(len(self.seen), len(self.decisions)) - 1]


def say(chunk: ActionChunk | None, reason: str | None = None, ms: float = 5.0) -> Decision:
    return Decision(chunk, reason, text="said", latency=Latency(decode_ms=ms))


def make_env() -> CountingEnv:
    """Picklable."""
    return CountingEnv()


class SeededPolicy(Policy):
    """Clicks as many times in a chunk as its seed says; picklable."""

    def begin(self, goal, spec, seed) -> None:
        self.seed = seed

    def decide(self, observation: Observation) -> Decision:
        return say(ActionChunk(tuple(Click(100, 20, 10 + n) for n in range(self.seed % 4))))
