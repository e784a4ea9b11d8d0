"""One evaluation on recorded windows: contenders, their numbers, and the differences to the first of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vlm_agent.errors import DataError
from vlm_agent.evaluation.offline.estimates import Estimate, Gap, compare, confusion_of, estimate, macro_f1
from vlm_agent.evaluation.offline.metrics import OFFLINE_METRICS, ScoreConfig
from vlm_agent.evaluation.offline.predictions import Prediction
from vlm_agent.evaluation.offline.scores import tally_sessions

FORMAT = 1


@dataclass(frozen=True)
class Answerer:
    """One contender's numbers."""

    name: str
    """What it is called."""
    estimates: Mapping[str, Estimate]
    """By metric; those that nothing can be divided by are missing."""
    confusion: Mapping[str, Mapping[str, int]]
    """Kinds of action, the player's by the answer's."""
    macro_f1: float | None
    """Mean F1 over kinds."""
    reasons: Mapping[str, int]
    """Why windows have no answer, counted."""
    gaps: Mapping[str, Gap]
    """What the first contender is better or worse by, by metric; empty for the first."""


@dataclass(frozen=True)
class OfflineEvaluation:
    """All contenders over the same windows."""

    windows: int
    """How many windows."""
    sessions: int
    """Of how many sessions."""
    answerers: tuple[Answerer, ...]
    """The first is the one that is asked about."""
    about: Mapping[str, Any]
    """What was asked of whom."""

    def to_json(self) -> dict[str, Any]:
        """Return the plain-data form, as `evaluation.json` holds it; `evaluation.schema.json` describes it."""
        return {
            "format": FORMAT,
            "windows": self.windows,
            "sessions": self.sessions,
            "contenders": {one.name: _describe(one) for one in self.answerers},
            "about": dict(self.about),
        }


def evaluate(
    predictions: Mapping[str, Sequence[Prediction]], about: Mapping[str, Any], config: ScoreConfig
) -> OfflineEvaluation:
    """Compute all numbers from predictions.

    Args:
        predictions: by contender; all over the same windows, the first is held against each other one.
        about: what was asked of whom.
        config: when two actions count as the same.

    Raises:
        DataError: there are no predictions, or not of the same windows.
    """
    asked = {name: {one.window_id for one in of_one} for name, of_one in predictions.items()}
    first, *others = asked
    for name in others:
        if asked[name] != asked[first]:
            num = len(asked[name] ^ asked[first])
            raise DataError(f"{name} and {first} answered other windows ({num} differ): let the evaluation finish")
    if not asked[first]:
        raise DataError("there are no predictions to score")
    tallies = {name: tally_sessions(of_one, config) for name, of_one in predictions.items()}
    keys = [metric.key for metric in OFFLINE_METRICS]
    answerers = []
    for name, sessions in tallies.items():
        estimates = {key: found for key in keys if (found := estimate(sessions, key)) is not None}
        confusion = confusion_of(sessions)
        answerers.append(
            Answerer(
                name=name,
                estimates=estimates,
                confusion=confusion,
                macro_f1=macro_f1(confusion),
                reasons=Counter(one.reason for one in predictions[name] if one.reason is not None),
                gaps={} if name == first else compare(tallies[first], sessions, keys),
            )
        )
    return OfflineEvaluation(len(asked[first]), len(tallies[first]), tuple(answerers), about)


def _describe(one: Answerer) -> dict[str, Any]:
    return {
        "metrics": {key: _describe_estimate(found) for key, found in one.estimates.items()},
        "macro_f1": one.macro_f1,
        "confusion": one.confusion,
        "reasons": dict(one.reasons),
        "first_minus_this": {
            key: {**gap.interval.to_json(), "p": gap.p, "p_holm": gap.p_holm} for key, gap in one.gaps.items()
        },
    }


def _describe_estimate(found: Estimate) -> dict[str, Any]:
    ci95 = None if found.interval is None else found.interval.to_json()["ci95"]
    return {"value": round(found.value, 6), "ci95": ci95, "count": found.count}
