"""Comparing rollouts over the same seeds: numbers with intervals, differences seed by seed, and what they say.

Everything here is computed from finished episodes; no model and no game is needed. `comparison.schema.json` beside this
module describes the JSON.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any, Literal

import numpy as np

from vlm_agent.errors import DataError, ModelError
from vlm_agent.evaluation.intervals import (
    DEFAULT_RESAMPLES,
    LEVEL,
    METHODS,
    Interval,
    mean_interval,
    ratio_interval,
    share_interval,
)
from vlm_agent.evaluation.metrics import Metric
from vlm_agent.rollouts.episodes import Episode, Outcome
from vlm_agent.rollouts.running import Rollout

FORMAT_VERSION = 2
BASE, TUNED = "base", "tuned"

Role = Literal["model", "reference", "baseline"]
"""`model`: what is compared. `reference`: the player who was imitated. `baseline`: what needs no learning at all."""


@dataclass(frozen=True)
class Contender:
    """Who took part."""

    name: str
    """Key in `comparison.json`."""
    label: str
    """As the report calls it."""
    role: Role
    """What it is there for."""


CONTENDERS = (
    Contender(BASE, "base", "model"),
    Contender(TUNED, "tuned", "model"),
    Contender("demonstrator", "demonstrator", "reference"),
    Contender("noop", "no-op", "baseline"),
    Contender("random", "random", "baseline"),
    Contender("repeat", "repeat last", "baseline"),
)
"""Everyone, in the order of the tables."""


@dataclass(frozen=True)
class Row:
    """One contender's episodes, summarised."""

    contender: Contender
    """Who."""
    episodes: tuple[Episode, ...]
    """In the order of the seeds."""
    values: tuple[float, ...]
    """The metric of each."""
    metric: Interval
    """Its mean."""
    success: Interval
    """Share of episodes whose goal was reached, as the game says."""
    valid: Interval | None
    """Share of all decisions that were a chunk, an empty one too; None where nobody decided by chunks."""
    first_success_s: Interval
    """Mean game time to the first success, seconds; where none came, the whole episode (a restricted mean)."""
    wasted: Interval | None
    """Share of all presses that changed nothing in the game; None where there were too few, or none are counted."""

    @property
    def outcomes(self) -> dict[str, int]:
        """Decisions by what became of them."""
        return _add_up(episode.counts.outcomes for episode in self.episodes) if self.valid else {}

    @property
    def invalid_reasons(self) -> dict[str, int]:
        """Invalid decisions by reason."""
        return _add_up(episode.counts.invalid_reasons for episode in self.episodes)

    @property
    def refused_reasons(self) -> dict[str, int]:
        """Refused decisions by reason."""
        return _add_up(episode.counts.refused_reasons for episode in self.episodes)

    @property
    def num_decisions(self) -> int:
        """All decisions."""
        return sum(self.outcomes.values())

    @property
    def latencies_ms(self) -> tuple[float, ...]:
        """Time of every decision of a model; empty for others, whose time means nothing."""
        if self.contender.role != "model":
            return ()
        return tuple(value for episode in self.episodes for value in episode.latencies_ms)

    @property
    def mean_p_allowed(self) -> float | None:
        """Mean probability that a model itself gave to allowed tokens."""
        masses = [episode.mean_p_allowed for episode in self.episodes if episode.mean_p_allowed is not None]
        return float(np.mean(masses)) if masses else None

    def share(self, outcome: Outcome) -> float:
        """Share of all decisions that ended so."""
        return self.outcomes.get(str(outcome), 0) / self.num_decisions if self.num_decisions else 0.0

    def latency_ms(self, percent: float) -> float | None:
        """Percentile of a model's decision times."""
        return float(np.percentile(self.latencies_ms, percent)) if self.latencies_ms else None

    def to_json(self) -> dict[str, Any]:
        """Return the plain-data form."""
        return {
            **self.metric.to_json(),
            "role": self.contender.role,
            "per_seed": [round(value, 6) for value in self.values],
            "scores": [episode.score for episode in self.episodes],
            "success": self.success.to_json(),
            "valid": self.valid.to_json() if self.valid else None,
            "first_success_s": self.first_success_s.to_json(),
            "presses": sum(episode.num_presses or 0 for episode in self.episodes),
            "wasted_presses": self.wasted.to_json() if self.wasted else None,
            "late_actions": sum(episode.num_late_actions for episode in self.episodes),
            "decisions": self.num_decisions,
            "outcomes": {str(outcome): self.outcomes.get(str(outcome), 0) for outcome in Outcome} if self.valid else {},
            "invalid_reasons": self.invalid_reasons,
            "refused_reasons": self.refused_reasons,
            "actions": sum(episode.num_actions for episode in self.episodes),
            "latency_ms": {f"p{p}": _round(self.latency_ms(p)) for p in (50, 95)} if self.latencies_ms else None,
            "mean_p_allowed": _round(self.mean_p_allowed, 6),
        }


@dataclass(frozen=True)
class Difference:
    """Tuned less another contender, seed by seed."""

    values: tuple[float, ...]
    """One a seed."""
    interval: Interval
    """Of their mean."""

    @property
    def num_ahead(self) -> int:
        """Seeds on which tuned did better."""
        return sum(value > 0 for value in self.values)

    @property
    def num_behind(self) -> int:
        """Seeds on which tuned did worse."""
        return sum(value < 0 for value in self.values)

    def to_json(self) -> dict[str, Any]:
        """Return the plain-data form."""
        return {
            **self.interval.to_json(),
            "per_seed": [round(value, 6) for value in self.values],
            "ahead": self.num_ahead,
            "behind": self.num_behind,
            "level": len(self.values) - self.num_ahead - self.num_behind,
        }


@dataclass(frozen=True)
class Setting:
    """Under which terms everyone played."""

    env: str
    """Name of the environment."""
    goal: str
    """The instruction."""
    max_ticks: int
    """Most decisions an episode."""
    horizon_ms: int
    """Game time of a decision."""
    clock: str = "paused"
    """`paused`: the game waited for every decision; `real`: it went on."""

    @property
    def episode_s(self) -> float:
        """Longest episode, seconds of game time."""
        return self.max_ticks * self.horizon_ms / 1000


@dataclass(frozen=True)
class Comparison:
    """Two models over the same seeds, with everyone they are held against."""

    metric: Metric
    """What was measured."""
    setting: Setting
    """Under which terms."""
    seeds: tuple[int, ...]
    """The scenes; each played once by everyone."""
    rows: dict[str, Row]
    """By name, in the order of the tables; holds at least `base` and `tuned`."""
    differences: dict[str, Difference]
    """Tuned less each of the others, by their names."""
    resamples: int = DEFAULT_RESAMPLES
    """Of the intervals."""
    made: dict[str, Any] = field(default_factory=dict)
    """How it was made: command, versions, hashes, machine."""

    @property
    def base(self) -> Row:
        """The model before tuning."""
        return self.rows[BASE]

    @property
    def tuned(self) -> Row:
        """The model after tuning."""
        return self.rows[TUNED]

    @property
    def difference(self) -> Difference:
        """Tuned less base."""
        return self.differences[BASE]

    def by_role(self, role: Role) -> tuple[Row, ...]:
        """Return the rows of a role."""
        return tuple(row for row in self.rows.values() if row.contender.role == role)

    def to_json(self) -> dict[str, Any]:
        """Return the plain-data form that `comparison.schema.json` describes; the verdict is the writer's to add."""
        return {
            "format": FORMAT_VERSION,
            "metric": self.metric.name,
            "n_seeds": len(self.seeds),
            "seeds": list(self.seeds),
            "env": self.setting.env,
            "goal": self.setting.goal,
            "clock": self.setting.clock,
            "max_ticks": self.setting.max_ticks,
            "episode_s": self.setting.episode_s,
            **{name: row.to_json() for name, row in self.rows.items()},
            "difference": self.difference.to_json(),
            "differences": {name: difference.to_json() for name, difference in self.differences.items()},
            "interval": {
                "level": LEVEL,
                **METHODS,
                "resamples": self.resamples,
            },
            "made": self.made,
        }


def compare_rollouts(
    rollouts: Sequence[Rollout],
    metric: Metric,
    setting: Setting,
    *,
    resamples: int = DEFAULT_RESAMPLES,
    made: dict[str, Any] | None = None,
) -> Comparison:
    """Return the comparison of rollouts named as in `CONTENDERS`.

    Raises:
        DataError: base or tuned is missing, a name is unknown, or the seeds differ.
    """
    by_name = {rollout.name: rollout for rollout in rollouts}
    known = {contender.name for contender in CONTENDERS}
    if not {BASE, TUNED} <= by_name.keys() <= known:
        raise DataError(f"a comparison needs base and tuned, and knows {sorted(known)}; got {sorted(by_name)}")
    seeds = tuple(episode.seed for episode in by_name[BASE].episodes)
    for rollout in rollouts:
        _check_seeds(rollout, seeds)
    rows = {
        contender.name: summarise(contender, by_name[contender.name].episodes, metric, resamples=resamples)
        for contender in CONTENDERS
        if contender.name in by_name
    }
    tuned = rows[TUNED]
    differences = {
        name: subtract(tuned.values, row.values, metric, resamples=resamples)
        for name, row in rows.items()
        if row is not tuned
    }
    return Comparison(metric, setting, seeds, rows, differences, resamples, made or {})


def _check_seeds(rollout: Rollout, seeds: tuple[int, ...]) -> None:
    """Raise DataError unless episodes can be paired by seed with those of base, each once and in one order."""
    played = tuple(episode.seed for episode in rollout.episodes)
    if len(set(played)) < len(played):
        twice = next(seed for seed in played if played.count(seed) > 1)
        raise DataError(f"{rollout.name} was played more than once on seed {twice}; each seed counts once")
    if played != seeds:
        apart = sorted(set(played) ^ set(seeds))
        which = f"only one of them on {apart[0]}" if apart else "in another order"
        raise DataError(
            f"{rollout.name} was played on other seeds than base ({which}); only the same seeds can be compared"
        )


def summarise(contender: Contender, episodes: tuple[Episode, ...], metric: Metric, *, resamples: int) -> Row:
    """Return a contender's row; intervals are over its episodes.

    Raises:
        ModelError: a model's probabilities are not finite numbers.
        DataError: a score or a time is not one.
    """
    _check_numbers(contender, episodes)
    values = tuple(metric.value(episode) for episode in episodes)
    # The demonstrator moves a hand, 50 times a second: it has no decisions to be valid or not.
    decides = contender.role != "reference"
    return Row(
        contender,
        episodes,
        values,
        metric.measure(values, resamples=resamples),
        share_interval([episode.is_success for episode in episodes]),
        _count_valid(episodes) if decides else None,
        mean_interval([_first_success_ms(episode) / 1000 for episode in episodes], resamples=resamples),
        _count_wasted(episodes),
    )


def _check_numbers(contender: Contender, episodes: Sequence[Episode]) -> None:
    """Raise unless all that is averaged over episodes is a finite number, naming the episode where it is not."""
    for episode in episodes:
        mass = episode.mean_p_allowed
        if mass is not None and not isfinite(mass):
            raise ModelError(
                f"{contender.label}: on seed {episode.seed} its probabilities are {mass}: its weights or its adapter "
                "hold numbers that are not finite; train it anew, or take an earlier checkpoint"
            )
        numbers = {"score": episode.score, "time of a decision": sum(episode.latencies_ms)}
        for name, value in numbers.items():
            if not isfinite(value):
                raise DataError(
                    f"{contender.label}: on seed {episode.seed} the {name} is {value}, not a finite number; remove "
                    "that episode from the folder of episodes, and it is played again"
                )


def _first_success_ms(episode: Episode) -> int:
    return episode.duration_ms if episode.first_success_ms is None else episode.first_success_ms


def _count_valid(episodes: Sequence[Episode]) -> Interval | None:
    counts = [episode.counts for episode in episodes]
    return _measure_share([(one.total - one[Outcome.INVALID], one.total) for one in counts])


def _count_wasted(episodes: Sequence[Episode]) -> Interval | None:
    return _measure_share(
        [
            (episode.num_wasted_presses, episode.num_presses or 0)
            for episode in episodes
            if episode.num_wasted_presses is not None
        ]
    )


def _measure_share(parts: Sequence[tuple[int, int]]) -> Interval | None:
    """Who does much in one episode and little in another has one share, not the mean of two."""
    table = np.asarray(parts, dtype=float).reshape(-1, 2)
    if len(table) < 2 or not table[:, 1].any():
        return None
    return ratio_interval(table[:, 0], table[:, 1])


def subtract(values: Sequence[float], others: Sequence[float], metric: Metric, *, resamples: int) -> Difference:
    """Return the paired difference of two contenders' values over the same seeds."""
    gaps = tuple(value - other for value, other in zip(values, others, strict=True))
    return Difference(gaps, metric.measure_gaps(gaps, resamples=resamples))


def read_schema() -> dict[str, Any]:
    """Return the JSON schema of `comparison.json`."""
    path = Path(__file__).with_name("comparison.schema.json")
    schema: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return schema


def _add_up(counts: Any) -> dict[str, int]:
    total: Counter[str] = Counter()
    for part in counts:
        total.update(part)
    return dict(sorted(total.items()))


def _round(value: float | None, digits: int = 2) -> float | None:
    return None if value is None else round(value, digits)
