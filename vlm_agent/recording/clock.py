"""The one clock of a recorded session: UTC nanoseconds that only ever run forward."""

from __future__ import annotations

import time

_READINGS = 7


class SessionClock:
    """UTC at its start, and from there the monotonic clock: a corrected system clock never moves it.

    `time.perf_counter_ns` is CLOCK_MONOTONIC on Linux, the clock of Xorg's events, and the performance counter on
    Windows.
    """

    def __init__(self) -> None:
        """Read both clocks a few times and keep the reading in which they were closest together."""
        readings = []
        for _ in range(_READINGS):
            before_ns, utc_ns, after_ns = time.perf_counter_ns(), time.time_ns(), time.perf_counter_ns()
            readings.append((after_ns - before_ns, utc_ns - (before_ns + after_ns) // 2))
        self._base_ns = min(readings)[1]

    def now_ns(self) -> int:
        """Return the time."""
        return self._base_ns + time.perf_counter_ns()

    def of_monotonic(self, monotonic_ns: int) -> int:
        """Return the time at which `time.perf_counter_ns()` was that."""
        return self._base_ns + monotonic_ns
