"""A comparison in the terminal: a bar for every contender while it plays, then the verdict and the table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from rich.console import Console

from vlm_agent.evaluation.comparison import Comparison
from vlm_agent.evaluation.parts import Parts
from vlm_agent.evaluation.progress import make_progress
from vlm_agent.evaluation.summary import tabulate
from vlm_agent.evaluation.verdicts import Finding, Verdict
from vlm_agent.rollouts.episodes import Episode
from vlm_agent.rollouts.running import RolloutPlan
from vlm_agent.terminal import PlainConsole, frame_text

_STYLES = {
    Finding.BETTER: "green",
    Finding.WORSE: "red",
    Finding.NOT_DISTINGUISHABLE: "yellow",
    Finding.NOT_APPLIED: "red",
}


class MatchProgress:
    """Shows how far every contender is, and the time left; a context manager. Lines instead of bars on no terminal."""

    def __init__(self, plans: Sequence[RolloutPlan], console: Console | None = None) -> None:
        """Take who plays; by default shown on the error stream."""
        self._console = console or PlainConsole("error")
        self._bar = make_progress(self._console, label_width=13)
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
        """Move a contender's bar; the next one's starts with its first episode, or after the last of this one."""
        task = next(item for item in self._bar.tasks if item.id == self._tasks[name])
        if not task.started:
            self._bar.start_task(task.id)
        self._bar.advance(task.id)
        if task.completed != task.total:
            return
        if not self._console.is_terminal:
            self._console.print(f"{name}: {int(task.completed)} episodes played")
        for following in self._names[self._names.index(name) + 1 :][:1]:
            self._bar.start_task(self._tasks[following])


def print_comparison(
    comparison: Comparison, verdict: Verdict, report: Path, parts: Parts | None = None, console: Console | None = None
) -> None:
    """Print the verdict, the table, what is missing, and where the report is."""
    console = console or PlainConsole()
    print_verdict(verdict, console)
    console.print(tabulate(comparison).to_rich())
    for reason in parts.missing if parts else ():
        console.print(f"missing in the report: {reason}")
    console.print(f"report: {report}")


def print_verdict(verdict: Verdict, console: Console) -> None:
    """Print the paragraph in a frame of the finding's colour."""
    console.print(frame_text(verdict.text, verdict.headline, _STYLES[verdict.finding]))
