"""What a number that dates something counts, and from when: loggers of one family have used five ways.

From its size first: 1e17 and more are nanoseconds since 1970, 1e14 microseconds, 1e11 milliseconds, 1e9 seconds. Less
counts from a beginning of its own: milliseconds, unless there are fractions and typical steps below 1, which makes
seconds (a logger that keeps a move every 10 ms steps by 10 or by 0.01). That is held against what people and mice can
do: nobody clicks 400 times a second, no mouse reports once a minute. Where the first guess is impossible and another
unit is not, that one is meant: a log of clicks in seconds, or a counter of nanoseconds that looks like a date.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from statistics import median
from typing import Literal

from vlm_agent.importing.limits import MAX_SPAN_NS, MAX_T_NS

TimeUnit = Literal["s", "ms", "us", "ns"]
_UNIT_NS: dict[TimeUnit, int] = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_EPOCH_FROM: tuple[tuple[float, TimeUnit], ...] = ((1e17, "ns"), (1e14, "us"), (1e11, "ms"), (1e9, "s"))
_FEWEST_PRESSES, _FEWEST_HOLDS, _FEWEST_MOVES, _FEWEST_ROWS = 5, 3, 10, 20
_PRESS_GAP_NS = 20_000_000, 600 * 10**9
"""Between one press and the next, typically."""
_HOLD_NS = 5_000_000, 20 * 10**9
_MOVE_STEP_NS = 100_000, 5 * 10**9
_SHORTEST_LOG_NS = 500_000_000
_COARSE_NS = 50_000_000
_FEWEST_DATED = 5
_ALIKE_SHARE = 0.4


@dataclass(frozen=True)
class Clock:
    """How times are written."""

    unit: TimeUnit
    """What they count."""
    is_epoch: bool
    """Whether since 1970, UTC; else since a beginning of the log's own."""

    def to_ns(self, time: float) -> int | None:
        """Return nanoseconds, or None for a time that can't be meant: negative, not finite, after 2100."""
        if not 0 <= time <= MAX_T_NS:
            return None
        t_ns = round(time * _UNIT_NS[self.unit])
        return t_ns if t_ns <= MAX_T_NS else None

    def span_ns(self, span: float) -> float:
        """Return how many nanoseconds a difference of two times is."""
        return span * _UNIT_NS[self.unit]

    def describe(self) -> str:
        """Return it in words."""
        return f"{self.unit} since {'1970' if self.is_epoch else 'a beginning of its own'}"


@dataclass
class Doings:
    """When a person did what, in a log's own unit."""

    times: list[float] = field(default_factory=list)
    """Of all rows, as they stand in the log."""
    presses: list[float] = field(default_factory=list)
    """Of clicks and of keys that went down."""
    holds: list[float] = field(default_factory=list)
    """How long keys were down."""
    moves: list[float] = field(default_factory=list)
    """Of moves of the pointer."""


def guess_clock(times: Sequence[float], unit: TimeUnit | None = None, doings: Doings | None = None) -> Clock:
    """Return how times are written.

    Args:
        times: some of them, in the order of the log, finite; may be empty.
        unit: what they count, where the user says so.
        doings: what the log tells of people's doings.
    """
    first = _guess_by_size(times, unit)
    if unit is not None or doings is None:
        return first
    clocks = [first, *(Clock(other, False) for other in _UNIT_NS)]
    short = replace(doings, times=[])  # where nothing else is possible, it is a log of a moment
    return next((clock for log in (doings, short) for clock in clocks if _is_possible(clock, log)), first)


def have_fallen_together(times: Sequence[float], clock: Clock) -> bool:
    """Return whether a log's times were rounded so far that events of different moments are dated alike.

    Args:
        times: some of a log's times, finite.
        clock: how they are written.
    """
    distinct = sorted(set(times))
    if len(times) < _FEWEST_DATED:
        return False
    if len(distinct) == 1:
        return True
    finest = min(after - before for before, after in pairwise(distinct))
    return clock.span_ns(finest) >= _COARSE_NS and len(times) - len(distinct) >= _ALIKE_SHARE * len(times)


def _guess_by_size(times: Sequence[float], unit: TimeUnit | None) -> Clock:
    typical = median(times) if times else 0.0
    for least, guessed in _EPOCH_FROM:
        if typical >= least:
            return Clock(unit or guessed, True)
    steps = [after - before for before, after in pairwise(times) if after > before]
    has_fractions = any(time != int(time) for time in times)
    is_seconds = has_fractions and bool(steps) and median(steps) < 1
    return Clock(unit or ("s" if is_seconds else "ms"), False)


def _is_possible(clock: Clock, doings: Doings) -> bool:
    return all(least <= clock.span_ns(typical) <= most for typical, (least, most) in _typical_spans(doings, clock))


def _typical_spans(doings: Doings, clock: Clock) -> Iterator[tuple[float, tuple[int, int]]]:
    """Yield spans of a log, and the least and the most nanoseconds that each can be; a date may be of any."""
    gaps = [after - before for before, after in pairwise(sorted(doings.presses)) if after > before]
    if len(gaps) >= _FEWEST_PRESSES:
        yield median(gaps), _PRESS_GAP_NS
    if len(doings.holds) >= _FEWEST_HOLDS:
        yield median(doings.holds), _HOLD_NS
    steps = [after - before for before, after in pairwise(sorted(doings.moves)) if after > before]
    if len(steps) >= _FEWEST_MOVES:
        yield median(steps), _MOVE_STEP_NS
    if len(doings.times) >= _FEWEST_ROWS and not clock.is_epoch:
        yield max(doings.times) - min(doings.times), (_SHORTEST_LOG_NS, MAX_SPAN_NS)
