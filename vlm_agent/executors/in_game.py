"""Carrying out chunks in a simulated game, and knowing which device events that were.

The game reads a chunk itself (`Environment.step`) by `actions.playback`; the same expansion is made here, so that an
episode is recorded like a person's session, event by event. Nothing outside the game's own process is touched.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vlm_agent.actions.events import InputEvent, KeyChanged
from vlm_agent.actions.playback import NS_PER_MS, expand
from vlm_agent.actions.spec import ActionSpec
from vlm_agent.actions.types import ActionChunk


class Environment(Protocol):
    """A Gymnasium environment that says which actions it takes.

    Its `info` may tell: `game_state` (an export with `mouse.canvasX/Y`), `score`, `is_success`, `t_ns` (its clock),
    `events`, the step's device events where they are not those of the chunk, `num_presses` and `num_wasted_presses`,
    how many presses there were since the reset and how many of them changed nothing in the game, and
    `disturbed_t_ns`, when a disturbance was planted.
    """

    @property
    def spec_actions(self) -> ActionSpec:
        """What it takes, in pixels of the frame."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """Begin an episode; return the first frame and info."""

    def step(self, action: ActionChunk) -> tuple[NDArray[np.uint8], float, bool, bool, dict[str, Any]]:
        """Play one horizon; return frame, reward, terminated, truncated, info."""

    def close(self) -> None:
        """Let go of everything."""


@dataclass(frozen=True)
class Execution:
    """How things stand after a chunk was carried out."""

    t_ns: int
    """The game's own clock, nanoseconds."""
    frame: NDArray[np.uint8]
    """The picture now, (height, width, 3) RGB."""
    game_state: dict[str, Any] | None
    """The game's export, where it has one."""
    score: float
    """What the environment counts for the goal."""
    is_success: bool
    """Whether the goal was reached."""
    is_over: bool
    """Whether the environment ended the episode."""
    events: tuple[InputEvent, ...] = ()
    """Device events of the chunk, in order of time."""
    num_presses: int | None = None
    """Presses since the episode began, where the environment counts them."""
    num_wasted_presses: int | None = None
    """Those of them that changed nothing in the game."""
    disturbed_t_ns: int | None = None
    """When a disturbance was planted, on the game's own clock; None as long as none was."""


class InGameExecutor:
    """Steps one environment through one episode."""

    def __init__(self, env: Environment) -> None:
        """Take the environment; it stays the caller's to close."""
        self._env = env
        self._t_ns = 0
        self._pointer = (0, 0)
        self._reward = 0.0

    def begin(self, seed: int, goal: str) -> Execution:
        """Reset the environment to a scene and a goal."""
        frame, info = self._env.reset(seed=seed, options={"goal": goal})
        self._t_ns, self._reward, self._pointer = 0, 0.0, _find_pointer(info)
        return self._describe(frame, info)

    def execute(self, chunk: ActionChunk) -> Execution:
        """Play one horizon with the chunk's actions."""
        spec = self._env.spec_actions
        events = expand(
            chunk,
            start_t_ns=self._t_ns,
            pointer=self._pointer,
            horizon_ms=spec.horizon_ms,
            relative=spec.pointer == "relative",
        )
        frame, reward, terminated, truncated, info = self._env.step(chunk)
        self._pointer = next(((e.x, e.y) for e in reversed(events) if not isinstance(e, KeyChanged)), self._pointer)
        self._t_ns += spec.horizon_ms * NS_PER_MS
        self._reward += float(reward)
        played = tuple(info.get("events", events))
        return self._describe(frame, info, is_over=bool(terminated or truncated), events=played)

    def _describe(
        self,
        frame: NDArray[np.uint8],
        info: dict[str, Any],
        *,
        is_over: bool = False,
        events: tuple[InputEvent, ...] = (),
    ) -> Execution:
        self._t_ns = int(info.get("t_ns", self._t_ns))
        return Execution(
            t_ns=self._t_ns,
            frame=frame,
            game_state=info.get("game_state"),
            score=float(info.get("score", self._reward)),
            is_success=bool(info.get("is_success", False)),
            is_over=is_over,
            events=events,
            num_presses=info.get("num_presses"),
            num_wasted_presses=info.get("num_wasted_presses"),
            disturbed_t_ns=info.get("disturbed_t_ns"),
        )


def _find_pointer(info: dict[str, Any]) -> tuple[int, int]:
    mouse = (info.get("game_state") or {}).get("mouse")
    if not isinstance(mouse, dict):  # other exporters have other names for it
        return 0, 0
    return int(mouse.get("canvasX") or 0), int(mouse.get("canvasY") or 0)
