"""The Gymnasium space of action chunks: what `RingcraftEnv.step` takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np

from vlm_agent.actions.invalid import InvalidActionError
from vlm_agent.actions.spec import ActionSpec
from vlm_agent.actions.types import Action, ActionChunk, Click, Key, Move, Scroll
from vlm_agent.actions.validation import check_chunk


class ChunkSpace(gymnasium.Space[ActionChunk]):
    """All chunks that a spec allows; samples are random legal ones, which rarely do anything sensible."""

    def __init__(self, spec: ActionSpec, seed: int | np.random.Generator | None = None) -> None:
        """Take the spec whose chunks these are."""
        super().__init__(shape=None, dtype=None, seed=seed)
        self.spec = spec

    @property
    def is_np_flattenable(self) -> bool:
        """Chunks have no array form here."""
        return False

    def sample(self, mask: Any | None = None, probability: Any | None = None) -> ActionChunk:
        """Return a random chunk: up to three actions of any allowed kind at random times and places."""
        rng, unit = self.np_random, self.spec.time_unit_ms
        count = int(rng.integers(0, min(3, self.spec.max_actions) + 1))
        times_ms = sorted(int(rng.integers(0, self.spec.horizon_ms // unit + 1)) * unit for _ in range(count))
        gaps_ms = [time - before for time, before in zip(times_ms, [0, *times_ms], strict=False)]
        return ActionChunk(tuple(self._sample_action(gap) for gap in gaps_ms))

    def contains(self, x: Any) -> bool:
        """Tell whether `x` is a chunk that the spec allows."""
        if not isinstance(x, ActionChunk):
            return False
        try:
            check_chunk(x, self.spec)
        except InvalidActionError:
            return False
        return True

    def to_jsonable(self, sample_n: Sequence[ActionChunk]) -> list[Any]:
        """Return chunks as lists of action fields, for Gymnasium's own recorders."""
        return [[[type(action).__name__, *_values(action)] for action in chunk.actions] for chunk in sample_n]

    def __eq__(self, other: object) -> bool:
        """Two spaces of the same spec are equal."""
        return isinstance(other, ChunkSpace) and other.spec == self.spec

    def __repr__(self) -> str:
        return f"ChunkSpace({self.spec.extent_width}x{self.spec.extent_height})"

    def _sample_action(self, dt_ms: int) -> Action:
        rng, spec = self.np_random, self.spec
        event = spec.events[int(rng.integers(len(spec.events)))]
        if event == "KEY":
            return Key(dt_ms, spec.keys[int(rng.integers(len(spec.keys)))])
        x, y = int(rng.integers(spec.extent_width)), int(rng.integers(spec.extent_height))
        if event == "CLICK":
            return Click(dt_ms, x, y, spec.buttons[int(rng.integers(len(spec.buttons)))])
        if event == "SCROLL":
            return Scroll(dt_ms, x, y, int(rng.choice((-1, 1))))
        return Move(dt_ms, x, y)


def _values(action: Action) -> list[Any]:
    return [getattr(action, name) for name in action.__dataclass_fields__]
