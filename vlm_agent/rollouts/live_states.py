"""The latest state that a game exports, read beside the agent loop so that a slow exporter never holds it up.

Read as a recorder reads it (see `recording.state_sources`), and dated on the exporter's own clock where it has one: an
agent's actions count from the game's tick, as in the recordings that it learnt from, not from when the state came.
"""

from __future__ import annotations

import contextlib
import threading
import time
from typing import Any

from vlm_agent.recording.alignment import ExporterClock
from vlm_agent.recording.clock import SessionClock
from vlm_agent.recording.game_states import date_state
from vlm_agent.recording.state_sources import Exported, SourceProblem, open_source

_SOON_S = 0.005
"""How often is asked while a decision waits for the state that it is about."""
_SELDOM_S = 0.1
"""How often otherwise."""
_STALE_S = 5.0
"""An exporter that has not answered for longer says nothing about now."""


class LiveState:
    """Asks an exporter over and over; call it for the latest state."""

    def __init__(self, source: str) -> None:
        """Begin to ask.

        Raises:
            ConfigError: it is no address, file, folder or program.
        """
        self._clock = SessionClock()
        self._source = open_source(source, self._clock)
        self._stamps = ExporterClock()
        self._latest: tuple[dict[str, Any], int] | None = None
        self._answered_s = 0.0
        self._news, self._is_awaited, self._is_closing = threading.Event(), threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._follow, name="game state", daemon=True)
        self._thread.start()

    def __call__(self) -> dict[str, Any] | None:
        """Return the latest state; None where the exporter has not answered in the last seconds."""
        latest = self._latest
        return latest[0] if latest is not None and time.monotonic() - self._answered_s < _STALE_S else None

    @property
    def age_ns(self) -> int | None:
        """How long ago the latest state was, nanoseconds; None where there is none."""
        latest = self._latest
        return None if latest is None else self._clock.now_ns() - latest[1]

    def wait_for_news(self, seconds: float) -> bool:
        """Wait for a state that came since this was called last; False where none has after a while."""
        self._is_awaited.set()
        is_new = self._news.wait(seconds)
        self._is_awaited.clear()
        self._news.clear()
        return is_new

    def close(self) -> None:
        """Ask no more; harmless the second time."""
        self._is_closing.set()
        self._is_awaited.set()
        self._thread.join(2 * _STALE_S)

    def _follow(self) -> None:
        with contextlib.closing(self._source):
            while not self._is_closing.is_set():
                # Not there, half-written, or not JSON: the next time may do, and until then the last one grows stale.
                with contextlib.suppress(SourceProblem):
                    states = self._source.poll()
                    self._answered_s = time.monotonic()
                    for found in states:
                        if isinstance(found, Exported):
                            self._take(found)
                if self._is_awaited.wait(_SELDOM_S):
                    self._is_closing.wait(_SOON_S)

    def _take(self, exported: Exported) -> None:
        self._latest = (exported.state, date_state(exported, self._stamps).t_ns)
        self._news.set()
