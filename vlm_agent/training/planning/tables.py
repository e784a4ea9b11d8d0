"""A plan in the terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.console import RenderableType
from rich.text import Text

from vlm_agent.terminal import TextTable
from vlm_agent.training.planning.parts import PromptPart, Spread
from vlm_agent.training.planning.plan import Outcome, Plan, Verdict, write_duration
from vlm_agent.visible import one_line

_MARKS = {True: ("go", "green"), False: ("no-go", "bold red"), None: ("?", "yellow")}


def list_tables(plan: Plan) -> Iterator[RenderableType]:
    """Give everything that is printed, in order."""
    yield _list_tokens(plan)
    yield _list_memory(plan)
    yield _list_outcomes(plan)
    for note in plan.notes:
        yield Text(one_line(f"- {note}"), style="dim")
    yield _list_verdicts(plan)


def _make_table(title: str, *columns: str) -> TextTable:
    table = TextTable(title=title, box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), title_justify="left")
    table.add_column(columns[0], overflow="fold")
    for column in columns[1:]:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _list_tokens(plan: Plan) -> TextTable:
    survey = plan.survey
    titles = [f"{question}\n{figure}" for question in survey.questions for figure in ("p50", "p95", "most")]
    table = _make_table("Tokens of a window (the model's own tokenizer)", "", *titles)
    for part in PromptPart:
        spreads = [survey.spread_part(question, part) for question in survey.questions]
        if any(spread.largest for spread in spreads):
            table.add_row(part.value, *_cells(spreads))
    table.add_section()
    table.add_row("all", *_cells([survey.spread_total(question) for question in survey.questions]))
    return table


def _cells(spreads: list[Spread]) -> list[str]:
    return [str(value) for spread in spreads for value in (spread.p50, spread.p95, spread.largest)]


def _list_memory(plan: Plan) -> TextTable:
    first, shape = plan.outcomes[0], plan.shape
    size = f"{shape.total / 1e6:.0f} M" if shape.total < 1e9 else f"{shape.total / 1e9:.2f} B"
    table = _make_table(f"Memory at the peak, GB ({size} parameters, {plan.place})", "", "training", "play")
    for name, told in (
        ("weights", "weights"),
        ("adapter", "adapter, gradients, optimizer"),
        ("activations", "activations (in play: keys and values)"),
        ("moment", "for a moment"),
        ("kept", "features of pictures, tokenized windows"),
        ("reserve", "taken beside that"),
        ("total", "all"),
    ):
        table.add_row(told, *(f"{getattr(use, name) / 1e9:.3f}" for use in (first.training, first.play)))
    return table


def _list_outcomes(plan: Plan) -> TextTable:
    work = plan.work
    title = f"{work.windows} windows, {work.steps} steps; and what would change"
    columns = ("tokens", "answer", "picture", "train\nGB", "run", "decision\nms", "p95\nms")
    table = _make_table(title, "", *columns)
    for outcome in plan.outcomes:
        table.add_row((outcome.change or "as given").replace(" --", "\n--"), *_describe(outcome))
    return table


def _describe(outcome: Outcome) -> list[str]:
    times = [("–" if time is None else f"{time.total_ms:.0f}") for time in (outcome.usual, outcome.slow)]
    run = "–" if outcome.run_s is None else write_duration(outcome.run_s)
    counts = [outcome.window.p50, outcome.answer.p50, outcome.picture_tokens]
    return [*map(str, counts), f"{outcome.training.total / 1e9:.2f}", run, *times]


def _list_verdicts(plan: Plan) -> TextTable:
    table = TextTable(box=box.SIMPLE, show_header=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column()
    for verdict in plan.verdicts:
        mark, style = _MARKS[verdict.is_go]
        table.add_row(Text(mark, style=style), f"{verdict.question} {_tell(verdict)}")
    mark, style = _MARKS[plan.is_go]
    table.add_section()
    table.add_row(Text(mark, style=style), f"all in all: {plan.model} on {plan.place}")
    return table


def _tell(verdict: Verdict) -> str:
    return f"{verdict.told}; try: {verdict.mend}" if verdict.mend else verdict.told
