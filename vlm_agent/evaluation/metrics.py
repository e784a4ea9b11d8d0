"""What a contender is measured by: one number an episode."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from vlm_agent.evaluation.intervals import Interval, gap_interval, mean_interval, ratio_interval
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
    is_share: bool = False
    """Whether it lies between 0 and 1, so that its intervals do too."""

    def measure(self, values: Sequence[float], *, resamples: int) -> Interval:
        """Return the mean of one value an episode with its 95 % interval; see `intervals`."""
        if self.is_share:
            sums = np.asarray(values, dtype=float)
            return ratio_interval(sums, np.ones_like(sums))
        return mean_interval(values, resamples=resamples)

    def measure_gaps(self, gaps: Sequence[float], *, resamples: int) -> Interval:
        """Return the mean of differences of such values, one a seed, with its 95 % interval."""
        return gap_interval(gaps) if self.is_share else mean_interval(gaps, resamples=resamples)


RINGS_PER_MINUTE = Metric(
    "rings_per_minute", "rings per minute", "rings a minute", lambda episode: episode.score_per_min
)
"""Pace at a task that goes on: rings made in a minute of game time."""
GOAL_SUCCESS = Metric(
    "goal_success", "goal success", "goals an episode", lambda episode: float(episode.is_success), True
)
"""Whether a goal that ends the episode was reached."""


def find_metric(*, is_long_goal: bool) -> Metric:
    """Return the measure of a goal: pace where it goes on, success where it ends."""
    return RINGS_PER_MINUTE if is_long_goal else GOAL_SUCCESS
