"""What a number that dates something counts, and from when: loggers of one family have used five ways.

From its size: 1e17 and more are nanoseconds since 1970, 1e14 microseconds, 1e11 milliseconds, 1e9 seconds. Less counts
from a beginning of its own: milliseconds, unless there are fractions and typical steps below 1, which makes seconds (a
logger that keeps a move every 10 ms steps by 10 or by 0.01).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Literal

from vlm_agent.importing.limits import MAX_T_NS

TimeUnit = Literal["s", "ms", "us", "ns"]
_UNIT_NS: dict[TimeUnit, int] = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_EPOCH_FROM: tuple[tuple[float, TimeUnit], ...] = ((1e17, "ns"), (1e14, "us"), (1e11, "ms"), (1e9, "s"))


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

    def describe(self) -> str:
        """Return it in words."""
        return f"{self.unit} since {'1970' if self.is_epoch else 'a beginning of its own'}"


def guess_clock(times: Sequence[float], unit: TimeUnit | None = None) -> Clock:
    """Return how times are written.

    Args:
        times: some of them, in the order of the log, finite; may be empty.
        unit: what they count, where the user says so.
    """
    typical = median(times) if times else 0.0
    for least, guessed in _EPOCH_FROM:
        if typical >= least:
            return Clock(unit or guessed, True)
    steps = [after - before for before, after in pairwise(times) if after > before]
    has_fractions = any(time != int(time) for time in times)
    is_seconds = has_fractions and bool(steps) and median(steps) < 1
    return Clock(unit or ("s" if is_seconds else "ms"), False)
