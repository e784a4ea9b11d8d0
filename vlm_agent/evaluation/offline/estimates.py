"""From tallies of sessions to numbers with intervals, differences between contenders, and which of them hold.

A metric is a ratio of two sums over sessions. Sessions, not windows, are what is independent: ten windows of a session
share pictures, goals and a player. The interval of a share is that of `intervals.ratio_interval`; that of anything else
is of the mean of its linearised values, the influence of each session on the ratio (Davison and Hinkley, Bootstrap
Methods and their Application, 1997, section 2.7).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from vlm_agent.evaluation.intervals import (
    Interval,
    gap_interval,
    is_constant,
    linearise,
    mean_interval,
    ratio_interval,
)
from vlm_agent.evaluation.offline.metrics import SHARES
from vlm_agent.evaluation.offline.scores import KEY_F1, KINDS
from vlm_agent.evaluation.offline.tallies import NONE, Tally

_ROUNDING = 1e-9
"""Equal sums divided by equal counts differ by no more."""


@dataclass(frozen=True)
class Estimate:
    """One metric of one contender."""

    value: float
    """The ratio over all sessions."""
    interval: Interval | None
    """Its 95 % interval; none with fewer than two sessions that have anything to divide by."""
    count: float
    """What it is divided by: windows, actions or matched pairs."""

    def to_json(self) -> dict[str, Any]:
        """Return `value`, `ci95` and `count`, rounded far below their meaning."""
        ci95 = None if self.interval is None else self.interval.to_json()["ci95"]
        return {"value": round(self.value, 6), "ci95": ci95, "count": self.count}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Estimate:
        """Rebuild it from `to_json`; the interval's mean is the value."""
        ci95 = value["ci95"]
        return cls(value["value"], None if ci95 is None else Interval(value["value"], *ci95), value["count"])


@dataclass(frozen=True)
class Gap:
    """How much better or worse one contender is than another in one metric, session by session."""

    interval: Interval
    """Of the difference."""
    p: float
    """Probability of a difference as large if there were none: a t test on the sessions."""
    p_holm: float
    """The same, after Holm's correction for all metrics of the table."""

    def to_json(self) -> dict[str, Any]:
        """Return the difference with its interval, `p` and `p_holm`."""
        return {**self.interval.to_json(), "p": self.p, "p_holm": self.p_holm}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Gap:
        """Rebuild it from `to_json`."""
        return cls(Interval(value["mean"], *value["ci95"]), value["p"], value["p_holm"])


def estimate(tallies: Mapping[str, Tally], metric: str) -> Estimate | None:
    """Return a metric over sessions, or none where nothing can be divided by."""
    sums, counts = _columns(tallies, metric)
    if counts.sum() <= 0:
        return None
    ratio = float(sums.sum() / counts.sum())
    # A session without anything to divide by (a key that nobody pressed there) says nothing, not even that it agrees.
    num_units = int((counts > 0).sum())
    interval = _measure(sums, counts, metric) if num_units > 1 else None
    return Estimate(ratio, interval, float(counts.sum()))


def _measure(sums: NDArray[np.float64], counts: NDArray[np.float64], metric: str) -> Interval:
    if metric in SHARES or metric.startswith(KEY_F1):
        return ratio_interval(sums, counts)
    interval = mean_interval(linearise(sums, counts).tolist())
    # Linearised values know no bounds; what is measured does: nothing is negative.
    return Interval(interval.mean, max(interval.low, 0.0), max(interval.high, 0.0))


def compare(one: Mapping[str, Tally], other: Mapping[str, Tally], metrics: Sequence[str]) -> dict[str, Gap]:
    """Return `one` minus `other` for each metric that both have, over the sessions of both.

    Metrics without any difference, or with fewer than two sessions, are left out: there is nothing to test.
    """
    sessions = sorted(one.keys() & other.keys())
    gaps: dict[str, tuple[Interval, float]] = {}
    for metric in metrics:
        parts = [_columns({name: side[name] for name in sessions}, metric) for side in (one, other)]
        if len(sessions) < 2 or any(counts.sum() <= 0 for _, counts in parts):
            continue
        apart = linearise(*parts[0]) - linearise(*parts[1])
        if is_constant(apart) and abs(float(apart.mean())) <= _ROUNDING:
            continue
        trials = min(float(counts.sum()) for _, counts in parts)
        interval = gap_interval(apart.tolist(), trials) if metric in SHARES else mean_interval(apart.tolist())
        gaps[metric] = interval, t_test(apart)
    corrected = correct_holm([p for _, p in gaps.values()])
    return {
        metric: Gap(interval, p, p_holm)
        for (metric, (interval, p)), p_holm in zip(gaps.items(), corrected, strict=True)
    }


def t_test(values: NDArray[np.float64]) -> float:
    """Return the two-sided p of a t test that the mean of independent values is 0.

    Values that are all the same have no spread to test by; a sign test has what it needs.
    """
    if is_constant(values):
        return 1.0 if abs(float(values.mean())) <= _ROUNDING else float(2.0 ** (1 - len(values)))
    error = float(values.std(ddof=1)) / sqrt(len(values))
    return float(2 * student.sf(abs(float(values.mean())) / error, len(values) - 1))


def correct_holm(ps: Sequence[float]) -> list[float]:
    """Return p values corrected for how many there are, step by step (Holm 1979)."""
    order = sorted(range(len(ps)), key=lambda index: ps[index])
    corrected, highest = [0.0] * len(ps), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[index]))
        corrected[index] = highest
    return corrected


def confusion_of(tallies: Mapping[str, Tally]) -> dict[str, dict[str, int]]:
    """Return the confusion matrix of kinds: rows are the player's, columns the answer's, `none` on both sides."""
    whole = Tally()
    for tally in tallies.values():
        whole.merge(tally)
    names = (*KINDS, NONE)
    return {row: {column: whole.confusion.get((row, column), 0) for column in names} for row in names}


def macro_f1(confusion: Mapping[str, Mapping[str, int]]) -> float | None:
    """Return the mean F1 of the kinds that the player or the answers have."""
    scores = []
    for kind in KINDS:
        wanted = sum(confusion[kind].values())
        said = sum(row[kind] for row in confusion.values())
        if wanted + said:
            scores.append(2 * confusion[kind][kind] / (wanted + said))
    return sum(scores) / len(scores) if scores else None


def _columns(tallies: Mapping[str, Tally], metric: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    parts = [(tally.sums.get(metric, 0.0), tally.counts.get(metric, 0.0)) for tally in tallies.values()]
    table = np.asarray(parts, dtype=float).reshape(-1, 2)
    return table[:, 0], table[:, 1]
