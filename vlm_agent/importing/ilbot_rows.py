"""Lines of an `actions.csv`: one event each, in 8 columns, or 10 with `modifiers,active_keys`, or with three clocks.

Columns are found by their names, whatever separates them. A line is parsed by itself, so that a stray quote can't
swallow what follows. Cells that are empty or `nan` (pandas writes empty cells so) hold nothing. Numbers may have
decimal commas, times may be dates after ISO 8601.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from heapq import heappop, heappush
from typing import NamedTuple

from vlm_agent.errors import LeftOutError
from vlm_agent.importing.key_names import from_button
from vlm_agent.importing.limits import MAX_NOTCHES, MAX_POSITION_PX
from vlm_agent.importing.log_text import SEPARATORS

EVENT_TYPES = ("move", "click", "key_press", "key_release", "scroll")
_NEEDED = ("event_type", "x_in_window", "y_in_window", "btn", "key", "scroll_dx", "scroll_dy")
_TIMES = ("timestamp_abs_ms", "timestamp")
"""Columns that date a row, the first that is there counts."""
_NOTHING = ("", "nan", "none", "null")
_MOST_COLUMNS = 32
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ]")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DECIMAL_COMMA = re.compile(r"-?[0-9]+,[0-9]+([eE][+-]?[0-9]+)?")
_GROUP_OR_COMMA = re.compile(r"-?[0-9]{1,3},[0-9]{3}")
"""1,024 is 1024 to some programs and hardly more than 1 to others."""
_REORDER_ROWS = 2048
"""Rows that wait until those before them have come: recorders write mouse and keyboard from two threads."""


class Row(NamedTuple):
    """One event as it was written."""

    time: float
    """In the log's own unit."""
    event_type: str
    """One of `EVENT_TYPES`."""
    x: int
    """Window pixels; 0 for keys."""
    y: int
    """Window pixels; 0 for keys."""
    name: str
    """The key as it is written, or the button's name; empty for moves and the wheel."""
    dx: float
    """Turned to the right, in the log's own unit."""
    dy: float
    """Turned up, in the log's own unit."""


@dataclass(frozen=True)
class Columns:
    """Where in a line things are."""

    count: int
    """How many columns there are."""
    time: int
    """Index of the column that dates a row."""
    indices: tuple[int, ...]
    """Indices of `_NEEDED`."""
    names: tuple[str, ...]
    """All names."""
    separator: str = ","
    """What is between two cells."""

    def describe(self) -> str:
        """Return the form in words."""
        return f"{self.count} columns, dated by {self.names[self.time]}"


def read_header(line: bytes) -> Columns | None:
    """Return the columns if a line is a log's header, else None."""
    return next((columns for separator in SEPARATORS if (columns := _read_header(line, separator)) is not None), None)


def missing_columns(line: bytes) -> tuple[list[str], list[str]]:
    """Return which columns a line has that a log's header has, and which it lacks."""
    found = {name for separator in SEPARATORS for name in _names(line, separator)}
    wanted = [*_NEEDED, *(() if found & set(_TIMES) else _TIMES[1:])]
    return [name for name in (*_TIMES, *_NEEDED) if name in found], [name for name in wanted if name not in found]


def _read_header(line: bytes, separator: str) -> Columns | None:
    names = _names(line, separator)
    time = next((name for name in _TIMES if name in names), None)
    if time is None or not set(_NEEDED) <= set(names) or len(names) > _MOST_COLUMNS:
        return None
    indices = tuple(names.index(name) for name in _NEEDED)
    return Columns(len(names), names.index(time), indices, tuple(names), separator)


def _names(line: bytes, separator: str) -> list[str]:
    try:
        return [cell.strip().lower() for cell in _split(line.removeprefix(b"\xef\xbb\xbf"), separator)]
    except LeftOutError:
        return []


def read_row(columns: Columns, line: bytes) -> Row:
    """Return the event of a line.

    Raises:
        LeftOutError: It tells none: the reason is what is wrong with it.
    """
    cells = _split(line, columns.separator)
    # Files of 10 columns hold lines of 8 where two recorders appended to one file.
    if len(cells) > columns.count or len(cells) <= max(columns.time, *columns.indices):
        raise LeftOutError("header_again" if tuple(cells) == columns.names else "malformed_line")
    if cells[columns.time].strip() == columns.names[columns.time]:
        raise LeftOutError("header_again")
    event_type, x, y, button, key, dx, dy = (cells[index] for index in columns.indices)
    event_type = event_type.strip().lower()
    if event_type not in EVENT_TYPES:
        raise LeftOutError("unknown_event_type")
    time = _time(cells[columns.time])
    if time is None:
        raise LeftOutError("no_time")
    if event_type.startswith("key"):
        return Row(time, event_type, 0, 0, _key(key), 0, 0)
    at_x, at_y = _whole(x, MAX_POSITION_PX), _whole(y, MAX_POSITION_PX)
    if at_x is None or at_y is None:
        raise LeftOutError("no_position")
    name = _button(button) if event_type == "click" else ""
    turned = (_turn(dx), _turn(dy)) if event_type == "scroll" else (0.0, 0.0)
    if event_type == "scroll" and not any(turned):
        raise LeftOutError("scroll_of_nothing")
    return Row(time, event_type, at_x, at_y, name, *turned)


class Sorted(NamedTuple):
    """A row in order of time, or one that came too late."""

    t_ns: int
    """Its time."""
    row: Row
    """What it says."""
    is_late: bool
    """Whether rows that are dated later were given out already."""
    is_moved: bool
    """Whether it stood behind rows that are dated later."""


def sort_rows(rows: Iterable[tuple[int, Row]], reorder_rows: int = _REORDER_ROWS) -> Iterator[Sorted]:
    """Yield rows in order of time, those of equal times as they stand in the log; holds a fixed number of rows.

    Args:
        rows: (time in ns, row) as they stand in the log.
        reorder_rows: how far a row may stand behind its place.
    """
    waiting: list[tuple[int, int, Row, bool]] = []
    given_ns = newest_ns = -1
    for place, (t_ns, row) in enumerate(rows):
        if t_ns < given_ns:
            yield Sorted(t_ns, row, is_late=True, is_moved=False)
            continue
        heappush(waiting, (t_ns, place, row, t_ns < newest_ns))
        newest_ns = max(newest_ns, t_ns)
        if len(waiting) > reorder_rows:
            given_ns, _, oldest, is_moved = heappop(waiting)
            yield Sorted(given_ns, oldest, is_late=False, is_moved=is_moved)
    while waiting:
        t_ns, _, oldest, is_moved = heappop(waiting)
        yield Sorted(t_ns, oldest, is_late=False, is_moved=is_moved)


def read_time_cell(columns: Columns, line: bytes) -> str:
    """Return the cell that dates a row, as it is written; empty where there is none."""
    try:
        return _split(line, columns.separator)[columns.time].strip()
    except (LeftOutError, IndexError):
        return ""


def is_local_date(cell: str) -> bool:
    """Return whether a time is a date that does not tell its zone."""
    try:
        return _DATE.match(cell) is not None and _read_date(cell).tzinfo is None
    except ValueError:
        return False


def _split(line: bytes, separator: str) -> list[str]:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        text = line.decode("cp1252", errors="replace")
    try:
        return next(csv.reader([text], delimiter=separator), [])
    except csv.Error as error:
        raise LeftOutError("malformed_line") from error


def _time(cell: str) -> float | None:
    if not _DATE.match(cell.strip()):
        return _number(cell)
    try:
        moment = _read_date(cell)
    except ValueError as error:
        raise LeftOutError("malformed_line") from error
    since = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH
    return ((since.days * 86_400 + since.seconds) * 10**6 + since.microseconds) * 1000


def _read_date(cell: str) -> datetime:
    return datetime.fromisoformat(cell.strip().replace(",", "."))


def _number(cell: str) -> float | None:
    text = cell.strip()
    if text.lower() in _NOTHING:
        return None
    try:
        # Whole numbers stay whole: nanoseconds since 1970 have more digits than a float keeps.
        whole = len(text) <= 20 and text.isascii() and text.isdigit()
        value: float = int(text) if whole else float(text.replace(",", ".") if _DECIMAL_COMMA.fullmatch(text) else text)
    except ValueError as error:
        raise LeftOutError("malformed_line") from error
    if not math.isfinite(value):
        raise LeftOutError("malformed_line")
    return value


def _whole(cell: str, most: int) -> int | None:
    if _GROUP_OR_COMMA.fullmatch(cell.strip()):
        raise LeftOutError("comma_that_may_group_digits")
    value = _number(cell)
    if value is not None and abs(value) > most:
        raise LeftOutError("number_too_large")
    return None if value is None else round(value)


def _turn(cell: str) -> float:
    value = _number(cell) or 0.0
    if abs(value) > MAX_NOTCHES:
        raise LeftOutError("number_too_large")
    return value


def _key(cell: str) -> str:
    # A lone space is a key; `nan` and `None` are cells without one.
    if cell.strip().lower() in _NOTHING and cell != " ":
        raise LeftOutError("no_key")
    return cell


def _button(cell: str) -> str:
    if cell.strip().lower() in _NOTHING:
        raise LeftOutError("no_button")
    name = from_button(cell)
    if name is None:
        raise LeftOutError("unknown_button")
    return name
