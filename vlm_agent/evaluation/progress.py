"""The bars of everything that takes long in an evaluation: what is done, how far it is, and the time left."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn, TimeRemainingColumn

from vlm_agent.terminal import LineColumn, make_bars


def make_progress(console: Console, *, label_width: int = 34, transient: bool = False) -> Progress:
    """Return bars for a terminal, to be used as a context manager; where there is no terminal it shows nothing.

    Args:
        console: where to show them.
        label_width: letters kept for the names of the bars.
        transient: take them away at the end.
    """
    return make_bars(
        LineColumn(f"{{task.description:<{label_width}}}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        LineColumn("left"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=transient,
    )
