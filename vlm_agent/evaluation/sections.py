"""What every part of the report is made of, whatever it is about: sentences, tables and plots.

A part of the evaluation returns one `Section`; the HTML page, the Markdown and the terminal show it, each in its way.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from rich import box

from vlm_agent.evaluation.drawing import Plot
from vlm_agent.terminal import TextTable
from vlm_agent.visible import one_line


@dataclass(frozen=True)
class PlainTable:
    """A table of texts."""

    columns: tuple[str, ...]
    """Their names; the first column names the rows, and its own name may be empty."""
    rows: tuple[tuple[str, ...], ...]
    """As many cells each as there are columns; an empty cell says that there is nothing to say."""
    title: str = ""
    """What it holds."""
    caption: str = ""
    """How to read it."""

    def to_markdown(self) -> str:
        """Return the table in Markdown, title and caption around it."""
        lines = [self.columns, ("---", *("---:",) * (len(self.columns) - 1)), *self.rows]
        table = "\n".join("| " + " | ".join(escape_markdown(cell) for cell in line) + " |" for line in lines)
        title = f"**{escape_markdown(self.title)}**\n\n" if self.title else ""
        caption = f"\n\n{escape_markdown(self.caption)}" if self.caption else ""
        return f"{title}{table}{caption}\n"

    def to_rich(self) -> TextTable:
        """Return the table for the terminal."""
        table = TextTable(title=self.title, caption=self.caption, box=box.SIMPLE_HEAD, pad_edge=False)
        table.title_justify = "left"
        for number, column in enumerate(self.columns):
            table.add_column(column, justify="left" if number == 0 else "right")
        for row in self.rows:
            table.add_row(*row)
        return table


@dataclass(frozen=True)
class Section:
    """One part of the report."""

    key: str
    """Its anchor on the page, and its name in file names: lower case letters."""
    title: str
    """A few words."""
    sentences: tuple[str, ...]
    """What was found, in plain words, written from the numbers."""
    gist: str = ""
    """What the verdict says of it, one sentence; empty where there is nothing to be said there."""
    tables: tuple[PlainTable, ...] = ()
    """The numbers."""
    plots: tuple[Plot, ...] = ()
    """The pictures of the numbers."""

    def to_markdown(self) -> str:
        """Return sentences and tables in Markdown; plots are for the page."""
        parts = [
            f"## {escape_markdown(self.title)}\n",
            *(f"- {escape_markdown(sentence)}" for sentence in self.sentences),
        ]
        return "\n".join([*parts, "", *(table.to_markdown() for table in self.tables)])


def escape_markdown(text: str) -> str:
    """Return a text as Markdown that shows it as it is, on one line: no markup, no HTML, no link behind other words."""
    return _SPECIAL.sub(_quote, one_line(text.replace("\n", " ")))


_SPECIAL = re.compile(r"[\\`*_<>|&]|\](?=[(\[:])")
"""What Markdown, or the HTML in it, reads as more than itself within a line; brackets alone are no link."""


def _quote(found: re.Match[str]) -> str:
    # Viewers differ in what a backslash before a bracket of HTML does.
    return {"<": "&lt;", ">": "&gt;", "&": "&amp;"}.get(found[0], f"\\{found[0]}")
