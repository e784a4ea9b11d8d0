"""The shortcut audit: the same windows asked about again with one thing changed, and what each change did."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from vlm_agent.dataset.windows import Window
from vlm_agent.evaluation.offline.answering import Answers, KeptAnswers, answer_windows
from vlm_agent.evaluation.offline.estimates import Gap, compare, correct_holm, estimate
from vlm_agent.evaluation.offline.metrics import ScoreConfig
from vlm_agent.evaluation.offline.predictions import Prediction
from vlm_agent.evaluation.offline.scores import score as tally_window
from vlm_agent.evaluation.offline.scores import tally_sessions
from vlm_agent.evaluation.offline.shortcuts import CONDITIONS, INTACT, Condition, answer_changed
from vlm_agent.observations import Observer
from vlm_agent.policies import Policy

if TYPE_CHECKING:
    from rich.progress import Progress

FEW = 0.05
"""Where fewer answers than this share change, the answers don't hang on what was changed."""


@dataclass(frozen=True)
class Finding:
    """What one change did."""

    name: str
    """The condition's key."""
    label: str
    """What was changed."""
    asks: str
    """What it tells about: `picture`, `state`, `goal` or `history`."""
    windows: int
    """How many windows could be changed."""
    acting: int
    """In how many of them something is done by the answer before the change or by that after it."""
    changed: float
    """Share of those whose answer became another; 0 where nothing is ever done."""
    before: float
    """F1 in detail on these windows as they are."""
    after: float
    """F1 in detail after the change."""
    loss: Gap | None
    """What the change costs, by session, corrected for all conditions; none where nothing can be tested."""

    @property
    def matters(self) -> bool:
        """Whether the answers hang on what was changed."""
        return self.changed >= FEW

    def to_json(self) -> dict[str, Any]:
        """Return the plain-data form."""
        loss = self.loss
        return {
            "name": self.name,
            "asks": self.asks,
            "windows": self.windows,
            "acting": self.acting,
            "changed": round(self.changed, 6),
            "f1_detail_before": round(self.before, 6),
            "f1_detail_after": round(self.after, 6),
            "loss": None if loss is None else {**loss.interval.to_json(), "p": loss.p, "p_holm": loss.p_holm},
            "matters": self.matters,
        }


def audit(
    policy: Policy,
    observer: Observer,
    windows: Sequence[Window],
    score: ScoreConfig,
    *,
    keep: Callable[[str], Answers] = lambda _: KeptAnswers(),
    progress: Progress | None = None,
) -> list[Finding]:
    """Ask about the windows as they are and under every condition, and return what each change did.

    Args:
        policy: who is asked.
        observer: shows the windows as they are.
        windows: whole sessions.
        score: when two actions count as the same.
        keep: gives the store of a condition's answers; those that it has are not asked for again.
        progress: shows a bar for every condition.
    """

    def start(label: str) -> Callable[[], object]:
        if progress is None:
            return lambda: None
        return partial(progress.advance, progress.add_task(label, total=len(windows)))

    intact = keep(INTACT)
    answer_windows(policy, observer, windows, intact, start(INTACT))
    findings = []
    for condition in CONDITIONS:
        changed = answer_changed(policy, observer, windows, condition, keep(condition.name), start(condition.label))
        if changed:
            before = [intact.done[one.window_id] for one in changed]
            findings.append(_find(condition, before, changed, score))
    return _correct(findings)


def _find(condition: Condition, before: list[Prediction], after: list[Prediction], score: ScoreConfig) -> Finding:
    tallies = [tally_sessions(side, score) for side in (before, after)]
    values = [estimate(side, "f1_detail") for side in tallies]
    # Who waits before and after has not been asked anything: such windows would drown what the others say.
    acting = [pair for pair in zip(before, after, strict=True) if any(map(_acts, pair)) or _is_read_once(*pair)]
    moved = sum(not _is_same(one, other, score) for one, other in acting)
    return Finding(
        condition.name,
        condition.label,
        condition.asks,
        windows=len(after),
        acting=len(acting),
        changed=moved / len(acting) if acting else 0.0,
        before=values[0].value if values[0] else 0.0,
        after=values[1].value if values[1] else 0.0,
        loss=compare(tallies[0], tallies[1], ["f1_detail"]).get("f1_detail"),
    )


def _acts(one: Prediction) -> bool:
    return one.answer is not None and (bool(one.answer.actions) or one.answer.done)


def _is_read_once(one: Prediction, other: Prediction) -> bool:
    return (one.answer is None) != (other.answer is None)


def _is_same(one: Prediction, other: Prediction, config: ScoreConfig) -> bool:
    """Tell whether two answers are the same but for a few pixels and milliseconds."""
    if one.answer is None or other.answer is None:
        return one.answer is other.answer
    if one.answer.done != other.answer.done:
        return False
    tally = tally_window(replace(other, target=one.answer), config)
    return tally.sums["f1_detail"] == tally.counts["f1_detail"]


def _correct(findings: list[Finding]) -> list[Finding]:
    tested = [finding for finding in findings if finding.loss is not None]
    corrected = correct_holm([finding.loss.p for finding in tested if finding.loss])
    by_name = {finding.name: p for finding, p in zip(tested, corrected, strict=True)}
    return [
        replace(finding, loss=replace(finding.loss, p_holm=by_name[finding.name])) if finding.loss else finding
        for finding in findings
    ]
