"""Showing how a run goes on: a bar with the time left, or nothing."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TimeElapsedColumn, TimeRemainingColumn

from vlm_agent.terminal import LineColumn, PlainConsole, make_bars
from vlm_agent.training.fields import find_worst
from vlm_agent.training.order import count_steps
from vlm_agent.training.passes import MeasuredLoss
from vlm_agent.training.planning.outlook import describe_outlook

if TYPE_CHECKING:
    from vlm_agent.models.loading import LoadedModel
    from vlm_agent.training.config import TrainConfig
    from vlm_agent.training.loop import Material

LINES_PER_RUN = 20
"""So many lines are written instead of a bar where the output is not a terminal."""
SHOWN_FIELDS = 2
"""So many fields of an answer are named with their loss, the worst ones."""


class SilentWatcher:
    """Shows nothing."""

    def on_begin(self, loaded: LoadedModel, material: Material, config: TrainConfig, done_steps: int) -> None:
        """A run begins."""

    def on_step(self, step: int, num_steps: int, loss: float) -> None:
        """A step is done."""

    def on_evaluation(self, step: int, loss: MeasuredLoss, *, is_best: bool) -> None:
        """The loss on unseen sessions was measured."""


class ProgressWatcher:
    """Shows a bar with time left and losses on a terminal, and a line now and then elsewhere; a context manager."""

    def __init__(self, console: Console | None = None) -> None:
        """Take the console; by default the error stream."""
        self._console = console or PlainConsole("error")
        self._bar = make_bars(
            LineColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            LineColumn("left"),
            TimeRemainingColumn(),
            LineColumn("{task.fields[losses]}"),
            console=self._console,
            transient=False,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("training", total=None, losses="")
        self._eval_text = ""

    def __enter__(self) -> ProgressWatcher:
        """Show the bar."""
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the bar away."""
        self._bar.stop()

    def on_begin(self, loaded: LoadedModel, material: Material, config: TrainConfig, done_steps: int) -> None:
        """Say what the run will take, if it is not done already."""
        if done_steps < count_steps(material.train, config):
            outlook = describe_outlook(loaded, material, config, done_steps=done_steps)
            self._console.print(outlook)

    def on_step(self, step: int, num_steps: int, loss: float) -> None:
        """Move the bar."""
        text = f"loss {loss:.3f}{self._eval_text}"
        self._bar.update(self._task, total=num_steps, completed=step, losses=text)
        if not self._console.is_terminal and (step % -(-num_steps // LINES_PER_RUN) == 0 or step == num_steps):
            self._console.print(f"step {step}/{num_steps} {text}")

    def on_evaluation(self, step: int, loss: MeasuredLoss, *, is_best: bool) -> None:
        """Show the new evaluation loss beside the bar, and the fields that cost most a token."""
        worst = ", ".join(f"{name} {nats:.2f}" for name, nats in find_worst(loss.by_field, SHOWN_FIELDS))
        notes = "; ".join(note for note in ("best" * is_best, worst) if note)
        self._eval_text = f", unseen {loss.mean:.3f}{f' ({notes})' if notes else ''}"
