"""An evaluation on recorded windows as a part of the report: sentences from its numbers, its tables and its plots."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from vlm_agent.evaluation.offline.estimates import Estimate, Gap
from vlm_agent.evaluation.offline.evaluation import Answerer, OfflineEvaluation
from vlm_agent.evaluation.offline.forced import ForcedEvaluation, ForcedReader
from vlm_agent.evaluation.offline.metrics import ALIKE, EVENT_ALL, OFFLINE_METRICS, SURE
from vlm_agent.evaluation.offline.plots import draw_plots
from vlm_agent.evaluation.offline.predictions import tell_source
from vlm_agent.evaluation.offline.table import list_tables
from vlm_agent.evaluation.sections import Section

KEY = "windows"
"""The section's anchor."""
TITLE = "Against the player's own recordings"

_AGAINST = (
    ("nearest", "a table of the training windows, looked up by goal and game state"),
    ("base", "its base"),
    ("base_few", "its base with worked examples in the prompt"),
    ("nothing", "doing nothing"),
)


def write_section(evaluation: OfflineEvaluation) -> Section:
    """Return the part of the report about an evaluation.

    Args:
        evaluation: what `command.run` returned, or `read_evaluation` read.
    """
    first = evaluation.answerers[0]
    sentences = [
        f"{first.name.capitalize()} was asked about {evaluation.windows} windows of {evaluation.sessions} recorded "
        f"sessions ({evaluation.about.get('split', 'some')} split), each with the player's own history before it.",
        *_tell_sources(evaluation),
        *_tell_waiting(first),
        *_tell_contests(evaluation),
        *_tell_errors(evaluation),
        *_tell_hopes(evaluation),
        *_tell_failures(first, evaluation.windows),
        *_tell_consistency(first),
    ]
    if evaluation.forced is not None:
        sentences += _tell_expectations(evaluation.forced)
    return Section(
        KEY,
        TITLE,
        tuple(sentences),
        gist=_sum_up(evaluation),
        tables=tuple(list_tables(evaluation)),
        plots=tuple(draw_plots(evaluation)),
    )


def _sum_up(evaluation: OfflineEvaluation) -> str:
    """Return one sentence for the verdict: how right, and surely better than looking up, or not."""
    first = evaluation.answerers[0]
    mine = first.estimates.get("f1_detail")
    if mine is None:
        return ""
    text = f"Of what the player did in {evaluation.windows} recorded windows it gets {_percent(mine.value)} right (F1)"
    nearest = next((one for one in evaluation.answerers if one.name == "nearest"), None)
    theirs = nearest.estimates.get("f1_detail") if nearest else None
    if nearest is None or theirs is None:
        return f"{text}."
    gap = nearest.gaps.get("f1_detail")
    if gap is None or gap.p_holm >= SURE:
        words = "not surely more or less"
    else:
        words = "surely more" if gap.interval.mean > 0 else "surely less"
    return f"{text}, {words} than looking up the most similar moment does ({_percent(theirs.value)})."


def _tell_sources(evaluation: OfflineEvaluation) -> Iterator[str]:
    """Say whose the goals are that the windows are asked with."""
    parts = [f"{count} {tell_source(source)}" for source, count in evaluation.goal_sources.items()]
    if parts:
        yield f"The goals of these windows: {', '.join(parts)}."


def _tell_waiting(first: Answerer) -> Iterator[str]:
    """Say apart how it does where the player acts and where he waits: most windows are idle, and waiting is easy."""
    acts, waits = first.estimates.get("acts_when_player_does"), first.estimates.get("idle_right")
    parts = [
        f"it {what} in {_percent(found.value)} of the {found.count:.0f} windows in which the player {what}"
        for found, what in ((acts, "acts"), (waits, "waits"))
        if found is not None
    ]
    if parts:
        text = ", and ".join(parts)
        yield f"{text[0].upper()}{text[1:]}."


def _tell_contests(evaluation: OfflineEvaluation) -> Iterator[str]:
    """Say against whom the first wins, loses, or neither for sure: F1 of whole actions."""
    first, *others = evaluation.answerers
    by_name = {one.name: one for one in others}
    mine = first.estimates.get("f1_detail")
    for name, what in _AGAINST:
        other = by_name.get(name)
        theirs = None if other is None else other.estimates.get("f1_detail")
        if other is None or mine is None or theirs is None:
            continue
        rule = ALIKE.format(tolerance_ms=f"{evaluation.score.tolerance_ms:g}", near_px=f"{evaluation.score.near_px:g}")
        scores = f"F1 of whole actions ({rule}) {_percent(mine.value)} against {_percent(theirs.value)}"
        yield f"{_verdict(other.gaps.get('f1_detail'))} {what}: {scores}."


def _verdict(gap: Gap | None) -> str:
    if gap is None or gap.p_holm >= SURE:
        return "It is not for sure better or worse than"
    return "For sure it beats" if gap.interval.mean > 0 else "For sure it does worse than"


def _tell_errors(evaluation: OfflineEvaluation) -> Iterator[str]:
    """Say how far off matched actions are, by which rule they were matched, and how many that leaves."""
    first = evaluation.answerers[0]
    points = first.estimates.get("within_5_px")
    totals = evaluation.player.get("actions", 0.0) * evaluation.windows, points.count if points else 0.0
    for key, what, total in zip(("time_error_ms", "distance_px"), ("actions", "points"), totals, strict=True):
        metric = next(one for one in OFFLINE_METRICS if one.key == key)
        found = first.estimates.get(key)
        if found is None or metric.hoped is None:
            continue
        is_met = found.value < metric.hoped
        verdict = "as the project's first plan hoped" if is_met else "more than the project's first plan hoped"
        yield (
            f"Of the player's {total:.0f} {what} {found.count:.0f} are matched by kind within "
            f"{evaluation.score.tolerance_ms:g} ms; their {'times' if what == 'actions' else 'places'} are off by "
            f"{found.value:.0f} {metric.unit} on average{_between(found, metric.unit)}, {verdict} (under "
            f"{metric.hoped:.0f} {metric.unit})."
        )


def _tell_hopes(evaluation: OfflineEvaluation) -> Iterator[str]:
    """Say which hopes of the project's first plan are reached, and which are not."""
    first = evaluation.answerers[0]
    hoped = [(one, first.estimates[one.key]) for one in OFFLINE_METRICS if one.hoped and one.key in first.estimates]
    missed = [
        f"{one.tell(evaluation.score)} {found.value * 100:.1f}% instead of {_percent(one.hoped or 0)}"
        for one, found in hoped
        if one.unit == "%" and found.value < (one.hoped or 0)
    ]
    shares = sum(one.unit == "%" for one, _ in hoped)
    if shares:
        rest = f"; missed: {', '.join(missed)}" if missed else ""
        yield f"Of {shares} shares that the project's first plan hoped for it reaches {shares - len(missed)}{rest}."


def _tell_failures(first: Answerer, windows: int) -> Iterator[str]:
    failed = sum(first.reasons.values())
    if not failed:
        yield "Every answer could be read."
        return
    causes = ", ".join(f"{name} {count}" for name, count in sorted(first.reasons.items()))
    yield f"{failed} of {windows} windows have no answer that could be read ({causes})."


def _tell_consistency(first: Answerer) -> Iterator[str]:
    found = first.estimates.get("consistent")
    if found is None:
        return
    parts = [
        f"{_percent(one.value)} {what}"
        for key, what in (
            ("possible_speed", "keep to the speed of the player's pointer"),
            ("pairing", "of half presses pair"),
        )
        if (one := first.estimates.get(key)) is not None
    ]
    stutter = first.estimates.get("stutter")
    if stutter is not None:
        parts.append(f"{_percent(stutter.value)} of clicks repeat the last one where the player does not")
    yield f"{_percent(found.value)} of answers with actions hang together: {', '.join(parts)}."


def _tell_expectations(forced: ForcedEvaluation) -> Iterator[str]:
    reader, *others = forced.readers
    yield from _tell_bits(reader, {one.name: one for one in others}.get("base"))
    covered = reader.estimates.get("dt_covered")
    if covered is not None:
        yield (
            f"Its expectations of times are {_honesty(covered)}: the central 80% of what it expects hold "
            f"{_percent(covered.value)} of the player's{_between(covered, '%')}."
        )
    yield from _tell_confidence(reader)
    if reader.spreads:
        total = sum(group.count for group in reader.spreads)
        spread, error = (
            (sum(group.count * getattr(group, name) ** 2 for group in reader.spreads) / total) ** 0.5
            for name in ("spread_px", "error_px")
        )
        yield (
            f"Its clicks are off by {error:.0f} px along an axis (root mean square), where it expects a scatter of "
            f"{spread:.0f} px."
        )


def _tell_bits(reader: ForcedReader, base: ForcedReader | None) -> Iterator[str]:
    mine = reader.estimates.get("bits_window")
    theirs = None if base is None else base.estimates.get("bits_window")
    if mine is None:
        return
    against = "" if theirs is None else f"; its base needs {theirs.value:.1f}"
    costs = {
        key.removeprefix("bits_"): one.value * one.count
        for key, one in reader.estimates.items()
        if key.startswith("bits_") and key not in ("bits_window", "bits_step")
    }
    dearest = max(costs, key=lambda part: costs[part])
    share = costs[dearest] / sum(costs.values())
    yield (
        f"The player's own actions of a window cost it {mine.value:.1f} bits, the largest part of them for "
        f"{_PARTS.get(dearest, dearest)} ({_percent(share)}){against}."
    )


_PARTS: Mapping[str, str] = {
    "dt": "times",
    "x": "columns of points",
    "y": "rows of points",
    "stop": "whether anything more is done",
    "event": "kinds of action",
    "key": "keys",
    "button": "buttons",
    "state": "half and full presses",
    "dy": "turns of the wheel",
    "structure": "structure that the grammar would save",
}


def _honesty(covered: Estimate) -> str:
    if covered.interval is None or covered.interval.low <= 0.8 <= covered.interval.high:
        return "honest as far as can be told"
    return "too narrow" if covered.value < 0.8 else "too wide"


def _tell_confidence(reader: ForcedReader) -> Iterator[str]:
    off, right = reader.estimates.get("event_ece"), reader.estimates.get(EVENT_ALL)
    if off is None or right is None or not reader.confidence:
        return
    total = sum(one.count for one in reader.confidence)
    sure = sum(one.count * one.confidence for one in reader.confidence) / total
    lean = "too sure" if sure > right.value else "not sure enough"
    if right.interval is None or right.interval.low <= sure <= right.interval.high:
        lean = "neither too sure nor too little"
    yield (
        f"It tells the next event right in {_percent(right.value)} of places and is {_percent(sure)} sure of it; bin "
        f"by bin its confidence is off by {off.value * 100:.1f} points (ECE), on the whole {lean}."
    )


def _between(found: Estimate, unit: str) -> str:
    if found.interval is None:
        return ""
    if unit == "%":
        return f" [{found.interval.low * 100:.0f}, {found.interval.high * 100:.0f}]"
    return f" [{found.interval.low:.0f}, {found.interval.high:.0f}]"


def _percent(value: float) -> str:
    return f"{value * 100:.0f}%"
