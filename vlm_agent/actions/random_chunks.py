"""Random legal chunks of any spec: a baseline that has learnt nothing."""

from __future__ import annotations

import numpy as np

from vlm_agent.actions.spec import ActionSpec
from vlm_agent.actions.types import Action, ActionChunk, Click, Key, Move, Scroll
from vlm_agent.errors import ConfigError


def draw_chunk(spec: ActionSpec, rng: np.random.Generator, num_actions: int) -> ActionChunk:
    """Return a random legal chunk of so many actions (at most the spec's), at random times within the horizon."""
    num_slots = spec.horizon_ms // spec.time_unit_ms
    times = np.sort(rng.integers(0, num_slots, size=min(num_actions, spec.max_actions))) * spec.time_unit_ms
    gaps = np.diff(times, prepend=0)
    return ActionChunk(tuple(_draw_action(spec, rng, int(gap)) for gap in gaps))


def _draw_action(spec: ActionSpec, rng: np.random.Generator, dt_ms: int) -> Action:
    if not spec.events:
        raise ConfigError("this spec allows no action at all")
    event = spec.events[rng.integers(len(spec.events))]
    if event == "KEY":
        return Key(dt_ms, spec.keys[rng.integers(len(spec.keys))])
    x, y = _draw_point(spec, rng, is_move=event == "MOVE")
    if event == "MOVE":
        return Move(dt_ms, x, y)
    if event == "SCROLL":
        notches = int(rng.integers(1, spec.max_scroll + 1))
        return Scroll(dt_ms, x, y, notches if rng.random() < 0.5 else -notches)
    return Click(dt_ms, x, y, spec.buttons[rng.integers(len(spec.buttons))])


def _draw_point(spec: ActionSpec, rng: np.random.Generator, *, is_move: bool) -> tuple[int, int]:
    if spec.pointer == "absolute":
        return int(rng.integers(spec.extent_width)), int(rng.integers(spec.extent_height))
    if not is_move:
        return 0, 0
    dx, dy = rng.integers(-spec.max_offset, spec.max_offset + 1, size=2)
    return int(dx), int(dy)
