r"""The one way to print: text from files and people is shown as it is, never carried out.

Rich reads square brackets as markup, and a terminal reads escape sequences; a window title, a path or a goal may hold
both. Here markup is off everywhere, and what a terminal would act on (escape sequences, line breaks within a name,
marks that turn the direction of reading) is shown by its code, as `\x1b`. Styles are given as `rich.text.Text`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from rich.console import Console, ConsoleOptions, RenderableType
from rich.panel import Panel
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from vlm_agent.visible import Stream, make_visible, one_line

if TYPE_CHECKING:
    from rich.status import Status

_T = TypeVar("_T")


class PlainConsole(Console):
    """A console that shows strings as they are, a string that is printed alone on one line however long."""

    def __init__(self, stream: Stream = "out", **options: Any) -> None:
        """Take where lines go; `options` are those of rich, such as `file` and `width`."""
        super().__init__(stderr=stream == "error", markup=False, emoji=False, highlight=False, **options)

    def print(self, *objects: Any, **options: Any) -> None:
        """Print as rich does, without markup; line breaks in strings are shown by their code."""
        if all(isinstance(one, str) for one in objects):
            options.setdefault("soft_wrap", True)
        super().print(*(Text(one_line(one)) if isinstance(one, str) else one for one in objects), **options)

    def rule(self, title: str | Text = "", **options: Any) -> None:
        """Draw a line with a title in it."""
        super().rule(_as_text(title), **options)

    def status(self, status: RenderableType, **options: Any) -> Status:
        """Return a spinner with words beside it, shown while it is entered."""
        return super().status(_as_text(status), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield what is to be written, whoever made it, without anything a terminal would act on but rich's own."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=make_visible(segment.text))


class TextTable(Table):
    """A table whose strings are as they are shown; a `PlainConsole` prints it without markup."""

    def __init__(self, *columns: str, title: str = "", caption: str = "", **options: Any) -> None:
        """Take headings, title and caption; `options` are those of rich."""
        super().__init__(title=one_line(title) or None, caption=one_line(caption) or None, **options)
        for column in columns:
            self.add_column(column)

    def add_column(self, header: Any = "", *details: Any, **options: Any) -> None:
        """Add a column as rich does; line breaks in its heading stay in it."""
        super().add_column(make_visible(header) if isinstance(header, str) else header, *details, **options)

    def add_row(self, *cells: Any, **options: Any) -> None:
        """Add a row as rich does; line breaks in a cell stay in it."""
        super().add_row(*(make_visible(cell) if isinstance(cell, str) else cell for cell in cells), **options)


class LineColumn(TextColumn):
    """A column of a progress bar: a format of the task's fields, shown as it is."""

    def __init__(self, text_format: str) -> None:
        """Take the format, such as `{task.description}`."""
        super().__init__(text_format, markup=False)

    def render(self, task: Task) -> Text:
        """Return the text of a task on one line."""
        return Text(one_line(self.text_format.format(task=task)))


def make_bars(*columns: ProgressColumn, console: Console, transient: bool = True, disable: bool = False) -> Progress:
    """Return progress bars for a console; a context manager."""
    return Progress(*columns, console=console, transient=transient, disable=disable)


def frame_text(text: str, title: str, style: str) -> Panel:
    """Return a paragraph in a frame of a color, with a title in its upper edge."""
    return Panel(Text(make_visible(text)), title=Text(one_line(title)), border_style=style)


def _as_text(value: Any) -> Any:
    return Text(one_line(value)) if isinstance(value, str) else value


def track(items: Sequence[_T], title: str, *, is_shown: bool = True) -> Iterator[_T]:
    """Yield items, under a bar on the error stream that says how far it is."""
    columns = (LineColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with make_bars(*columns, console=PlainConsole("error"), disable=not is_shown) as bars:
        yield from bars.track(items, description=title)
