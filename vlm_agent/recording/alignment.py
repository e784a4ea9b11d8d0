"""Bringing a game's exported states onto the session's clock, and checking that they stay there.

Two independent looks. `ExporterClock` reads the exporter's own timestamps, of any unit and origin, and finds their
offset. `ReactionCheck` knows no timestamps: a player's clicks change the game, so the time from a click to the change
it caused must not wander. Each warns when its clock has gone astray by more than 100 ms.
"""

from __future__ import annotations

import statistics
from collections import Counter, deque
from typing import Any, Literal, NamedTuple

WARN_MS = 100.0
"""Drift that is told."""
NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000
_MAX_STAMP = 4_102_444_800 * NS_PER_S
_UNITS_NS = (1, 1_000, 1_000_000, 1_000_000_000)
_DAY_NS = 86_400 * NS_PER_S
_RATE_NS = 2 * NS_PER_S
"""Time for which stamps must count as time does before they are believed."""
_SPAN_NS = 30 * NS_PER_S
"""Over which the smallest delay is taken: most exporters answer at once now and then."""
_EARLIEST_NS = -1 * NS_PER_S
"""A stamp so far ahead of what the others say, measured against its arrival, is not believed: no state comes early."""
_LATEST_NS = 10 * NS_PER_S
"""Nor is one so far behind: no state is held back for longer."""
_MOST_OFFSETS = 600
"""Of which the smallest is sought; of a quick exporter's states the last."""
_TOGETHER, _TOGETHER_NS = 3, 100 * NS_PER_MS
"""So many stamps must agree so nearly on an offset: a single one moves no other state."""

StampProblem = Literal["stamp_is_no_time", "stamp_is_ahead", "stamp_is_behind"]
"""Why a stamp dates nothing."""


class Aligned(NamedTuple):
    """The time of a state."""

    t_ns: int
    """At most 10 s before its arrival, and never after it."""
    problem: StampProblem | None = None
    """Why it is that of the arrival though the state was stamped."""
    apart_ns: int = 0
    """How far the stamp is ahead of where the others put it (behind: less than 0); 0 where nothing is known."""


class ExporterClock:
    """The time of states by the exporter's own stamps, each held against its arrival.

    A state arrives some delay after it was stamped. The delay varies but is never negative, so the smallest one seen in
    a while is nearest to the difference of the two clocks (as in NTP's clock filter, RFC 5905, section 10); a state's
    time is its stamp plus that, and never later than its arrival. A stamp that can't be of that clock (a loading
    screen's 0, seconds among milliseconds, an hour ahead) dates nothing, and moves no other state. Where only such come
    for 2 s, and count as time does, the exporter's clock was set: they are believed from then on.
    """

    def __init__(self) -> None:
        """Know nothing yet."""
        self.unit_ns: int | None = None
        """Nanoseconds a unit of the stamps; None until it is known, or where they are no time."""
        self._is_whole = True
        self.times_set = 0
        """How often the clock was found to be another than it was."""
        self._offsets: deque[tuple[int, int]] = deque(maxlen=_MOST_OFFSETS)
        self._reference_ns: int | None = None
        self._begun_ns: int | None = None
        self._others = _OtherStamps()

    def align(self, stamp: float, arrived_ns: int) -> Aligned:
        """Return the time of a state that was stamped so and arrived then; the arrival while the unit is unknown."""
        if not is_time(stamp):
            return Aligned(arrived_ns, "stamp_is_no_time")
        self._is_whole = self._is_whole and stamp == round(stamp)
        apart_ns = self._find_apart(stamp, arrived_ns)
        if apart_ns is None or not _EARLIEST_NS <= -apart_ns <= _LATEST_NS:
            unit_ns = self._others.find_unit(stamp, arrived_ns, may_be_near=apart_ns is None)
            if unit_ns is None:
                return _undated(arrived_ns, apart_ns)
            self._set(unit_ns)
        self._others.forget()
        assert self.unit_ns is not None
        stamped_ns = _to_ns(stamp, self.unit_ns)
        self._note(arrived_ns - stamped_ns, arrived_ns)
        if self.is_coarse:
            return Aligned(arrived_ns)
        return Aligned(min(max(stamped_ns + self._offset_ns, arrived_ns - _LATEST_NS), arrived_ns))

    @property
    def is_coarse(self) -> bool:
        """Whether the stamps are whole seconds, which arrivals are more exact than."""
        return self._is_whole and self.unit_ns == NS_PER_S

    @property
    def drift_ms(self) -> float:
        """How far the offset is from what it was in the first half minute."""
        if self._reference_ns is None or not self._offsets:
            return 0.0
        return (self._offset_ns - self._reference_ns) / NS_PER_MS

    @property
    def _offset_ns(self) -> int:
        """The smallest offset on which some stamps agree; before they do, the largest, which is nearest to arrivals."""
        offsets = sorted(offset_ns for _, offset_ns in self._offsets)
        last = _TOGETHER - 1
        together = (first for first, last in zip(offsets, offsets[last:], strict=False) if last - first < _TOGETHER_NS)
        return next(together, offsets[-1])

    def _find_apart(self, stamp: float, arrived_ns: int) -> int | None:
        """Return how far a stamp is ahead of where the others put it."""
        if self.unit_ns is None:
            return None
        return _to_ns(stamp, self.unit_ns) + self._offset_ns - arrived_ns

    def _set(self, unit_ns: int) -> None:
        self.times_set += self.unit_ns is not None
        self.unit_ns, self._reference_ns, self._begun_ns = unit_ns, None, None
        self._offsets.clear()

    def _note(self, offset_ns: int, arrived_ns: int) -> None:
        self._offsets.append((arrived_ns, offset_ns))
        while self._offsets[0][0] < arrived_ns - _SPAN_NS:
            self._offsets.popleft()
        self._begun_ns = arrived_ns if self._begun_ns is None else self._begun_ns
        if self._reference_ns is None and arrived_ns - self._begun_ns >= _SPAN_NS // 3:
            self._reference_ns = self._offset_ns


class _OtherStamps:
    """Stamps that no clock is known for, or that the known one does not fit, one after another."""

    def __init__(self) -> None:
        self._first: tuple[float, int] | None = None

    def forget(self) -> None:
        """Begin anew."""
        self._first = None

    def find_unit(self, stamp: float, arrived_ns: int, *, may_be_near: bool) -> int | None:
        """Return what the stamps count, once they show it."""
        if self._first is None or stamp < self._first[0]:
            is_new, self._first = self._first is None, (stamp, arrived_ns)
            # A time of day, in whichever unit it is near now. Only the first stamp is looked at so: a clock of
            # nanoseconds that began at 0 comes by the seconds of our age as well.
            near = (unit for unit in _UNITS_NS if abs(_to_ns(stamp, unit) - arrived_ns) < _DAY_NS)
            return next(near, None) if is_new and may_be_near else None
        passed, passed_ns = stamp - self._first[0], arrived_ns - self._first[1]
        if passed_ns < _RATE_NS or passed <= 0:
            return None
        self._first = None
        # Within a factor of 1.5 of a unit; a counter of ticks is none.
        return next((unit for unit in _UNITS_NS if unit / 1.5 < passed_ns / passed < unit * 1.5), None)


def is_time(stamp: float) -> bool:
    """Return whether a number can be a time at all: above 0, where loading screens stand, and before 2100 in ns."""
    return 0 < stamp <= _MAX_STAMP


def _to_ns(stamp: float, unit_ns: int) -> int:
    return round(stamp * unit_ns)


def _undated(arrived_ns: int, apart_ns: int | None) -> Aligned:
    if apart_ns is None:
        return Aligned(arrived_ns)
    return Aligned(arrived_ns, "stamp_is_ahead" if apart_ns > 0 else "stamp_is_behind", apart_ns)


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
