"""What a comparison says, in words that are written from its numbers alone.

Better and worse are claimed only where the interval of the paired difference leaves 0 out; everything else is "not
distinguishable", which is not the same as "equal", and the text says what remains possible.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from vlm_agent.evaluation.comparison import Comparison, Row
from vlm_agent.evaluation.intervals import Interval
from vlm_agent.evaluation.parts import Parts
from vlm_agent.rollouts.episodes import Outcome

FEW_SEEDS = 10
"""With fewer, a verdict is called a hint."""
_NOTABLE_SHARE = 0.01


class Finding(StrEnum):
    """Tuned against base."""

    BETTER = "better"
    WORSE = "worse"
    NOT_DISTINGUISHABLE = "not_distinguishable"
    NOT_APPLIED = "not_applied"
    """Nothing was compared: with its adapter the model is still its base."""


HEADLINES = {
    Finding.BETTER: "The tuned model is better than its base",
    Finding.WORSE: "The tuned model is worse than its base",
    Finding.NOT_DISTINGUISHABLE: "The tuned model can’t be told from its base",
    Finding.NOT_APPLIED: "The adapter changes nothing",
}
BLIND = ", and does not look at the picture"
"""Ends the headline of a model whose answers are the same without the picture."""


@dataclass(frozen=True)
class Verdict:
    """The finding and the paragraph that says so."""

    finding: Finding
    """Tuned against base."""
    is_blind: bool
    """Whether tuned's answers were found not to hang on the picture."""
    headline: str
    """A few words."""
    text: str
    """One paragraph."""

    def to_json(self) -> dict[str, Any]:
        """Return the plain-data form."""
        return {
            "finding": str(self.finding),
            "is_blind": self.is_blind,
            "headline": self.headline,
            "text": self.text,
        }


def judge(difference: Interval) -> Finding:
    """Return what the interval of the paired difference allows to say."""
    if difference.low > 0:
        return Finding.BETTER
    if difference.high < 0:
        return Finding.WORSE
    return Finding.NOT_DISTINGUISHABLE


def write_verdict(comparison: Comparison, parts: Parts | None = None) -> Verdict:
    """Return the verdict on a comparison, and on what else was found out about tuned."""
    parts = parts or Parts()
    finding = judge(comparison.difference.interval)
    sentences = [
        _tell_difference(comparison),
        *_tell_meaning(comparison, finding),
        *_tell_standing(comparison),
        *_tell_decisions(comparison.tuned),
        *(section.gist for section in parts.sections if section.gist),
    ]
    headline = HEADLINES[finding] + (BLIND if parts.is_blind else "")
    return Verdict(finding, parts.is_blind, headline, " ".join(sentences))


def write_not_applied(tuned: str, base: str, largest_change: float) -> Verdict:
    """Return the verdict on an adapter that changes nothing, so that there is nothing to compare.

    Args:
        tuned: name of the model with the adapter.
        base: name of the one without.
        largest_change: of a logit, on a probe prompt.
    """
    text = (
        f"--tuned {tuned}: its adapter changes nothing: on a probe prompt all logits are those of --base {base} (the "
        f"largest change is {largest_change:.1g}); it was never trained, or is not applied. Nothing was played, as "
        "nothing could be told apart."
    )
    return Verdict(Finding.NOT_APPLIED, False, HEADLINES[Finding.NOT_APPLIED], text)


def _tell_difference(comparison: Comparison) -> str:
    tuned, base, difference = comparison.tuned, comparison.base, comparison.difference
    interval = difference.interval
    num_level = len(difference.values) - difference.num_ahead - difference.num_behind
    return (
        f"Over the same {len(comparison.seeds)} seeds, tuned reached {tuned.metric.mean:.2f} {comparison.metric.unit} "
        f"and base {base.metric.mean:.2f}: a difference of {interval.mean:+.2f} (95% interval {interval.low:+.2f} to "
        f"{interval.high:+.2f}); tuned was ahead on {difference.num_ahead} seeds, level on {num_level}, behind on "
        f"{difference.num_behind}."
    )


def _tell_meaning(comparison: Comparison, finding: Finding) -> Iterator[str]:
    interval = comparison.difference.interval
    if finding is Finding.WORSE:
        yield "Tuning did harm: this adapter should not be used for this goal."
    elif finding is Finding.NOT_DISTINGUISHABLE:
        if max(comparison.tuned.values) == 0 and max(comparison.base.values) == 0:
            yield "Neither got anywhere, on any seed: there is nothing to tell them apart by."
        else:
            yield (
                f"The interval holds 0, so this may be chance; a gain of more than {max(interval.high, 0):.2f} or a "
                f"loss of more than {abs(min(interval.low, 0)):.2f} is unlikely."
            )
    if len(comparison.seeds) < FEW_SEEDS:
        yield f"So few seeds ({len(comparison.seeds)}) give a hint, no more."


def _tell_standing(comparison: Comparison) -> Iterator[str]:
    baselines = comparison.by_role("baseline")
    if baselines:
        not_beaten = [row for row in baselines if comparison.differences[row.contender.name].interval.low <= 0]
        best = max(baselines, key=lambda row: row.metric.mean)
        if not_beaten:
            *others, last = (row.contender.label for row in not_beaten)
            names = f"{', '.join(others)} or {last}" if others else last
            yield f"It does not stand clearly above {names}, which need no learning at all."
        else:
            yield f"It stands above every trivial baseline (the best, {best.contender.label}: {best.metric.mean:.2f})."
    for row in comparison.by_role("reference"):
        if row.metric.mean > 0:
            share = comparison.tuned.metric.mean / row.metric.mean
            yield f"That is {share:.0%} of what the {row.contender.label} reached ({row.metric.mean:.2f})."


def _tell_decisions(tuned: Row) -> Iterator[str]:
    shares = {
        words: tuned.share(outcome)
        for outcome, words in ((Outcome.INVALID, "unreadable"), (Outcome.REFUSED, "refused"), (Outcome.LATE, "late"))
    }
    parts = [f"{share:.0%} were {words}" for words, share in shares.items() if share >= _NOTABLE_SHARE]
    if parts:
        yield f"Of its {tuned.num_decisions} decisions {' and '.join(parts)}, and did nothing."
    elif tuned.valid is not None:
        share = "all" if tuned.valid.mean == 1 else f"{tuned.valid.mean:.1%}"
        yield f"Of its {tuned.num_decisions} decisions {share} were valid."
