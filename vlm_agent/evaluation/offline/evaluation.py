"""One evaluation on recorded windows: contenders, their numbers, and the differences to the first of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vlm_agent.actions.types import ActionChunk, Key
from vlm_agent.errors import DataError
from vlm_agent.evaluation.finite import load_finite
from vlm_agent.evaluation.offline.estimates import Estimate, Gap, compare, confusion_of, estimate, macro_f1
from vlm_agent.evaluation.offline.forced import ForcedEvaluation, evaluate_readouts
from vlm_agent.evaluation.offline.metrics import FORCED_METRICS, OFFLINE_METRICS, OfflineMetric, ScoreConfig
from vlm_agent.evaluation.offline.predictions import Prediction
from vlm_agent.evaluation.offline.readouts import Readout
from vlm_agent.evaluation.offline.scores import KEY_F1, tally_sessions
from vlm_agent.evaluation.offline.tallies import Tally
from vlm_agent.regular_files import read_text

FORMAT = 3


@dataclass(frozen=True)
class Answerer:
    """One contender's numbers."""

    name: str
    """What it is called."""
    estimates: Mapping[str, Estimate]
    """By metric; those that nothing can be divided by are missing."""
    keys: Mapping[str, Estimate]
    """F1 by key, of the keys that the player presses."""
    confusion: Mapping[str, Mapping[str, int]]
    """Kinds of action, the player's by the answer's."""
    macro_f1: float | None
    """Mean F1 over kinds."""
    reasons: Mapping[str, int]
    """Why windows have no answer, counted."""
    gaps: Mapping[str, Gap]
    """What the first contender is better or worse by, by metric; empty for the first."""

    def to_json(self) -> dict[str, Any]:
        """Return the plain-data form."""
        return {
            "metrics": {key: found.to_json() for key, found in self.estimates.items()},
            "keys": {key: found.to_json() for key, found in self.keys.items()},
            "macro_f1": self.macro_f1,
            "confusion": self.confusion,
            "reasons": dict(self.reasons),
            "first_minus_this": {key: gap.to_json() for key, gap in self.gaps.items()},
        }

    @classmethod
    def from_json(cls, name: str, value: Mapping[str, Any]) -> Answerer:
        """Rebuild it from `to_json`."""
        return cls(
            name=name,
            estimates={key: Estimate.from_json(found) for key, found in value["metrics"].items()},
            keys={key: Estimate.from_json(found) for key, found in value["keys"].items()},
            confusion=value["confusion"],
            macro_f1=value["macro_f1"],
            reasons=value["reasons"],
            gaps={key: Gap.from_json(gap) for key, gap in value["first_minus_this"].items()},
        )


@dataclass(frozen=True)
class OfflineEvaluation:
    """All contenders over the same windows."""

    windows: int
    """How many windows."""
    sessions: int
    """Of how many sessions."""
    answerers: tuple[Answerer, ...]
    """The first is the one that is asked about."""
    player: Mapping[str, float]
    """The player's own values of the metrics in which he has one."""
    about: Mapping[str, Any]
    """What was asked of whom."""
    score: ScoreConfig = field(default_factory=ScoreConfig)
    """The rule by which actions were matched."""
    goal_sources: Mapping[str, int] = field(default_factory=dict)
    """In how many windows the goal is whose (see `Prediction.goal_source`)."""
    forced: ForcedEvaluation | None = None
    """What models expected, given the player's own answers; none where none was read."""

    def to_json(self) -> dict[str, Any]:
        """Return the plain-data form, as `evaluation.json` holds it; `evaluation.schema.json` describes it."""
        return {
            "format": FORMAT,
            "windows": self.windows,
            "sessions": self.sessions,
            "contenders": {one.name: one.to_json() for one in self.answerers},
            "player": dict(self.player),
            "score": asdict(self.score),
            "goal_sources": dict(self.goal_sources),
            "metrics": {one.key: self._describe(one) for one in OFFLINE_METRICS},
            "teacher_forced_metrics": {one.key: self._describe(one) for one in FORCED_METRICS},
            "teacher_forced": None if self.forced is None else self.forced.to_json(),
            "about": dict(self.about),
        }

    def _describe(self, metric: OfflineMetric) -> dict[str, Any]:
        goal = metric.find_goal(self.player)
        return {"label": metric.tell(self.score), "unit": metric.unit, "goal": None if goal is None else asdict(goal)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> OfflineEvaluation:
        """Rebuild it from `to_json`."""
        forced = value["teacher_forced"]
        return cls(
            windows=value["windows"],
            sessions=value["sessions"],
            answerers=tuple(Answerer.from_json(name, one) for name, one in value["contenders"].items()),
            player=value["player"],
            about=value["about"],
            score=ScoreConfig(**value["score"]),
            goal_sources=value["goal_sources"],
            forced=None if forced is None else ForcedEvaluation.from_json(forced),
        )


def read_evaluation(path: Path) -> OfflineEvaluation:
    """Return the evaluation that `vlm-agent eval` wrote into a file.

    Raises:
        DataError: there is no such file, or it is not one of those.
    """
    try:
        value = load_finite(read_text(path))
        if value["format"] != FORMAT:
            raise DataError(f"{path}: an evaluation of format {value['format']}, expected {FORMAT}; rescore it")
        return OfflineEvaluation.from_json(value)
    except OSError as error:
        raise DataError(f"{path}: no evaluation to read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: not an evaluation ({error})") from error


def evaluate(
    predictions: Mapping[str, Sequence[Prediction]],
    about: Mapping[str, Any],
    config: ScoreConfig,
    readouts: Mapping[str, Sequence[Readout]] | None = None,
) -> OfflineEvaluation:
    """Compute all numbers from predictions.

    Args:
        predictions: by contender; all over the same windows, the first is held against each other one.
        about: what was asked of whom.
        config: when two actions count as the same.
        readouts: by contender, of those that were read.

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
    pressed = sorted({KEY_F1 + key for one in predictions[first] for key in _keys_in(one.target)})
    answerers = []
    for name, sessions in tallies.items():
        confusion = confusion_of(sessions)
        answerers.append(
            Answerer(
                name=name,
                estimates=_estimate_all(sessions, keys),
                keys={key.removeprefix(KEY_F1): found for key, found in _estimate_all(sessions, pressed).items()},
                confusion=confusion,
                macro_f1=macro_f1(confusion),
                reasons=Counter(one.reason for one in predictions[name] if one.reason is not None),
                gaps={} if name == first else compare(tallies[first], sessions, keys),
            )
        )
    return OfflineEvaluation(
        windows=len(asked[first]),
        sessions=len(tallies[first]),
        answerers=tuple(answerers),
        player=_measure_player(tallies[first]),
        about=about,
        score=config,
        goal_sources=dict(sorted(Counter(one.goal_source for one in predictions[first]).items())),
        forced=evaluate_readouts(readouts or {}),
    )


def _estimate_all(sessions: Mapping[str, Tally], keys: Sequence[str]) -> dict[str, Estimate]:
    return {key: found for key in keys if (found := estimate(sessions, key)) is not None}


def _keys_in(chunk: ActionChunk) -> list[str]:
    return [action.key for action in chunk.actions if isinstance(action, Key)]


def _measure_player(sessions: Mapping[str, Tally]) -> dict[str, float]:
    found = {one.key: estimate(sessions, one.player) for one in OFFLINE_METRICS if one.player is not None}
    return {key: round(one.value, 6) for key, one in found.items() if one is not None}
