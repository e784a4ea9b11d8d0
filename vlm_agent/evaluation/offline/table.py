"""An evaluation as a table: in the terminal, and in Markdown for a README or a pull request."""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.table import Table

from vlm_agent.evaluation.offline.evaluation import Answerer, OfflineEvaluation
from vlm_agent.evaluation.offline.metrics import OFFLINE_METRICS, SURE, OfflineMetric

CAPTION = "[95% interval over sessions]; * differs from the first, p < 0.05 after Holm; goal: once hoped for"


def make_table(evaluation: OfflineEvaluation) -> Table:
    """Return the table of all metrics by contender."""
    title = f"{evaluation.windows} recorded windows of {evaluation.sessions} sessions"
    table = Table(
        title=title, caption=CAPTION, box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), title_justify="left"
    )
    table.add_column("", min_width=17)
    for one in evaluation.answerers:
        table.add_column(one.name, justify="right", no_wrap=True)
    table.add_column("goal", justify="right", no_wrap=True)
    # Six intervals in a row fit no terminal: those of the others are in the files.
    for row in _rows(evaluation, is_short=True):
        table.add_row(*row)
    return table


def write_markdown(evaluation: OfflineEvaluation) -> str:
    """Return the same table in Markdown."""
    names = [one.name for one in evaluation.answerers]
    lines = [
        f"{evaluation.windows} recorded windows of {evaluation.sessions} sessions.",
        "",
        "| | " + " | ".join([*names, "goal"]) + " |",
        "| --- |" + " ---: |" * (len(names) + 1),
        *("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in _rows(evaluation)),
        "",
        f"{CAPTION[0].upper()}{CAPTION[1:].replace('*', chr(92) + '*')}.",
    ]
    return "\n".join(lines) + "\n"


def _rows(evaluation: OfflineEvaluation, *, is_short: bool = False) -> Iterator[list[str]]:
    digits = 0 if is_short else 1
    for metric in OFFLINE_METRICS:
        cells = [
            _cell(one, metric, digits, with_interval=not is_short or number == 0)
            for number, one in enumerate(evaluation.answerers)
        ]
        if any(cells):
            label = f"{metric.label}, {metric.unit}" if metric.unit else metric.label
            yield [label, *(cell or "–" for cell in cells), _goal(metric)]
    macro = ["–" if one.macro_f1 is None else f"{one.macro_f1 * 100:.{digits}f}" for one in evaluation.answerers]
    yield ["macro F1 of kinds, %", *macro, ""]


def _cell(one: Answerer, metric: OfflineMetric, digits: int, *, with_interval: bool) -> str:
    found = one.estimates.get(metric.key)
    if found is None:
        return ""
    text = _number(found.value, metric, digits)
    if found.interval is not None and with_interval:
        text += f" [{_number(found.interval.low, metric, digits)}, {_number(found.interval.high, metric, digits)}]"
    gap = one.gaps.get(metric.key)
    return f"{text}*" if gap is not None and gap.p_holm < SURE else text


def _goal(metric: OfflineMetric) -> str:
    if metric.hoped is None:
        return ""
    sign = "≥" if metric.more_is_better else "<"
    return f"{sign} {metric.hoped * (100 if metric.unit == '%' else 1):.0f}"


def _number(value: float, metric: OfflineMetric, digits: int) -> str:
    if metric.unit == "%":
        return f"{value * 100:.{digits}f}"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.{digits}f}"
