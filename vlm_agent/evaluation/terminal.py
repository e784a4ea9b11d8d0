"""A comparison in the terminal: a bar for every contender while it plays, then the verdict and the table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from rich import box
from rich.console import Console
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from vlm_agent.evaluation.comparison import Comparison, Row
from vlm_agent.evaluation.intervals import Interval
from vlm_agent.evaluation.verdicts import Finding, Verdict
from vlm_agent.rollouts.episodes import Episode
from vlm_agent.rollouts.running import RolloutPlan

_STYLES = {Finding.BETTER: "green", Finding.WORSE: "red", Finding.NOT_DISTINGUISHABLE: "yellow"}


class MatchProgress:
    """Shows how far every contender is, and the time left; a context manager. Lines instead of bars on no terminal."""

    def __init__(self, plans: Sequence[RolloutPlan], console: Console | None = None) -> None:
        """Take who plays; by default shown on the error stream."""
        self._console = console or Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description:<13}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._tasks = {plan.name: self._bar.add_task(plan.name, total=len(plan.seeds), start=False) for plan in plans}
        self._names = [plan.name for plan in plans]

    def __enter__(self) -> MatchProgress:
        """Show the bars."""
        self._bar.start()
        if self._names:
            self._bar.start_task(self._tasks[self._names[0]])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the bars as they stand."""
        self._bar.stop()

    def on_episode(self, name: str, episode: Episode) -> None:
        """Move a contender's bar; after its last episode the next one's starts."""
        task = self._tasks[name]
        self._bar.advance(task)
        state = next(item for item in self._bar.tasks if item.id == task)
        if state.completed != state.total:
            return
        if not self._console.is_terminal:
            self._console.print(f"{name}: {int(state.completed)} episodes played", highlight=False)
        following = self._names[self._names.index(name) + 1 :][:1]
        for other in following:
            self._bar.start_task(self._tasks[other])

    @contextmanager
    def doing(self, words: str) -> Iterator[None]:
        """Show that something without a number of steps goes on."""
        task = self._bar.add_task(words, total=None)
        yield
        self._bar.update(task, total=1, completed=1)


def print_comparison(comparison: Comparison, verdict: Verdict, report: Path, console: Console | None = None) -> None:
    """Print the verdict, the table and where the report is."""
    console = console or Console()
    console.print(Panel(verdict.text, title=verdict.headline, border_style=_STYLES[verdict.finding]))
    console.print(make_table(comparison))
    console.print(f"report: {report}", highlight=False, soft_wrap=True)


def make_table(comparison: Comparison) -> Table:
    """Return the table of all contenders, and the difference."""
    caption = f"mean [95% interval] over {len(comparison.seeds)} seeds; {comparison.setting.clock} clock"
    table = Table(caption=caption, box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("", no_wrap=True)
    for column in (comparison.metric.label, "success %", "valid %", "p50, p95 ms"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in comparison.rows.values():
        table.add_row(*_cells(row))
    table.add_section()
    table.add_row("tuned − base", _signed(comparison.difference.interval))
    return table


def _cells(row: Row) -> list[str]:
    times = (row.latency_ms(50), row.latency_ms(95))
    return [
        row.contender.label,
        _plain(row.metric),
        f"{row.success.mean * 100:.0f} [{row.success.low * 100:.0f}, {row.success.high * 100:.0f}]",
        f"{row.valid.mean * 100:.1f}" if row.valid else "–",
        ", ".join("–" if time is None else f"{time:.0f}" for time in times) if row.latencies_ms else "–",
    ]


def _plain(interval: Interval) -> str:
    return f"{interval.mean:.2f} [{interval.low:.2f}, {interval.high:.2f}]"


def _signed(interval: Interval) -> str:
    return f"{interval.mean:+.2f} [{interval.low:+.2f}, {interval.high:+.2f}]"
