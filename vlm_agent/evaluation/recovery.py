"""Who finds back when something goes wrong: the same seeds with a disturbance and without.

An episode is followed from the moment at which the disturbance was planted (see `disturbances`), and the same stretch
of time is looked at in the undisturbed episode of that seed: whoever would not have scored then has not failed to
recover. Where a disturbance never applied there is nothing to recover from, and the episode is not counted. For goals
that go on and are scored as they do; everything is computed from finished episodes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from vlm_agent.errors import ConfigError, DataError
from vlm_agent.evaluation.disturbances import KINDS, make_disturbances, name_disturbed, plan_disturbed
from vlm_agent.evaluation.intervals import DEFAULT_RESAMPLES, Interval, mean_interval, share_interval
from vlm_agent.evaluation.matches import OnEpisode, play_matches
from vlm_agent.rollouts.episodes import Clock, Episode
from vlm_agent.rollouts.running import Rollout, RolloutPlan

FORMAT_VERSION = 1
MS_PER_MIN = 60_000
WITHIN_TICKS = 75
"""Decisions looked at after a disturbance: 45 s, a little more than a trip for a load of rings takes."""
FEWEST_PLANTED = 2
"""With fewer there is no interval."""


@dataclass(frozen=True)
class Aftermath:
    """What followed a disturbance on one seed."""

    seed: int
    """The scene."""
    planted_ms: int
    """Game time of the disturbance since the episode began."""
    next_ms: int | None
    """Time from there to the next point; None if none came in the time looked at."""
    points: int
    """Points made in that time."""
    undisturbed_next_ms: int | None
    """The same from the same moment on in the undisturbed episode."""
    undisturbed_points: int
    """The same."""


@dataclass(frozen=True)
class Trial:
    """One contender under one disturbance."""

    contender: str
    """Who."""
    kind: str
    """Name of the disturbance."""
    num_episodes: int
    """Episodes played; the disturbance was planted in as many as there are aftermaths."""
    aftermaths: tuple[Aftermath, ...]
    """In the order of the seeds."""
    within_ms: int
    """How long after the disturbance was looked at."""
    resamples: int = DEFAULT_RESAMPLES
    """Of the intervals, which are over seeds."""

    @property
    def num_planted(self) -> int:
        """Episodes in which the disturbance was planted."""
        return len(self.aftermaths)

    @property
    def num_recovered(self) -> int:
        """Those in which a point was made afterwards, in time."""
        return sum(one.next_ms is not None for one in self.aftermaths)

    @property
    def num_undisturbed(self) -> int:
        """Those in which a point was made in that time undisturbed."""
        return sum(one.undisturbed_next_ms is not None for one in self.aftermaths)

    @cached_property
    def share(self) -> Interval | None:
        """Share that recovered; None for fewer than two."""
        if self.num_planted < FEWEST_PLANTED:
            return None
        return share_interval([one.next_ms is not None for one in self.aftermaths])

    @cached_property
    def time_s(self) -> Interval | None:
        """Mean time to the next point, seconds; where none came, the whole time looked at (a restricted mean)."""
        times_ms = [self.within_ms if one.next_ms is None else one.next_ms for one in self.aftermaths]
        return self._mean([time_ms / 1000 for time_ms in times_ms])

    @cached_property
    def pace(self) -> Interval | None:
        """Points a minute in the time looked at."""
        return self._mean([self._per_min(one.points) for one in self.aftermaths])

    @cached_property
    def cost(self) -> Interval | None:
        """Points a minute less than undisturbed, seed by seed."""
        return self._mean([self._per_min(one.undisturbed_points - one.points) for one in self.aftermaths])

    def to_json(self) -> dict[str, Any]:
        """Return the plain-data form; all but the aftermaths follows from them."""
        intervals = {"share": self.share, "time_s": self.time_s, "pace_per_min": self.pace, "cost_per_min": self.cost}
        return {
            "contender": self.contender,
            "kind": self.kind,
            "episodes": self.num_episodes,
            "planted": self.num_planted,
            "recovered": self.num_recovered,
            "undisturbed": self.num_undisturbed,
            **{name: interval.to_json() if interval else None for name, interval in intervals.items()},
            "aftermaths": [vars(one) for one in self.aftermaths],
        }

    def _mean(self, values: Sequence[float]) -> Interval | None:
        return mean_interval(values, resamples=self.resamples) if len(values) >= FEWEST_PLANTED else None

    def _per_min(self, points: float) -> float:
        return points * MS_PER_MIN / self.within_ms


@dataclass(frozen=True)
class Recovery:
    """Everyone under every disturbance."""

    clock: Clock
    """Whether the game waited for decisions."""
    within_ms: int
    """How long after a disturbance was looked at."""
    trials: tuple[Trial, ...]
    """Disturbance by disturbance, in each the contenders in one order."""
    resamples: int = DEFAULT_RESAMPLES
    """Of the intervals."""

    @property
    def contenders(self) -> tuple[str, ...]:
        """Names, in order."""
        return tuple(dict.fromkeys(trial.contender for trial in self.trials))

    @property
    def kinds(self) -> tuple[str, ...]:
        """Names of the disturbances, in order."""
        return tuple(dict.fromkeys(trial.kind for trial in self.trials))

    def find(self, contender: str, kind: str) -> Trial:
        """Return a contender under a disturbance; raises DataError if that was not played."""
        for trial in self.trials:
            if (trial.contender, trial.kind) == (contender, kind):
                return trial
        raise DataError(f"{contender} was not disturbed by {kind}")

    def to_json(self) -> dict[str, Any]:
        """Return the plain-data form."""
        return {
            "format": FORMAT_VERSION,
            "clock": self.clock,
            "within_ms": self.within_ms,
            "resamples": self.resamples,
            "trials": [trial.to_json() for trial in self.trials],
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Recovery:
        """Rebuild it from `to_json`, intervals computed anew; raises DataError if it is of another form."""
        try:
            if value["format"] != FORMAT_VERSION:
                raise DataError(f"recovery of format {value['format']!r}, this program reads {FORMAT_VERSION}")
            within_ms, resamples = value["within_ms"], value["resamples"]
            trials = tuple(
                Trial(
                    raw["contender"],
                    raw["kind"],
                    raw["episodes"],
                    tuple(Aftermath(**one) for one in raw["aftermaths"]),
                    within_ms,
                    resamples,
                )
                for raw in value["trials"]
            )
            return cls(value["clock"], within_ms, trials, resamples)
        except (KeyError, TypeError) as error:
            raise DataError(f"not a recovery: {error}") from error


def play_recovery(
    plans: Sequence[RolloutPlan],
    store: Path,
    *,
    horizon_ms: int,
    kinds: Sequence[str] = KINDS,
    within_ticks: int = WITHIN_TICKS,
    workers: int = 1,
    on_episode: OnEpisode | None = None,
) -> Recovery:
    """Play contenders with each disturbance and without, and return how they fared.

    Finished episodes are kept in `store`, those without a disturbance as `matches.play_matches` keeps them: where a
    comparison under the same terms is there, only the disturbed ones are played.

    Args:
        plans: contenders over the same seeds and terms; their environment must be one that can be disturbed.
        store: folder of the finished episodes.
        horizon_ms: game time of a decision.
        kinds: names of disturbances.
        within_ticks: how many decisions after a disturbance are looked at.
        workers: processes.
        on_episode: told the plan's name and the episode; plans are those of `list_recovery_plans`, in that order.

    Raises:
        ConfigError: a kind is unknown, the environment knows it not, or the episodes are too short.
        DataError: `store` holds episodes of something else.
    """
    played = list_recovery_plans(plans, kinds, within_ticks)
    rollouts = play_matches(played, store, workers=workers, on_episode=on_episode)
    return measure_recovery(
        {rollout.name: rollout for rollout in rollouts},
        [plan.name for plan in plans],
        kinds,
        within_ms=within_ticks * horizon_ms,
    )


def list_recovery_plans(
    plans: Sequence[RolloutPlan], kinds: Sequence[str] = KINDS, within_ticks: int = WITHIN_TICKS
) -> list[RolloutPlan]:
    """Return all that `play_recovery` plays: each plan undisturbed, then disturbed in every way."""
    return [
        planned
        for plan in plans
        for planned in (
            plan,
            *plan_disturbed(plan, make_disturbances(plan.episode.max_ticks, within_ticks, kinds)),
        )
    ]


def measure_recovery(
    rollouts: Mapping[str, Rollout],
    contenders: Sequence[str],
    kinds: Sequence[str],
    *,
    within_ms: int,
    resamples: int = DEFAULT_RESAMPLES,
) -> Recovery:
    """Return how contenders fared after disturbances.

    Args:
        rollouts: by name: each contender's, undisturbed, and `CONTENDER-KIND` (see `disturbances.name_disturbed`).
        contenders: their names, in the order of tables.
        kinds: names of disturbances.
        within_ms: how long after a disturbance is looked at, game time.
        resamples: of the intervals.

    Raises:
        ConfigError: no time to look at, no contender or no disturbance.
        DataError: a rollout is missing, or was played on other seeds or another clock than the others.
    """
    if within_ms <= 0 or not contenders or not kinds:
        raise ConfigError("recovery needs a time to look at, a contender and a disturbance")
    clocks = {episode.clock or "paused" for rollout in rollouts.values() for episode in rollout.episodes}
    if len(clocks) != 1:
        raise DataError(f"episodes of different clocks can't be compared: {', '.join(sorted(clocks))}")
    trials = tuple(
        Trial(
            contender,
            kind,
            len(_get(rollouts, contender).episodes),
            _pair(_get(rollouts, contender), _get(rollouts, name_disturbed(contender, kind)), within_ms),
            within_ms,
            resamples,
        )
        for kind in kinds
        for contender in contenders
    )
    return Recovery(clocks.pop(), within_ms, trials, resamples)


def _get(rollouts: Mapping[str, Rollout], name: str) -> Rollout:
    if name not in rollouts:
        raise DataError(f"there is no rollout {name!r} to measure recovery on")
    return rollouts[name]


def _pair(undisturbed: Rollout, disturbed: Rollout, within_ms: int) -> tuple[Aftermath, ...]:
    if [one.seed for one in undisturbed.episodes] != [one.seed for one in disturbed.episodes]:
        raise DataError(f"{disturbed.name} was played on other seeds than {undisturbed.name}")
    pairs = zip(undisturbed.episodes, disturbed.episodes, strict=True)
    return tuple(_follow(before, after, within_ms) for before, after in pairs if after.disturbed_ms is not None)


def _follow(undisturbed: Episode, disturbed: Episode, within_ms: int) -> Aftermath:
    start_ms = disturbed.disturbed_ms
    assert start_ms is not None
    times_ms, undisturbed_times_ms = (
        # What a horizon brought is known at its end, and the disturbance came after that.
        [time_ms - start_ms for time_ms in episode.score_times_ms if start_ms < time_ms <= start_ms + within_ms]
        for episode in (disturbed, undisturbed)
    )
    return Aftermath(
        disturbed.seed,
        start_ms,
        min(times_ms, default=None),
        len(times_ms),
        min(undisturbed_times_ms, default=None),
        len(undisturbed_times_ms),
    )
