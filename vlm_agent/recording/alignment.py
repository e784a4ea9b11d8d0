"""Bringing a game's exported states onto the session's clock, and checking that they stay there.

Two independent looks. `ExporterClock` reads the exporter's own timestamps, of any unit and origin, and finds their
offset. `ReactionCheck` knows no timestamps: a player's clicks change the game, so the time from a click to the change
it caused must not wander. Each warns when its clock has gone astray by more than 100 ms.
"""

from __future__ import annotations

import statistics
from collections import Counter, deque
from typing import Any

WARN_MS = 100.0
"""Drift that is told."""
NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000
_UNITS_NS = (1, 1_000, 1_000_000, 1_000_000_000)
_DAY_NS = 86_400 * NS_PER_S
_RATE_NS = 2 * NS_PER_S
"""Time a stamp of unknown unit is watched before its unit is known."""
_SPAN_NS = 30 * NS_PER_S
"""Over which the smallest delay is taken: most exporters answer at once now and then."""


class ExporterClock:
    """The time of states by the exporter's own stamps.

    A state arrives some delay after it was stamped. The delay varies but is never negative, so the smallest one seen in
    a while is nearest to the difference of the two clocks (as in NTP's clock filter, RFC 5905, section 10); a state's
    time is its stamp plus that, and never later than its arrival.
    """

    def __init__(self) -> None:
        """Know nothing yet."""
        self.unit_ns: int | None = None
        """Nanoseconds a unit of the stamps; None until it is known, or where they are no time."""
        self._first: tuple[float, int] | None = None
        self._offsets: deque[tuple[int, int]] = deque()
        self._reference_ns: int | None = None
        self._begun_ns: int | None = None

    def align(self, stamp: float, arrived_ns: int) -> int:
        """Return the time of a state that was stamped so and arrived then; the arrival while the unit is unknown."""
        if self.unit_ns is None:
            self._find_unit(stamp, arrived_ns)
        if self.unit_ns is None:
            return arrived_ns
        stamped_ns = round(stamp * self.unit_ns)
        self._note(arrived_ns - stamped_ns, arrived_ns)
        return stamped_ns + self._offset_ns

    @property
    def drift_ms(self) -> float:
        """How far the offset is from what it was in the first half minute."""
        if self._reference_ns is None or not self._offsets:
            return 0.0
        return (self._offset_ns - self._reference_ns) / NS_PER_MS

    @property
    def _offset_ns(self) -> int:
        return min(offset_ns for _, offset_ns in self._offsets)

    def _note(self, offset_ns: int, arrived_ns: int) -> None:
        self._offsets.append((arrived_ns, offset_ns))
        while self._offsets[0][0] < arrived_ns - _SPAN_NS:
            self._offsets.popleft()
        self._begun_ns = arrived_ns if self._begun_ns is None else self._begun_ns
        if self._reference_ns is None and arrived_ns - self._begun_ns >= _SPAN_NS // 3:
            self._reference_ns = self._offset_ns

    def _find_unit(self, stamp: float, arrived_ns: int) -> None:
        if self._first is None or stamp < self._first[0]:
            is_new, self._first = self._first is None, (stamp, arrived_ns)
            # A time of day, in whichever unit it is near now. Only the first stamp is looked at so: a clock of
            # nanoseconds that began at 0 comes by the seconds of our age as well.
            near = (unit for unit in _UNITS_NS if abs(stamp * unit - arrived_ns) < _DAY_NS)
            self.unit_ns = next(near, None) if is_new else None
            return
        passed, passed_ns = stamp - self._first[0], arrived_ns - self._first[1]
        if passed_ns >= _RATE_NS and passed > 0:
            # Within a factor of 1.5 of a unit; a counter of ticks is none.
            self.unit_ns = next((unit for unit in _UNITS_NS if unit / 1.5 < passed_ns / passed < unit * 1.5), None)
            self._first = None


class ReactionCheck:
    """Whether the game still answers clicks as quickly as it did.

    Of the states only those count in which something changed that seldom does: a tick counter tells nothing. The first
    `SAMPLE` answered clicks give the usual time from click to change, each further sample is held against it. It warns
    when the means differ by more than 100 ms, and by more than three standard errors of their difference: in a game of
    600 ms ticks a single answer comes anywhere within one.
    """

    SAMPLE = 40
    """Answers that are looked at together."""
    _REACH_NS = (-500 * NS_PER_MS, 3_000 * NS_PER_MS)
    _OFTEN = 0.5
    _LEARN_STATES = 8
    _MAX_PATHS = 5_000

    def __init__(self) -> None:
        """Know nothing yet."""
        self._clicks: deque[int] = deque(maxlen=200)
        self._last: dict[str, Any] = {}
        self._states = 0
        self._changed: Counter[str] = Counter()
        self._lags_ms: list[float] = []
        self._usual: tuple[float, float] | None = None
        self.drift_ms: float | None = None
        """Difference of the last sample's mean from the first's, milliseconds; None before there are two."""

    def add_click(self, t_ns: int) -> None:
        """Note that a button went down in the window."""
        self._clicks.append(t_ns)

    def add_state(self, t_ns: int, state: dict[str, Any]) -> bool:
        """Note a state; return whether the clocks have now been found apart."""
        leaves = dict(_leaves(state, "", 4))
        changed = [path for path in leaves.keys() | self._last.keys() if leaves.get(path) != self._last.get(path)]
        is_first, self._last = not self._states, leaves
        self._states += 1
        if is_first or len(leaves) > self._MAX_PATHS:
            return False
        self._changed.update(changed)
        if self._states < self._LEARN_STATES:
            return False
        rare = [path for path in changed if self._changed[path] <= self._OFTEN * self._states]
        lag_ms = self._find_lag(t_ns) if rare else None
        if lag_ms is None:
            return False
        self._lags_ms.append(lag_ms)
        return len(self._lags_ms) >= self.SAMPLE and self._judge()

    def _find_lag(self, t_ns: int) -> float | None:
        earliest, latest = self._REACH_NS
        lags_ms = [(t_ns - click) / NS_PER_MS for click in self._clicks if earliest <= t_ns - click <= latest]
        if self._usual is not None:
            # Of several clicks the one that fits what is known; drift is slow against the time between two samples.
            expected_ms = self._usual[0] + (self.drift_ms or 0.0)
            return min(lags_ms, key=lambda lag_ms: abs(lag_ms - expected_ms), default=None)
        return min((lag_ms for lag_ms in lags_ms if lag_ms >= 0), default=None)

    def _judge(self) -> bool:
        lags_ms, self._lags_ms = self._lags_ms, []
        mean_ms, error_ms = statistics.fmean(lags_ms), statistics.stdev(lags_ms) / len(lags_ms) ** 0.5
        if self._usual is None:
            self._usual = mean_ms, error_ms
            return False
        self.drift_ms = mean_ms - self._usual[0]
        sure_ms = 3 * (error_ms**2 + self._usual[1] ** 2) ** 0.5
        return abs(self.drift_ms) > max(WARN_MS, sure_ms)


def _leaves(value: Any, path: str, depth: int) -> list[tuple[str, Any]]:
    """Return the values of a JSON object by path; what lies deeper is one value."""
    if depth and isinstance(value, dict):
        return [leaf for name, part in value.items() for leaf in _leaves(part, f"{path}/{name}", depth - 1)]
    return [(path, value)]
