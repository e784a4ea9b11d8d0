"""What is still to be injected: the events of a chunk with their deadlines, in order."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from vlm_agent.actions.events import ButtonChanged, InputEvent, KeyChanged, PointerMoved, WheelTurned
from vlm_agent.executors.devices import Control


@dataclass(frozen=True, slots=True)
class Planned:
    """One event to be injected."""

    event: InputEvent
    """In pixels of the frame; its time is the deadline on the executor's clock."""
    chunk: int
    """The executor's own count of the chunk that it is part of."""
    window: tuple[int, int]
    """Size of the window when the chunk's frame was captured."""
    offset: tuple[int, int] | None = None
    """How far a move goes, where the pointer is relative."""

    @property
    def due_ns(self) -> int:
        """The deadline."""
        return self.event.t_ns

    @property
    def control(self) -> Control | None:
        """What is pressed or released; None for moves and the wheel."""
        if isinstance(self.event, KeyChanged):
            return Control("key", self.event.key)
        if isinstance(self.event, ButtonChanged):
            return Control("button", self.event.button)
        return None

    @property
    def is_release(self) -> bool:
        """Whether it lets something go."""
        return isinstance(self.event, KeyChanged | ButtonChanged) and not self.event.pressed

    @property
    def point_px(self) -> tuple[int, int] | None:
        """Where it happens, pixels of the frame; None for a key."""
        return None if isinstance(self.event, KeyChanged) else (self.event.x, self.event.y)

    def describe(self) -> dict[str, Any]:
        """Return it as plain data."""
        event = self.event
        if isinstance(event, KeyChanged):
            return {"kind": "key", "key": event.key, "pressed": event.pressed, "chunk": self.chunk}
        told: dict[str, Any] = {"x": event.x, "y": event.y, "chunk": self.chunk}
        if isinstance(event, ButtonChanged):
            return {"kind": "button", "button": event.button, "pressed": event.pressed, **told}
        if isinstance(event, WheelTurned):
            return {"kind": "wheel", "dx": event.dx, "dy": event.dy, **told}
        return {"kind": "move", **told, **({"offset": list(self.offset)} if self.offset else {})}


@dataclass
class Queue:
    """Planned events by deadline; those of one deadline in the order in which they were said."""

    _heap: list[tuple[int, int, Planned]] = field(default_factory=list)
    _count: int = 0

    def __len__(self) -> int:
        return len(self._heap)

    @property
    def next_ns(self) -> int | None:
        """The first deadline."""
        return self._heap[0][0] if self._heap else None

    def add(self, planned: Planned) -> None:
        """Put one in."""
        self._count += 1
        heapq.heappush(self._heap, (planned.due_ns, self._count, planned))

    def take(self) -> Planned:
        """Take the first out."""
        return heapq.heappop(self._heap)[2]

    def remove(self, *, releases: bool, before_chunk: int | None = None, of: Control | None = None) -> list[Planned]:
        """Take out and return what is meant, in order.

        Args:
            releases: releases too, and not only what does something.
            before_chunk: only of chunks before this one.
            of: only presses and releases of this.
        """

        def is_meant(one: Planned) -> bool:
            is_old = before_chunk is None or one.chunk < before_chunk
            return is_old and (releases or not one.is_release) and (of is None or one.control == of)

        kept = [entry for entry in self._heap if not is_meant(entry[2])]
        removed = [entry[2] for entry in sorted(self._heap) if is_meant(entry[2])]
        heapq.heapify(kept)
        self._heap = kept
        return removed


def plan_offsets(events: list[InputEvent], start: tuple[int, int]) -> Iterator[tuple[InputEvent, tuple[int, int]]]:
    """Yield each event with how far the mouse moves for it; `start` is where the events' points begin."""
    at = start
    for event in events:
        to = (event.x, event.y) if isinstance(event, PointerMoved) else at
        yield event, (to[0] - at[0], to[1] - at[1])
        at = to
