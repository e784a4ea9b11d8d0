"""The time of an X server, told in the recorder's.

Xorg and Xvfb on Linux date events in milliseconds of CLOCK_MONOTONIC, the recorder's own clock; that is measured, not
assumed, for a server elsewhere (ssh, Xwayland in a container) has another.
"""

from __future__ import annotations

import time
from select import select
from typing import Any, NamedTuple

from Xlib import X, Xatom

from vlm_agent.errors import ConfigError

_ROUNDS = 12
_PATIENCE_S = 2.0
_WRAP_MS = 1 << 32
_NS_PER_MS = 1_000_000


class ServerTime(NamedTuple):
    """A moment of the server's between two of ours."""

    server_ms: int
    """What the server's clock said."""
    before_ns: int
    """`time.perf_counter_ns()` before it was asked."""
    after_ns: int
    """And after it had answered."""


class ServerClock:
    """Turns the server's 32-bit milliseconds into `time.perf_counter_ns()`."""

    def __init__(self, readings: list[ServerTime]) -> None:
        """Find the offset that all readings allow.

        The server rounds down, so its clock said `server_ms` somewhere in a whole millisecond: each reading leaves an
        interval for the offset, and the truth lies in all of them.
        """
        first = readings[0]
        self._reference_ms = first.server_ms
        near_ns = first.before_ns
        lowest, highest = -(1 << 62), 1 << 62
        for reading in readings:
            since_ns = self._since_reference(reading.server_ms) * _NS_PER_MS
            lowest = max(lowest, reading.before_ns - near_ns - since_ns - _NS_PER_MS)
            highest = min(highest, reading.after_ns - near_ns - since_ns)
        # What our clock would have said when the server's came to `reference_ms`, were both the same.
        expected_ns = _nearest(self._reference_ms, near_ns // _NS_PER_MS) * _NS_PER_MS - near_ns
        # The server's answer takes a little; a tenth of a millisecond is for clocks read by different cores.
        self.is_ours = lowest - 100_000 <= expected_ns <= highest + 100_000
        """Whether the server's clock is CLOCK_MONOTONIC itself."""
        self._zero_ns = near_ns + (expected_ns if self.is_ours else (lowest + highest) // 2)
        self.uncertainty_ns = 0 if self.is_ours else max(highest - lowest, 0) // 2
        """How far the offset may be off; 0 where the clocks are one."""

    @classmethod
    def measure(cls, display: Any) -> ServerClock:
        """Ask a server for its time a dozen times.

        Raises:
            ConfigError: it does not answer.
        """
        window = create_mark_window(display)
        try:
            return cls([_ask(display, window) for _ in range(_ROUNDS)])
        finally:
            window.destroy()
            display.flush()

    def to_monotonic_ns(self, server_ms: int) -> int:
        """Return the `time.perf_counter_ns()` of a time of the server, less than 24 days from when it was measured."""
        return self._zero_ns + self._since_reference(server_ms) * _NS_PER_MS

    def _since_reference(self, server_ms: int) -> int:
        return (server_ms - self._reference_ms + _WRAP_MS // 2) % _WRAP_MS - _WRAP_MS // 2


def create_mark_window(display: Any) -> Any:
    """Return a window nobody sees; the server tells its connection when each change of its properties was made."""
    return display.screen().root.create_window(
        0, 0, 1, 1, 0, 0, window_class=X.InputOnly, event_mask=X.PropertyChangeMask, override_redirect=True
    )


def _nearest(server_ms: int, near_ms: int) -> int:
    """Return the full count of milliseconds near another whose lower 32 bits are given."""
    return near_ms + (server_ms - near_ms + _WRAP_MS // 2) % _WRAP_MS - _WRAP_MS // 2


def _ask(display: Any, window: Any) -> ServerTime:
    before_ns = time.perf_counter_ns()
    window.change_property(Xatom.WM_NAME, Xatom.STRING, 8, b"what time is it")
    display.flush()
    until = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until:
        if not display.pending_events():
            select([display.fileno()], [], [], 0.05)
            continue
        event = display.next_event()
        if event.type == X.PropertyNotify and event.window.id == window.id:
            return ServerTime(event.time, before_ns, time.perf_counter_ns())
    raise ConfigError(f"the X server did not say its time within {_PATIENCE_S:g} s; is it busy or stopped?")
