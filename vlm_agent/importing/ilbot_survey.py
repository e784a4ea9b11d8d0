"""One look over a whole `actions.csv`, before it is read: how it is written, and whether it can be read at all."""

from __future__ import annotations

import shlex
from collections import Counter
from dataclasses import dataclass, field
from itertools import islice

from vlm_agent.errors import DataError, LeftOutError
from vlm_agent.importing.clocks import Clock, Doings, TimeUnit, guess_clock, have_fallen_together
from vlm_agent.importing.ilbot_rows import Columns, Row, is_local_date, read_header, read_row, read_time_cell
from vlm_agent.importing.key_pairs import NO_PAIRS, KeyPairs, PairFinder
from vlm_agent.importing.limits import MAX_CSV_LINE_BYTES
from vlm_agent.importing.log_text import TextForm, find_form, named_separator, read_lines, split_lines
from vlm_agent.importing.options import Source
from vlm_agent.importing.reading import read_head

_SAMPLES = 2000
"""Rows and clicks that are looked at to see how a log is written."""
_HEAD_BYTES = 4 * MAX_CSV_LINE_BYTES
_SET_BACK_NS = 200_000_000
"""A device's rows are written by one thread, in order of its clock; less than this is a jitter."""
_ROWS_UNTIL_SURE, _FEWEST_BEHIND = 16, 3
_MOST_STEPS_BACK = 1000
_LONGEST_TOLD = 60
_UNREADABLE = ("malformed_line", "comma_that_may_group_digits", "unknown_event_type")


@dataclass(frozen=True)
class StepBack:
    """Where times begin to be earlier than before."""

    line: int
    """Number of the line in the file, from 1."""
    span: float
    """By how much, in the log's own unit."""


@dataclass
class LogSurvey:
    """What one look over a log tells."""

    form: TextForm
    """How its text is written."""
    columns: Columns
    """Where in a line things are."""
    header_lines: int
    """Lines before the first row."""
    path: str
    """The file, for messages."""
    doings: Doings = field(default_factory=Doings)
    """When things were done, in the first rows."""
    clicks: list[tuple[float, str]] = field(default_factory=list)
    """Time and button of the first clicks."""
    beside: list[tuple[float, int, int]] = field(default_factory=list)
    """Of clicks: time since the move before, and how far from it, across and down."""
    turns: list[float] = field(default_factory=list)
    """Of the wheel."""
    reach: tuple[int, int] = (0, 0)
    """The greatest x and y."""
    last: float = 0.0
    """The latest time."""
    pairs: KeyPairs = NO_PAIRS
    """What it tells of its keys."""
    steps_back: list[StepBack] = field(default_factory=list)
    """Where its times step back and stay behind."""
    example: str = ""
    """A time as it is written."""
    has_local_dates: bool = False
    """Whether times are dates without a zone."""

    def add(self, row: Row, moved: Row | None) -> None:
        """Take note of a row."""
        doings = self.doings
        if len(doings.times) < _SAMPLES:
            doings.times.append(row.time)
            if row.event_type in ("click", "key_press"):
                doings.presses.append(row.time)
            elif row.event_type == "move":
                doings.moves.append(row.time)
        if row.event_type == "click" and len(self.clicks) < _SAMPLES:
            self.clicks.append((row.time, row.name))
            if moved is not None:
                self.beside.append((row.time - moved.time, row.x - moved.x, row.y - moved.y))
        elif row.event_type == "scroll" and len(self.turns) < _SAMPLES:
            self.turns += [row.dx, row.dy]
        self.reach = (max(self.reach[0], row.x), max(self.reach[1], row.y))
        self.last = max(self.last, row.time)

    def find_clock(self, unit: TimeUnit | None) -> Clock:
        """Return how times are written.

        Raises:
            DataError: They were rounded until moments fell together, or they were set back.
        """
        self.doings.holds = list(self.pairs.holds[:_SAMPLES])
        clock = guess_clock(self.doings.times, unit, self.doings)
        if have_fallen_together(self.doings.times, clock):
            raise DataError(
                f"{self.path}: the times have lost their last digits, as {self.example!r}: rows of different moments"
                " are dated alike. Take the file as the recorder wrote it; if a spreadsheet saved it, format the column"
                " as a number without decimals before saving"
            )
        step = next((step for step in self.steps_back if clock.span_ns(step.span) > _SET_BACK_NS), None)
        if step is not None:
            raise DataError(
                f"{self.path}: the times step back by {clock.span_ns(step.span) / 1e9:.3f} s at line {step.line} and"
                " stay behind: the clock was set back there, or it holds two recordings. Import both parts, each with"
                f" its own pictures and a header{self._tell_cut(step.line)}"
            )
        return clock

    def _tell_cut(self, line: int) -> str:
        if self.form != TextForm():
            return ""
        log = shlex.quote(self.path)
        head = f"head -n {self.header_lines} {log}; tail -n +{line} {log}"
        return f": mkdir a b; head -n {line - 1} {log} > a/actions.csv; ({head}) > b/actions.csv"


def look_over(source: Source) -> LogSurvey:
    """Return what one look over a log tells.

    Raises:
        DataError: It has no header of a log, or most of its lines are no rows.
    """
    form, text = find_form(read_head(source.root, source.path, _HEAD_BYTES))
    header_lines = 1 if named_separator(split_lines(text, form)[0]) is None else 2
    lines = read_lines(source.root, source.path, form, MAX_CSV_LINE_BYTES)
    header = next(islice(lines, header_lines - 1, None), None)
    columns = read_header(header or b"")
    if columns is None:
        raise DataError(f"{source.path} has no header of an action log: expected timestamp,event_type,x_in_window,…")
    survey = LogSurvey(form, columns, header_lines, str(source.path))
    moved: Row | None = None
    steps, pairs, unread = _StepFinder(), PairFinder(), _UnreadLines()
    for number, line in enumerate(lines, header_lines + 1):
        row = unread.read(columns, number, line)
        if row is None:
            continue
        if not survey.example:
            survey.example = read_time_cell(columns, line or b"")
            survey.has_local_dates = is_local_date(survey.example)
        survey.add(row, moved)
        moved = row if row.event_type == "move" else moved
        steps.see(number, row)
        if row.event_type.startswith("key"):
            pairs.see(row.time, row.name, pressed=row.event_type == "key_press")
    unread.refuse_most(survey)
    survey.pairs, survey.steps_back = pairs.finish(), steps.finish()
    return survey


class _UnreadLines:
    """Counts lines that are no rows, and keeps one to show."""

    def __init__(self) -> None:
        self._rows = self._others = self._unreadable = 0
        self._example = ""

    def read(self, columns: Columns, number: int, line: bytes | None) -> Row | None:
        """Return the row of a line, None where it is none."""
        try:
            row = read_row(columns, line or b"")
        except LeftOutError as error:
            self._others += line is None or bool(line.strip())
            if line and error.reason in _UNREADABLE:
                self._unreadable += 1
                self._example = self._example or f"line {number}, {_shorten(line)}"
            return None
        self._rows += 1
        return row

    def refuse_most(self, survey: LogSurvey) -> None:
        """Raise DataError if more lines can't be read than can."""
        if self._unreadable > self._rows:
            raise DataError(
                f"{survey.path}: {self._unreadable} of {self._rows + self._others} lines are no rows of"
                f" {survey.columns.describe()}, such as {self._example}: expected one such as"
                " 1724769000123,move,100,50,,,0,0, numbers with decimal points, dates like 2024-08-27T14:30:00.123Z;"
                " export the log again so"
            )


class _StepFinder:
    """Finds where the times of mouse or keyboard step back, and don't come back to where they were soon."""

    def __init__(self) -> None:
        self._latest: dict[bool, float] = {}
        self._before: dict[bool, float] = {}
        self._begun: dict[bool, StepBack] = {}
        self._behind: Counter[bool] = Counter()
        self._found: list[StepBack] = []

    def see(self, line: int, row: Row) -> None:
        """Take note of a row. Mouse and keyboard are written by two threads, each in order."""
        is_key = row.event_type.startswith("key")
        latest = self._latest.get(is_key, row.time)
        if row.time >= latest:
            self._catch_up(is_key, latest)
            self._latest[is_key] = row.time
            return
        self._before[is_key] = row.time
        if is_key not in self._begun:
            self._begun[is_key] = StepBack(line, latest - row.time)
        self._behind[is_key] += 1
        if self._behind[is_key] >= _ROWS_UNTIL_SURE:
            self._confirm(is_key)
            self._latest[is_key] = row.time

    def _catch_up(self, is_key: bool, latest: float) -> None:
        """Rows that were written late end with a leap to where the others are; a clock gets there by and by."""
        step = self._begun.get(is_key)
        if step is None:
            return
        if self._behind[is_key] > 1 and latest - self._before[is_key] < step.span / 2:
            self._confirm(is_key)
        else:
            del self._begun[is_key]
            self._behind[is_key] = 0

    def finish(self) -> list[StepBack]:
        """Return where times step back and stay behind, in order of lines."""
        for is_key in list(self._begun):
            if self._behind[is_key] >= _FEWEST_BEHIND:
                self._confirm(is_key)
        return sorted(self._found, key=lambda step: step.line)

    def _confirm(self, is_key: bool) -> None:
        step = self._begun.pop(is_key)
        self._behind[is_key] = 0
        if len(self._found) < _MOST_STEPS_BACK:
            self._found.append(step)


def _shorten(line: bytes) -> str:
    text = line.decode("utf-8", errors="replace")
    return repr(text if len(text) <= _LONGEST_TOLD else f"{text[:_LONGEST_TOLD]}…")
