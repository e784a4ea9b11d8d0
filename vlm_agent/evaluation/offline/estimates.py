"""From tallies of sessions to numbers with intervals, differences between contenders, and which of them hold.

A metric is a ratio of two sums over sessions. Its interval is that of the mean of its linearised values, the influence
of each session on the ratio (Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 2.7), so that
sessions, not windows, are what is resampled: ten windows of a session share pictures, goals and a player.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from vlm_agent.evaluation.intervals import Interval, linearise, mean_interval
from vlm_agent.evaluation.offline.metrics import SHARES
from vlm_agent.evaluation.offline.scores import KINDS
from vlm_agent.evaluation.offline.tallies import NONE, Tally


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
    interval = mean_interval(linearise(sums, counts).tolist()) if len(sums) > 1 else None
    return Estimate(ratio, _bound(interval, metric) if interval else None, float(counts.sum()))


def _bound(interval: Interval, metric: str) -> Interval:
    """Linearised values know no bounds; what is measured does: nothing is negative, and a share is at most 1."""
    most = 1.0 if metric in SHARES else inf
    low, high = (min(max(end, 0.0), most) for end in (interval.low, interval.high))
    return Interval(interval.mean, low, high)


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
        if float(np.ptp(apart)) > 0:
            gaps[metric] = mean_interval(apart.tolist()), t_test(apart)
    corrected = correct_holm([p for _, p in gaps.values()])
    return {
        metric: Gap(interval, p, p_holm)
        for (metric, (interval, p)), p_holm in zip(gaps.items(), corrected, strict=True)
    }


def t_test(values: NDArray[np.float64]) -> float:
    """Return the two-sided p of a t test that the mean of independent values is 0."""
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
