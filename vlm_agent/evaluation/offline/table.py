"""An evaluation as tables: in the terminal, and in Markdown for a README or a pull request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from rich import box

from vlm_agent.evaluation.offline.estimates import Estimate, Gap
from vlm_agent.evaluation.offline.evaluation import OfflineEvaluation
from vlm_agent.evaluation.offline.metrics import FORCED_METRICS, OFFLINE_METRICS, SURE, Goal, OfflineMetric
from vlm_agent.evaluation.sections import PlainTable
from vlm_agent.terminal import TextTable

CAPTION = (
    "[95% interval over sessions]; * differs from the first, p < 0.05 after Holm. Goal, and whose: the player's own "
    "value, that of a calibrated forecast, or what the project's first plan hoped for; no game set these."
)
GOAL = "goal, and whose"
FORCED_CAPTION = (
    "Given all that the player wrote before: errors are against his own action in that place, nothing is matched. "
    "Bits: each part's own; structure: what the grammar would save."
)


class Measured(Protocol):
    """Anyone with metrics."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def estimates(self) -> Mapping[str, Estimate]:
        """By metric."""

    @property
    def gaps(self) -> Mapping[str, Gap]:
        """By metric."""


def list_tables(evaluation: OfflineEvaluation, *, is_short: bool = False) -> list[PlainTable]:
    """Return all tables of an evaluation: answers, what models expected, single keys, and failures.

    Args:
        evaluation: the numbers.
        is_short: without the intervals of all but the first: six in a row fit no terminal.
    """
    windows = f"{evaluation.windows} recorded windows of {evaluation.sessions} sessions"
    macro = ["–" if one.macro_f1 is None else _percent(one.macro_f1, is_short) for one in evaluation.answerers]
    rows = [
        *_rows(OFFLINE_METRICS, evaluation.answerers, evaluation, is_short=is_short),
        (f"macro F1 of kinds within {evaluation.score.tolerance_ms:g} ms, %", *macro, ""),
    ]
    tables = [PlainTable(_columns(evaluation.answerers, GOAL), tuple(rows), windows, CAPTION)]
    if evaluation.forced is not None:
        read = f"What models expected in {evaluation.forced.windows} of them"
        rows = list(_rows(FORCED_METRICS, evaluation.forced.readers, evaluation, is_short=is_short))
        tables.append(PlainTable(_columns(evaluation.forced.readers, GOAL), tuple(rows), read, FORCED_CAPTION))
    tables += [table for table in (_list_keys(evaluation, is_short), _list_reasons(evaluation)) if table.rows]
    return tables


def make_tables(evaluation: OfflineEvaluation) -> Iterator[TextTable]:
    """Give the tables for the terminal."""
    for plain in list_tables(evaluation, is_short=True):
        table = TextTable(
            title=plain.title,
            caption=plain.caption,
            box=box.SIMPLE_HEAD,
            pad_edge=False,
            padding=(0, 1, 0, 0),
            title_justify="left",
        )
        table.add_column("", min_width=17)
        for column in plain.columns[1:]:
            table.add_column(column, justify="right", no_wrap=True)
        for row in plain.rows:
            table.add_row(*row)
        yield table


def write_markdown(evaluation: OfflineEvaluation) -> str:
    """Return the tables in Markdown."""
    return "\n".join(table.to_markdown() for table in list_tables(evaluation))


def _columns(contenders: Sequence[Measured], *more: str) -> tuple[str, ...]:
    return ("", *(one.name for one in contenders), *more)


def _rows(
    metrics: Sequence[OfflineMetric],
    contenders: Sequence[Measured],
    evaluation: OfflineEvaluation,
    *,
    is_short: bool,
) -> Iterator[tuple[str, ...]]:
    digits = 0 if is_short else 1
    for metric in metrics:
        cells = [
            _cell(one, metric, digits, with_interval=not is_short or number == 0)
            for number, one in enumerate(contenders)
        ]
        if any(cells):
            label = metric.tell(evaluation.score)
            goal = metric.find_goal(evaluation.player)
            yield (
                f"{label}, {metric.unit}" if metric.unit else label,
                *(cell or "–" for cell in cells),
                "" if goal is None else _tell_goal(goal, metric, digits),
            )


def _list_keys(evaluation: OfflineEvaluation, is_short: bool) -> PlainTable:
    names = sorted({key for one in evaluation.answerers for key in one.keys})
    rows = []
    for key in names:
        found = [one.keys.get(key) for one in evaluation.answerers]
        rows.append((key, *("–" if one is None else _percent(one.value, is_short) for one in found)))
    return PlainTable(
        _columns(evaluation.answerers),
        tuple(rows),
        "F1 by key, %",
        f"The keys that the player presses; matched within {evaluation.score.tolerance_ms:g} ms.",
    )


def _list_reasons(evaluation: OfflineEvaluation) -> PlainTable:
    names = sorted({reason for one in evaluation.answerers for reason in one.reasons})
    rows = [(name, *(str(one.reasons.get(name, 0)) for one in evaluation.answerers)) for name in names]
    return PlainTable(_columns(evaluation.answerers), tuple(rows), "Why windows have no answer")


def _cell(one: Measured, metric: OfflineMetric, digits: int, *, with_interval: bool) -> str:
    found = one.estimates.get(metric.key)
    if found is None:
        return ""
    text = _number(found.value, metric, digits)
    if found.interval is not None and with_interval:
        text += f" [{_number(found.interval.low, metric, digits)}, {_number(found.interval.high, metric, digits)}]"
    gap = one.gaps.get(metric.key)
    return f"{text}*" if gap is not None and gap.p_holm < SURE else text


def _tell_goal(goal: Goal, metric: OfflineMetric, digits: int) -> str:
    if goal.whose != "first plan":
        return f"{goal.whose}: {_number(goal.value, metric, digits if goal.whose == 'player' else 0)}"
    return f"{goal.whose}: {'≥' if metric.more_is_better else '<'} {_number(goal.value, metric, 0)}"


def _number(value: float, metric: OfflineMetric, digits: int) -> str:
    if metric.unit == "%":
        return f"{value * 100:.{digits}f}"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.{digits}f}"


def _percent(value: float, is_short: bool) -> str:
    return f"{value * 100:.{0 if is_short else 1}f}"
