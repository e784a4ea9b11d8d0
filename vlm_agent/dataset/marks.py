"""What a recording's play is known by in another file: each few presses in a row, with their distances in time."""

from __future__ import annotations

import hashlib
from array import array
from dataclasses import dataclass, field, replace
from itertools import pairwise

from vlm_agent.actions.events import ButtonChanged, InputEvent, KeyChanged, WheelTurned
from vlm_agent.clips import NS_PER_MS

_RUN = 6
"""Presses that make a mark; fewer are alike by chance."""
_STEP_NS = 20 * NS_PER_MS
"""Distances in time are told so finely: two recorders differ by a millisecond."""


@dataclass(frozen=True)
class Marks:
    """The marks of one recording."""

    hashes: array[int] = field(default_factory=lambda: array("Q"))
    """One a run of presses, in order of time."""
    times_ns: array[int] = field(default_factory=lambda: array("q"))
    """When the last press of each came."""
    few: tuple[tuple[int, str], ...] = ()
    """All presses, (time, what), where there are too few for a mark."""


class MarkMaker:
    """Takes the events of a recording one by one, in order of time."""

    def __init__(self) -> None:
        self._marks = Marks()
        self._run: list[tuple[int, str]] = []

    @property
    def marks(self) -> Marks:
        """The marks of the events so far."""
        return self._marks if self._marks.hashes else replace(self._marks, few=tuple(self._run))

    def add(self, event: InputEvent) -> None:
        """Take in one event; where the pointer is makes no mark."""
        what = _name_press(event)
        if what is None:
            return
        self._run = [*self._run[-_RUN + 1 :], (event.t_ns, what)]
        if len(self._run) == _RUN:
            steps = [(after - before) // _STEP_NS for (before, _), (after, _) in pairwise(self._run)]
            text = repr(([name for _, name in self._run], steps))
            digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
            self._marks.hashes.append(int.from_bytes(digest, "big"))
            self._marks.times_ns.append(event.t_ns)


def _name_press(event: InputEvent) -> str | None:
    match event:
        case KeyChanged():
            return f"key {event.key} {event.pressed}"
        case ButtonChanged():
            return f"button {event.button} {event.pressed}"
        case WheelTurned():
            return "wheel"
        case _:
            return None
