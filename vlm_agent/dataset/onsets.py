"""Dates a movement, and the press it ends in, by when it begins: to the window in which the player set out.

A person sees, decides, brings the pointer there and presses; from seeing to pressing takes 0.5 to 1 s. Cut at fixed
times, such an act falls into two windows: one that ends with the pointer at some place halfway, which no one could
predict, and one whose press was decided before it began. So a stroke that crosses the end of a window is hurried: it
ends within the window, and so does the press that follows it at once. An agent that learns from this does what the
player did, in the window in which the player set out to. A window that begins between the time so given to a press and
the time of the press itself shows a world that the press has not reached; nothing can be learnt there.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from vlm_agent.actions.types import Key
from vlm_agent.clips import NS_PER_MS
from vlm_agent.dataset.events import Timeline

_PAUSE_NS = 120 * NS_PER_MS
"""A pointer that reports nothing for so long rests. People dwell about 50 to 100 ms on a target before they press."""
_LAST_NS = 20 * NS_PER_MS
"""What is hurried comes so long before the end of its window."""


@dataclass
class HurryCount:
    """How much was hurried, gathered over sessions."""

    strokes: int = 0
    """Strokes that end earlier than they did."""
    presses: int = 0
    """Presses that come earlier with them."""
    sum_shift_ms: float = 0.0
    """By how much those presses come earlier, all together."""

    def merge(self, other: HurryCount) -> None:
        """Add what was hurried elsewhere."""
        self.strokes += other.strokes
        self.presses += other.presses
        self.sum_shift_ms += other.sum_shift_ms

    def to_json(self) -> dict[str, float | int]:
        """Return the figures that a manifest stores."""
        mean_ms = self.sum_shift_ms / self.presses if self.presses else 0.0
        return {"strokes": self.strokes, "presses": self.presses, "mean_shift_ms": round(mean_ms, 1)}


@dataclass(frozen=True)
class Onsets:
    """A timeline dated by onset, and what that changed."""

    timeline: Timeline
    """Strokes and presses in the windows in which they begin."""
    hurried_ns: frozenset[int]
    """Starts of the windows whose last stroke was hurried."""
    count: HurryCount
    """How much was hurried."""
    pending: tuple[tuple[int, int], ...]
    """For each press that comes earlier, when it is said to have come and when it came, nanoseconds."""

    def is_pending(self, t_ns: int) -> bool:
        """Tell whether at a time some press is said to have come and has not."""
        return any(said_ns <= t_ns < came_ns for said_ns, came_ns in self.pending)


def date_by_onset(timeline: Timeline, spans: Sequence[tuple[int, int]], limits_ns: Sequence[int]) -> Onsets:
    """Return the timeline with every stroke that crosses the end of a window hurried to end before it.

    That is done where it comes to rest before the window's limit, and within the length of two windows after that end.

    Args:
        timeline: actions and pointer path as they happened; not changed.
        spans: start and stop of each window, ascending and apart.
        limits_ns: for each window, what it must not look past (its clip's end).
    """
    hurry = _Hurry(timeline)
    hurried_ns = frozenset(
        start_ns
        for (start_ns, stop_ns), limit_ns in zip(spans, limits_ns, strict=True)
        if hurry.close_window(start_ns, stop_ns, min(limit_ns, stop_ns + 2 * (stop_ns - start_ns)))
    )
    return Onsets(hurry.timeline, hurried_ns, hurry.count, tuple(hurry.pending))


def keep_dates(timeline: Timeline) -> Onsets:
    """Return a timeline as it happened."""
    return Onsets(timeline, frozenset(), HurryCount(), ())


class _Hurry:
    def __init__(self, timeline: Timeline) -> None:
        self.timeline = Timeline(
            list(timeline.times_ns),
            list(timeline.actions),
            list(timeline.path_times_ns),
            list(timeline.path),
            timeline.drops,
        )
        self.count = HurryCount()
        self.pending: list[tuple[int, int]] = []

    def close_window(self, start_ns: int, stop_ns: int, limit_ns: int) -> bool:
        """Hurry the stroke under way at the end of a window; tell whether there is one that ends before the limit."""
        times_ns = self.timeline.path_times_ns
        after = bisect_left(times_ns, stop_ns)
        if not 0 < after < len(times_ns) or times_ns[after] - times_ns[after - 1] > _PAUSE_NS:
            return False
        first = self._find_onset(after, start_ns)
        last, press = self._find_end(after)
        if first >= after or self.timeline.path[last] == self.timeline.path[first] or times_ns[last] >= limit_ns:
            return False
        between = bisect_right(self.timeline.times_ns, times_ns[last]) - bisect_left(self.timeline.times_ns, stop_ns)
        if between > (press is not None):
            return False  # a key was pressed meanwhile; hurrying would change the order
        self._hurry(first, last, press, stop_ns - _LAST_NS)
        return True

    def _find_onset(self, after: int, start_ns: int) -> int:
        """Return the index at which the stroke begins: after a rest, after the last action, or with the window."""
        times_ns, path = self.timeline.path_times_ns, self.timeline.path
        earlier = bisect_left(self.timeline.times_ns, times_ns[after])
        floor_ns = self.timeline.times_ns[earlier - 1] if earlier else start_ns
        first = after
        while first > 0 and times_ns[first - 1] >= max(floor_ns, start_ns):
            if times_ns[first] - times_ns[first - 1] > _PAUSE_NS:
                break
            first -= 1
        # Points at which the pointer has not yet left are no part of it (the release of the press before, say).
        while first < after and first > 0 and path[first] == path[first - 1]:
            first += 1
        return first

    def _find_end(self, after: int) -> tuple[int, int | None]:
        """Return the index of the point at which the stroke ends, and the action that ends it, if one does."""
        times_ns = self.timeline.path_times_ns
        following = bisect_left(self.timeline.times_ns, times_ns[after])
        pointing = next(
            (i for i in range(following, len(self.timeline.actions)) if not isinstance(self.timeline.actions[i], Key)),
            None,
        )
        stop_ns = self.timeline.times_ns[pointing] if pointing is not None else times_ns[-1]
        last = after
        while last + 1 < len(times_ns) and times_ns[last + 1] <= stop_ns:
            if times_ns[last + 1] - times_ns[last] > _PAUSE_NS:
                return last, None
            last += 1
        return last, pointing if pointing is not None and times_ns[last] == stop_ns else None

    def _hurry(self, first: int, last: int, press: int | None, end_ns: int) -> None:
        # How it went there is left out: its pace is no longer the hand's own.
        times_ns, path = self.timeline.path_times_ns, self.timeline.path
        times_ns[first : last + 1] = [max(end_ns, times_ns[first - 1] if first else 0)]
        path[first : last + 1] = [path[last]]
        self.count.strokes += 1
        if press is not None:
            self.count.presses += 1
            self.count.sum_shift_ms += (self.timeline.times_ns[press] - end_ns) / NS_PER_MS
            self.pending.append((end_ns, self.timeline.times_ns[press]))
            self.timeline.times_ns[press] = end_ns
