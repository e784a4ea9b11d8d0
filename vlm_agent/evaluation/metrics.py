"""What a contender is measured by: one number an episode."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vlm_agent.rollouts.episodes import Episode

MS_PER_MIN = 60_000


@dataclass(frozen=True)
class Metric:
    """A number an episode, more is better."""

    name: str
    """In `comparison.json`."""
    label: str
    """What is counted, as an axis says it."""
    unit: str
    """Follows a value in a sentence, e.g. `rings a minute`."""
    value: Callable[[Episode], float]
    """Measures an episode."""


RINGS_PER_MINUTE = Metric(
    "rings_per_minute", "rings per minute", "rings a minute", lambda episode: episode.score_per_min
)
"""Pace at a task that goes on: rings made in a minute of game time."""
GOAL_SUCCESS = Metric("goal_success", "goal success", "goals an episode", lambda episode: float(episode.is_success))
"""Whether a goal that ends the episode was reached."""


def find_metric(*, is_long_goal: bool) -> Metric:
    """Return the measure of a goal: pace where it goes on, success where it ends."""
    return RINGS_PER_MINUTE if is_long_goal else GOAL_SUCCESS
