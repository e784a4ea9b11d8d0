"""Who is playing: how fast the hand and the eye are, how often they err, and which habits they have.

Habits belong to a player, speed and noise vary from session to session of the same player: one person's recordings
agree on what is done next and differ in how it is done. This module knows neither the game nor its state.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np


@dataclass(frozen=True)
class Motor:
    """How the hand moves, clicks and errs. Defaults: an unhurried mouse user."""

    fitts_intercept_ms: float = 90.0
    """`a` of Fitts' law: time of a movement of no difficulty, milliseconds."""
    fitts_slope_ms: float = 120.0
    """`b` of Fitts' law: milliseconds more for each bit of difficulty, log2(distance / width + 1)."""
    duration_spread: float = 0.08
    """Log-normal spread of a movement's duration about Fitts' law."""
    endpoint_spread: float = 0.16
    """Standard deviation of where a movement ends, as a share of the target's size along each axis."""
    curvature: float = 0.075
    """Typical sideways bow of a path, as a share of its length."""
    lateral_noise: float = 0.022
    """Typical amplitude of the sideways tremor of a path, as a share of its length."""
    overshoot_rate: float = 0.15
    """Share of movements whose first part goes past the target."""
    hold_mean_ms: float = 85.0
    """Mean time that a button or key stays down when clicked, milliseconds."""
    hold_spread_ms: float = 25.0
    """Standard deviation of that time."""
    misclick_rate: float = 0.02
    """Share of clicks that land beside their target."""


@dataclass(frozen=True)
class Reaction:
    """Time from seeing to acting, an ex-Gaussian: a normal part and an exponential tail."""

    mean_ms: float = 195.0
    """Mean of the normal part, milliseconds."""
    spread_ms: float = 45.0
    """Standard deviation of the normal part."""
    tail_ms: float = 55.0
    """Mean of the exponential tail."""
    dwell_ms: float = 45.0
    """Mean time between arriving on a target and pressing."""

    def draw_ms(self, rng: np.random.Generator) -> float:
        """Return one reaction time, never under 100 ms (faster would be a guess, not a reaction)."""
        return max(100.0, rng.normal(self.mean_ms, self.spread_ms) + rng.exponential(self.tail_ms))

    def draw_dwell_ms(self, rng: np.random.Generator) -> float:
        """Return one pause between arriving and pressing, 15 ms at least."""
        return max(15.0, rng.normal(self.dwell_ms, 0.3 * self.dwell_ms))


@dataclass(frozen=True)
class Habits:
    """What this player always does the same way."""

    first_item: Literal["gold_bar", "sapphire"] = "gold_bar"
    """What is withdrawn first."""
    closes_with: Literal["key", "button"] = "key"
    """How a window is closed: the escape key, or its X."""
    runs: bool | None = None
    """Whether the player keeps the run orb on; None leaves it as it is."""
    turns_camera: bool = False
    """When the goal isn't in view: True turns the camera by arrow key, False walks by the minimap."""
    hovers: bool = False
    """Whether the pointer is brought to where the next press will be before the time for it has come."""
    idle_interval_ms: float = 9000.0
    """Mean time between two small idle movements while there is nothing to do, milliseconds."""
    idle_camera_share: float = 0.1
    """Share of idle movements that turn the camera a little instead."""


@dataclass(frozen=True)
class Skill:
    """One player in one session."""

    motor: Motor = field(default_factory=Motor)
    """The hand."""
    reaction: Reaction = field(default_factory=Reaction)
    """The eye."""
    habits: Habits = field(default_factory=Habits)
    """The player's ways."""


def draw_habits(player: int) -> Habits:
    """Return the habits of a player; the same number is always the same person."""
    if player == 0:
        return Habits()
    rng = np.random.default_rng([player, 0x4AB1])
    return Habits(
        first_item="gold_bar" if rng.random() < 0.6 else "sapphire",
        closes_with="key" if rng.random() < 0.6 else "button",
        turns_camera=bool(rng.random() < 0.4),
        idle_interval_ms=float(rng.uniform(6000, 15000)),
        idle_camera_share=float(rng.uniform(0.0, 0.2)),
        hovers=bool(rng.random() < 0.5),
    )


def draw_skill(seed: int, *, player: int = 0) -> Skill:
    """Return a player's skill in the session numbered `seed`: the player's habits, and that day's speed and noise."""
    rng = np.random.default_rng([player, seed, 0x51C1])
    speed = float(rng.lognormal(0.0, 0.07))
    noise = float(rng.lognormal(0.0, 0.15))
    motor, reaction = Motor(), Reaction()
    return Skill(
        motor=replace(
            motor,
            fitts_intercept_ms=motor.fitts_intercept_ms * speed,
            fitts_slope_ms=motor.fitts_slope_ms * speed,
            endpoint_spread=min(0.22, motor.endpoint_spread * noise),
            curvature=motor.curvature * noise,
            lateral_noise=motor.lateral_noise * noise,
            hold_mean_ms=motor.hold_mean_ms * float(rng.lognormal(0.0, 0.1)),
            misclick_rate=float(rng.uniform(0.01, 0.03)),
        ),
        reaction=replace(
            reaction, mean_ms=reaction.mean_ms * speed, tail_ms=reaction.tail_ms * float(rng.lognormal(0.0, 0.2))
        ),
        habits=draw_habits(player),
    )


def slow_down(skill: Skill, factor: float) -> Skill:
    """Return the same player `factor` times slower in hand and eye, as a beginner is."""
    motor, reaction = skill.motor, skill.reaction
    return replace(
        skill,
        motor=replace(
            motor,
            fitts_intercept_ms=motor.fitts_intercept_ms * factor,
            fitts_slope_ms=motor.fitts_slope_ms * factor,
            hold_mean_ms=motor.hold_mean_ms * min(factor, 1.5),
        ),
        reaction=replace(
            reaction,
            mean_ms=reaction.mean_ms * factor,
            spread_ms=reaction.spread_ms * factor,
            tail_ms=reaction.tail_ms * factor,
            dwell_ms=reaction.dwell_ms * factor,
        ),
    )
