"""The executor's clock: the system's monotonic one, which all processes of a machine share."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

_SPIN_NS = 200_000
"""The last stretch before a deadline is spent looking at the clock: a sleep may end this late. No longer, since where
others want to run, a thread that looks at the clock for a millisecond is taken off it just before its deadline."""


class Clock(Protocol):
    """Time, and waiting for it."""

    def now_ns(self) -> int:
        """Return the time, nanoseconds from some beginning."""

    def wait_until(self, t_ns: int, is_over: Callable[[], bool]) -> None:
        """Return at a time, or as soon as `is_over`."""


class RealClock:
    """`time.perf_counter_ns`, with an exact wait that can be woken."""

    def __init__(self) -> None:
        """Begin awake."""
        self._woken = threading.Event()

    def now_ns(self) -> int:
        """Return the time, nanoseconds."""
        return time.perf_counter_ns()

    def wake(self) -> None:
        """Have the one who waits look up; may be called by any thread."""
        self._woken.set()

    def sleep_until(self, t_ns: int) -> None:
        """Sleep until a time or until woken; up to a millisecond late."""
        left_ns = t_ns - time.perf_counter_ns()
        if left_ns > 0:
            self._woken.wait(left_ns / 1e9)
        self._woken.clear()

    def wait_until(self, t_ns: int, is_over: Callable[[], bool]) -> None:
        """Return exactly at a time, or as soon as `is_over`; who makes it so wakes this clock."""
        while not is_over():
            left_ns = t_ns - time.perf_counter_ns()
            if left_ns <= 0:
                return
            if left_ns > _SPIN_NS:
                self._woken.clear()
                if not is_over():
                    self._woken.wait((left_ns - _SPIN_NS) / 1e9)
