"""A recorded episode horizon by horizon: what was decided, and which events followed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from vlm_agent.actions.events import ButtonChanged, InputEvent, KeyChanged, WheelTurned
from vlm_agent.rollouts.episodes import Outcome
from vlm_agent.sessions.reader import SessionReader


@dataclass
class Tick:
    """One horizon of a recorded episode."""

    t_ns: int
    """When it began."""
    decision: dict[str, Any]
    """What the session keeps of the decision."""
    events: list[InputEvent] = field(default_factory=list)
    """What was done."""

    @property
    def has_press(self) -> bool:
        """Whether a button or a key was pressed."""
        return any(isinstance(event, ButtonChanged | KeyChanged) and event.pressed for event in self.events)


def read_ticks(reader: SessionReader) -> list[Tick]:
    """Return the horizons of a recorded episode with their events."""
    ticks = [Tick(t_ns, decision) for t_ns, decision in reader.decisions()]
    index = 0
    for event in reader.events():
        # An event at the very moment of a decision belongs to it.
        while index + 1 < len(ticks) and ticks[index + 1].t_ns <= event.t_ns:
            index += 1
        if ticks:
            ticks[index].events.append(event)
    return ticks


def choose_ticks(ticks: Sequence[Tick], count: int) -> list[Tick]:
    """Return so many horizons spread over the episode; of each part the first with a press, else its middle one."""
    edges = [len(ticks) * part // count for part in range(count + 1)]
    parts = [ticks[start:stop] for start, stop in pairwise(edges) if stop > start]
    return [next((tick for tick in part if tick.has_press), part[len(part) // 2]) for part in parts]


def describe_tick(tick: Tick) -> str:
    """Return in a few words what was done, or why nothing was."""
    outcome = tick.decision.get("outcome")
    if outcome in (Outcome.INVALID, Outcome.REFUSED, Outcome.LATE):
        reason = tick.decision.get("reason")
        return f"{outcome}: {reason}" if reason else str(outcome)
    words = list(_describe_events(tick.events))
    if words:
        return ", ".join(words)
    if outcome == Outcome.DONE:
        return "says it is done"
    return "moves" if tick.events else "waits"


def _describe_events(events: Sequence[InputEvent]) -> Iterator[str]:
    for event in events:
        if isinstance(event, ButtonChanged) and event.pressed:
            button = "" if event.button == "left" else f"{event.button} "
            yield f"{button}click {event.x}, {event.y}"
        elif isinstance(event, KeyChanged) and event.pressed:
            yield f"key {event.key}"
        elif isinstance(event, WheelTurned):
            yield f"wheel {event.dy:+d}"
