"""Takes a game's states into the session: polled in a thread of its own, dated, checked against the player's clicks."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vlm_agent.recording.alignment import WARN_MS, Aligned, ExporterClock, ReactionCheck
from vlm_agent.recording.state_sources import Exported, Odd, SourceProblem, StateSource

STAMPS = ("timestamp", "time_ms", "time")
"""Fields that hold the exporter's own time, the first that is there."""


@dataclass
class FeedState:
    """How the states come; read by other threads."""

    states: int = 0
    """States taken."""
    problems: int = 0
    """Times that the source had none to give for a reason."""
    left_out: Counter[str] = field(default_factory=Counter)
    """States that can't be kept, by reason."""
    mended: Counter[str] = field(default_factory=Counter)
    """What was mended or made up in states that are kept, by reason."""
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
        self._told: set[str] = set()
        self._times_set = 0

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
        for found in states:
            if isinstance(found, Odd):
                self.state.left_out[found.reason] += found.states
                self._tell_first(found.reason, f"a game state is left out: {found.told}")
            else:
                self._add(found)

    def _add(self, exported: Exported) -> None:
        aligned = date_state(exported, self._clock, self._stamps)
        t_ns = aligned.t_ns
        self._note_oddities(exported, aligned)
        self._take(t_ns, exported)
        self.state.states += 1
        with self._lock:
            is_apart = self._reactions.add_state(t_ns, exported.state)
        self.state.drift_ms = self._clock.drift_ms
        self._warn(is_apart=is_apart)

    def _note_oddities(self, exported: Exported, aligned: Aligned) -> None:
        mended = self.state.mended
        if exported.not_finite:
            mended["number_that_is_not_finite"] += exported.not_finite
            self._tell_first("number", "a number in a game state is none, or infinite: null in its place")
        if aligned.problem is not None:
            mended[aligned.problem] += 1
            self._tell_first(
                aligned.problem, f"a game state's own time {_describe(aligned)}: it is dated by its arrival"
            )
        if self._clock.is_coarse:
            self._tell_first("coarse", "the exporter tells whole seconds: states are dated by their arrival")
        if self._clock.times_set > self._times_set:
            self._times_set = self._clock.times_set
            self._say("the exporter's clock was set; it is followed")

    def _tell_first(self, what: str, text: str) -> None:
        """Say something the first time; what comes later is counted."""
        if what not in self._told:
            self._told.add(what)
            self._say(text)

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


def date_state(exported: Exported, clock: ExporterClock, names: Sequence[str] = STAMPS) -> Aligned:
    """Return when a state was: by the exporter's own time of it, as far as that can be believed."""
    stamp = find_stamp(exported.original, names)
    return Aligned(exported.arrived_ns) if stamp is None else clock.align(stamp, exported.arrived_ns)


def find_stamp(state: Mapping[str, Any], names: Sequence[str]) -> float | None:
    """Return the exporter's own time of a state, in its own unit; None where no field of these names holds a number."""
    for name in names:
        value = state.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return value
    return None


def _describe(aligned: Aligned) -> str:
    if aligned.problem == "stamp_is_no_time":
        return "is no time"
    return f"is {_say_duration(abs(aligned.apart_ns))} {'ahead' if aligned.apart_ns > 0 else 'behind'}"


def _say_duration(ns: int) -> str:
    seconds = ns / 1e9
    for unit, length_s in (("years", 365.25 * 86_400), ("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * length_s:
            return f"{seconds / length_s:.0f} {unit}"
    return f"{seconds:.0f} s"
