"""Planting disturbances in episodes: the same scenes and players, and at some moment something goes wrong.

Works with every environment that can `disturb` itself. When is drawn from the seed; where the disturbance does not
apply at that tick (a window can be closed only while one is open) it waits for the first tick at which it does, and
where none comes in time it is not planted at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from random import Random
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vlm_agent.actions.spec import ActionSpec
from vlm_agent.actions.types import ActionChunk
from vlm_agent.errors import ConfigError
from vlm_agent.executors.in_game import Environment
from vlm_agent.rollouts.running import RolloutPlan

Frame = NDArray[np.uint8]
Info = dict[str, Any]


class DisturbableEnv(Environment, Protocol):
    """An environment in which something can go wrong on purpose."""

    @property
    def disturbances(self) -> tuple[str, ...]:
        """Names that `disturb` takes."""

    def disturb(self, kind: str, rng: Random) -> tuple[Frame, Info] | None:
        """Plant a disturbance; return frame and info after it, or None, nothing changed, where it does not apply."""


@dataclass(frozen=True)
class Disturbance:
    """What goes wrong in an episode, and when."""

    name: str
    """In file names and tables."""
    kind: str
    """What the environment calls it."""
    first_tick: int
    """It is due at a tick drawn from this one on; 0 is before the first decision."""
    last_tick: int
    """The last tick at which it may be due."""
    latest_tick: int
    """Until this tick it waits for a moment at which it applies."""

    def __post_init__(self) -> None:
        """Raise ConfigError for ticks out of order."""
        if not 0 <= self.first_tick <= self.last_tick <= self.latest_tick:
            raise ConfigError(
                f"disturbance {self.name!r} needs 0 <= first_tick <= last_tick <= latest_tick, got {self.first_tick}, "
                f"{self.last_tick} and {self.latest_tick}"
            )

    def draw_tick(self, seed: int) -> int:
        """Return the tick at which it is due in a seed's episode."""
        return Random(f"disturbance {self.name} {seed}").randint(self.first_tick, self.last_tick)


KINDS = ("misclick", "camera", "window", "levelup", "moved", "start")
"""All disturbances by name: a click on something else, the camera turned and zoomed, the open window closed, the dialog
of a new level, the player put some tiles away in the middle of play, and the same before the first decision."""


def make_disturbances(max_ticks: int, within_ticks: int, kinds: Sequence[str] = KINDS) -> list[Disturbance]:
    """Return disturbances for episodes of a length.

    They fall due in the first three tenths of an episode and are planted early enough that `within_ticks` are left.

    Raises:
        ConfigError: a kind is unknown, or an episode has no room.
    """
    latest = max_ticks - within_ticks
    first, last = max_ticks // 20, min(max_ticks * 3 // 10, latest)
    if within_ticks < 1 or last <= first:
        raise ConfigError(
            f"an episode of {max_ticks} ticks has no room for a disturbance and {within_ticks} ticks after it; "
            f"play longer ones"
        )
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise ConfigError(f"unknown disturbance {unknown[0]!r}; there is {', '.join(KINDS)}")
    return [
        Disturbance(kind, "moved", 0, 0, 0) if kind == "start" else Disturbance(kind, kind, first, last, latest)
        for kind in kinds
    ]


def plan_disturbed(plan: RolloutPlan, disturbances: Sequence[Disturbance]) -> list[RolloutPlan]:
    """Return the plan once for every disturbance, named `PLAN-DISTURBANCE`: same player, seeds and terms."""
    return [
        replace(
            plan,
            name=name_disturbed(plan.name, disturbance.name),
            make_env=partial(make_disturbed, plan.make_env, disturbance),
            about={**plan.about, "disturbance": asdict(disturbance)},
        )
        for disturbance in disturbances
    ]


def name_disturbed(contender: str, disturbance: str) -> str:
    """Return what the rollout of a contender under a disturbance is called."""
    return f"{contender}-{disturbance}"


def make_disturbed(make_env: Callable[[], Environment], disturbance: Disturbance) -> DisturbedEnv:
    """Return an environment of its own in which a disturbance is planted; picklable as a partial."""
    return DisturbedEnv(make_env(), disturbance)


class DisturbedEnv:
    """An environment in which something goes wrong once an episode.

    From then on `info["disturbed_t_ns"]` says when it did. In an environment that does not tell its clock, ticks are
    counted in horizons.
    """

    def __init__(self, env: Environment, disturbance: Disturbance) -> None:
        """Take the environment and what goes wrong in it.

        Raises:
            ConfigError: the environment can't be disturbed, or not in this way.
        """
        self._env = _check_disturbable(env, disturbance.kind)
        self._disturbance = disturbance
        self._rng = Random()
        self._tick = self._due_tick = 0
        self._planted_ns: int | None = None

    @property
    def spec_actions(self) -> ActionSpec:
        """What the environment takes."""
        return self._env.spec_actions

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Frame, Info]:
        """Begin an episode.

        Raises:
            ConfigError: there is no seed to draw the moment from.
        """
        if seed is None:
            raise ConfigError("a disturbance is drawn from the seed of its episode; give one")
        frame, info = self._env.reset(seed=seed, options=options)
        self._rng = Random(f"disturbed {self._disturbance.name} {seed}")
        self._tick, self._due_tick = 0, self._disturbance.draw_tick(seed)
        self._planted_ns = None
        return self._plant(frame, info)

    def step(self, action: ActionChunk) -> tuple[Frame, float, bool, bool, Info]:
        """Play one horizon, and let go wrong after it what is due."""
        frame, reward, terminated, truncated, info = self._env.step(action)
        self._tick += 1
        if not (terminated or truncated):
            frame, info = self._plant(frame, info)
        return frame, reward, terminated, truncated, self._mark(info)

    def close(self) -> None:
        """Close the environment."""
        self._env.close()

    def _plant(self, frame: Frame, info: Info) -> tuple[Frame, Info]:
        is_due = self._due_tick <= self._tick <= self._disturbance.latest_tick
        if self._planted_ns is None and is_due:
            planted = self._env.disturb(self._disturbance.kind, self._rng)
            if planted is not None:
                # What the step told of itself alone (its events) still holds.
                frame, info = planted[0], {**info, **planted[1]}
                tick_ns = self._tick * self.spec_actions.horizon_ms * 1_000_000
                self._planted_ns = int(info.get("t_ns", tick_ns))
        return frame, self._mark(info)

    def _mark(self, info: Info) -> Info:
        return info if self._planted_ns is None else {**info, "disturbed_t_ns": self._planted_ns}


def _check_disturbable(env: Environment, kind: str) -> DisturbableEnv:
    known = getattr(env, "disturbances", None)
    if known is None or not callable(getattr(env, "disturb", None)):
        raise ConfigError(f"{type(env).__name__} can't be disturbed: it has no `disturb`")
    if kind not in known:
        raise ConfigError(f"{type(env).__name__} knows no disturbance {kind!r}, only {', '.join(known)}")
    return env  # type: ignore[return-value]
