"""A learning curve as numbers: one trained run for every number of sessions, and how each plays.

Everything here is computed from what was trained and played; `curve.schema.json` beside this module describes the JSON.
Intervals are over scenes: they say how the runs at hand play, not how another training would.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vlm_agent.errors import DataError
from vlm_agent.evaluation.finite import load_finite
from vlm_agent.evaluation.intervals import DEFAULT_RESAMPLES, LEVEL, METHODS, Interval
from vlm_agent.evaluation.metrics import GOAL_SUCCESS, RINGS_PER_MINUTE, Metric
from vlm_agent.regular_files import read_text
from vlm_agent.training.metrics import Losses

FORMAT_VERSION = 1
Values = tuple[float, ...]
"""The metric of one episode each, in the order of the seeds."""

_METRICS = {metric.name: metric for metric in (RINGS_PER_MINUTE, GOAL_SUCCESS)}


@dataclass(frozen=True)
class TrainedRun:
    """One run of the curve over sessions."""

    sessions: int
    """Sessions that it learned from."""
    repeat: int
    """Which drawing of sessions, and which seed of training, counted from 0."""
    steps: int
    """Optimizer steps done."""
    loss: float | None
    """Of its adapter on the validation sessions, nats per target token; None where there are none."""
    values: Values
    """How it plays."""


@dataclass(frozen=True)
class KeptAdapter:
    """The run of the most sessions after some steps."""

    step: int
    """Optimizer steps done."""
    loss: float | None
    """On the validation sessions, where it was measured at that step."""
    values: Values
    """How it plays."""


@dataclass(frozen=True)
class Setting:
    """Under which terms everyone was trained and played."""

    env: str
    """Name of the environment."""
    goal: str
    """The instruction."""
    max_ticks: int
    """Most decisions an episode."""
    num_train_sessions: int
    """Sessions that there are to learn from."""
    equal_steps: int | None
    """Steps that every run was trained for; None: as many passes each, so fewer steps for fewer sessions."""
    clock: str = "paused"
    """The game waited for every decision."""


@dataclass(frozen=True)
class Curve:
    """What was trained and how it plays."""

    metric: Metric
    """What is measured in an episode."""
    setting: Setting
    """Under which terms."""
    seeds: tuple[int, ...]
    """The scenes, the same for everyone."""
    runs: tuple[TrainedRun, ...]
    """By number of sessions, then by repeat."""
    base: Values
    """How the base plays, which has learned from no session."""
    demonstrator: Values = ()
    """How the player plays who was learned from; empty where the goal is not the demonstrator's."""
    kept: tuple[KeptAdapter, ...] = ()
    """The run of the most sessions on its way, by step; its end is in `runs`."""
    losses: Losses = field(default_factory=Losses)
    """Of the same run."""
    resamples: int = DEFAULT_RESAMPLES
    """Of the intervals."""
    made: dict[str, Any] = field(default_factory=dict)
    """How it was made: command, settings, versions."""

    @property
    def numbers(self) -> tuple[int, ...]:
        """Numbers of sessions, ascending."""
        return tuple(sorted({run.sessions for run in self.runs}))

    @property
    def num_repeats(self) -> int:
        """Runs for each number of sessions."""
        return len({run.repeat for run in self.runs})

    @property
    def largest(self) -> TrainedRun:
        """The run whose way is looked at: of the most sessions, the first of its repeats."""
        return next(run for run in self.runs if run.sessions == self.numbers[-1])

    def runs_of(self, sessions: int) -> tuple[TrainedRun, ...]:
        """Return the runs that learned from so many sessions."""
        return tuple(run for run in self.runs if run.sessions == sessions)

    def values_of(self, sessions: int) -> Values:
        """Return how runs of so many sessions play on each seed, averaged over repeats; 0 is the base."""
        if sessions == 0:
            return self.base
        return tuple(float(value) for value in np.mean([run.values for run in self.runs_of(sessions)], axis=0))

    def loss_of(self, sessions: int) -> float | None:
        """Return the mean loss of runs of so many sessions."""
        losses = [run.loss for run in self.runs_of(sessions) if run.loss is not None]
        return float(np.mean(losses)) if losses else None

    def measure(self, values: Sequence[float]) -> Interval:
        """Return the mean of one value a seed, with its interval."""
        return self.metric.measure(values, resamples=self.resamples)

    def gain(self, fewer: int, more: int) -> Interval:
        """Return what so many sessions more bring, seed by seed; from 0 sessions is against the base."""
        return self.measure_gaps(self.values_of(more), self.values_of(fewer))

    def measure_gaps(self, values: Sequence[float], others: Sequence[float]) -> Interval:
        """Return the mean difference of two runs' values, seed by seed, with its interval."""
        gaps = [value - other for value, other in zip(values, others, strict=True)]
        return self.metric.measure_gaps(gaps, resamples=self.resamples)

    def to_json(self) -> dict[str, Any]:
        """Return the plain-data form that `curve.schema.json` describes."""
        return {
            "format": FORMAT_VERSION,
            "metric": self.metric.name,
            **asdict(self.setting),
            "seeds": list(self.seeds),
            "base": self._to_json(self.base),
            "demonstrator": self._to_json(self.demonstrator) if self.demonstrator else None,
            "points": [
                {"sessions": number, **self.measure(self.values_of(number)).to_json(), "loss": self.loss_of(number)}
                for number in self.numbers
            ],
            "gains": [
                {"from": fewer, "to": more, **self.gain(fewer, more).to_json()}
                for fewer, more in zip((0, *self.numbers), self.numbers, strict=False)
            ],
            "runs": [{**asdict(run), **self._to_json(run.values)} for run in self.runs],
            "kept": [{**asdict(one), **self._to_json(one.values)} for one in self.kept],
            "losses": {name: [list(pair) for pair in pairs] for name, pairs in asdict(self.losses).items()},
            "interval": {"level": LEVEL, **METHODS, "resamples": self.resamples},
            "made": self.made,
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Curve:
        """Rebuild a curve from `to_json`, points and gains computed anew; raises DataError if it is none."""
        try:
            if value["format"] != FORMAT_VERSION:
                raise DataError(f"curve of format {value['format']!r}, this program reads {FORMAT_VERSION}")
            setting = Setting(**{name: value[name] for name in Setting.__dataclass_fields__})
            losses = {
                name: tuple((int(step), float(loss)) for step, loss in pairs) for name, pairs in value["losses"].items()
            }
            return cls(
                metric=_METRICS[value["metric"]],
                setting=setting,
                seeds=tuple(value["seeds"]),
                runs=tuple(TrainedRun(**_only(TrainedRun, raw)) for raw in value["runs"]),
                base=tuple(value["base"]["values"]),
                demonstrator=tuple(value["demonstrator"]["values"]) if value["demonstrator"] else (),
                kept=tuple(KeptAdapter(**_only(KeptAdapter, raw)) for raw in value["kept"]),
                losses=Losses(**losses),
                resamples=value["interval"]["resamples"],
                made=value["made"],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"not a learning curve: {error}") from error

    def _to_json(self, values: Values) -> dict[str, Any]:
        return {**self.measure(values).to_json(), "values": list(values)}


def read_curve(path: Path) -> Curve:
    """Return the curve in a `curve.json`; raises DataError if there is none."""
    try:
        value = load_finite(read_text(path))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} holds no learning curve ({error}); make one with vlm-agent curve") from error
    try:
        return Curve.from_json(value)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} holds no learning curve ({error!r:.200}); make one with vlm-agent curve") from error


def read_schema() -> dict[str, Any]:
    """Return the JSON schema of `curve.json`."""
    schema: dict[str, Any] = json.loads(Path(__file__).with_name("curve.schema.json").read_text(encoding="utf-8"))
    return schema


def _only(kind: type[Any], raw: dict[str, Any]) -> dict[str, Any]:
    fields = {name: raw[name] for name in kind.__dataclass_fields__}
    return {**fields, "values": tuple(fields["values"])}
