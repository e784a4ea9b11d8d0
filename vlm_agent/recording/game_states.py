"""Takes a game's states into the session: polled in a thread of its own, dated, checked against the player's clicks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from vlm_agent.recording.alignment import WARN_MS, ExporterClock, ReactionCheck
from vlm_agent.recording.state_sources import Exported, SourceProblem, StateSource

STAMPS = ("timestamp", "time_ms", "time")
"""Fields that hold the exporter's own time, the first that is there."""


@dataclass
class FeedState:
    """How the states come; read by other threads."""

    states: int = 0
    """States taken."""
    problems: int = 0
    """Times that the source had none to give for a reason."""
    drift_ms: float = 0.0
    """How far the exporter's clock has drifted."""


class GameStateFeed:
    """Polls a source until it is stopped."""

    def __init__(
        self,
        source: StateSource,
        *,
        take: Callable[[int, Exported], None],
        say: Callable[[str], None],
        every_ms: float,
        stamp: str | None = None,
    ) -> None:
        """Start nothing yet.

        Args:
            source: what is polled.
            take: given each state with its time on the session's clock.
            say: given what a person should know.
            every_ms: how often it is polled.
            stamp: the field with the exporter's own time; None looks for one of `STAMPS`.
        """
        self.state = FeedState()
        self._source = source
        self._take = take
        self._say = say
        self._every_s = every_ms / 1000
        self._stamps = (stamp,) if stamp else STAMPS
        self._clock = ExporterClock()
        self._reactions = ReactionCheck()
        self._lock = threading.Lock()
        self._is_stopping = threading.Event()
        self._problem: str | None = None
        self._is_warned = False

    def add_click(self, t_ns: int) -> None:
        """Note a click of the player; called by another thread."""
        with self._lock:
            self._reactions.add_click(t_ns)

    def run(self) -> None:
        """Poll until `stop`."""
        try:
            while not self._is_stopping.is_set():
                self._poll()
                self._is_stopping.wait(self._every_s)
            self._poll()
        finally:
            self._source.close()

    def stop(self) -> None:
        """End `run` after one more poll."""
        self._is_stopping.set()

    def _poll(self) -> None:
        try:
            states = self._source.poll()
        except SourceProblem as problem:
            self.state.problems += 1
            if self._problem is None:
                self._say(f"no game state: {problem}")
            self._problem = str(problem)
            return
        if states and self._problem is not None:
            self._say("game state again")
            self._problem = None
        for exported in states:
            self._add(exported)

    def _add(self, exported: Exported) -> None:
        stamp = find_stamp(exported.state, self._stamps)
        t_ns = exported.arrived_ns if stamp is None else self._clock.align(stamp, exported.arrived_ns)
        self._take(t_ns, exported)
        self.state.states += 1
        with self._lock:
            is_apart = self._reactions.add_state(t_ns, exported.state)
        self.state.drift_ms = self._clock.drift_ms
        self._warn(is_apart=is_apart)

    def _warn(self, *, is_apart: bool) -> None:
        if self._is_warned:
            return
        if abs(self.state.drift_ms) > WARN_MS:
            self._is_warned = True
            self._say(f"the exporter's clock has drifted by {self.state.drift_ms:+.0f} ms against the recorder's")
        elif is_apart and self._reactions.drift_ms is not None:
            self._is_warned = True
            late_ms = self._reactions.drift_ms
            self._say(f"game states answer clicks {late_ms:+.0f} ms later than at first: is the exporter late?")


def find_stamp(state: dict[str, Any], names: Sequence[str]) -> float | None:
    """Return the exporter's own time of a state, in its own unit; None where no field of these names holds a number."""
    for name in names:
        value = state.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return value
    return None
