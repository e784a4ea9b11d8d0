"""Cut a session into clips: half-open spans that each serve one goal.

A session is cut where a goal changes, at the ends of a pause (no input for a while), and else into equal pieces of
about 4 s. Cuts lie on ticks, the moments at which decisions are made, so that windows tile a clip and none is lost at a
cut. A new goal begins with the first tick that can show why: a decision serves the goal that held when it was made, not
one that its outcome led to. The clips of a session cover it exactly once; those that can't be used stay in the list
with the reason they were dropped for. This module knows times only: no frames, no files, no labelers.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from vlm_agent.errors import ConfigError, DataError

if TYPE_CHECKING:
    from vlm_agent.sessions.types import Goal

NS_PER_MS = 1_000_000

GoalLevel = Literal["long", "short"]

ClipDrop = Literal["idle", "too_short", "excluded"]
"""Why a clip is not used: it lies in a pause, is shorter than a window, or holds a span that was left out."""

TOLD_LATE_NS = 100 * NS_PER_MS
"""A goal that is told so soon after a tick holds at that tick: whoever tells it must look first."""

MAX_TICKS = 2_000_000
"""In one session; a day of a game's ticks of 0.6 s has 144 000."""

_TICK_SLACK = 0.9
"""A state this much of a horizon after the last tick is the next tick: game clocks jitter."""


@dataclass(frozen=True)
class CutConfig:
    """Where a session is cut."""

    length_ms: int = 4000
    """Longest clip where nothing else cuts, milliseconds."""
    pause_ms: int = 30_000
    """No input for this long is a pause and is dropped, milliseconds. Waiting for 13 rings takes 23 s and is play."""
    horizon_ms: int = 600
    """Length of a window, milliseconds; shorter clips are dropped."""

    def __post_init__(self) -> None:
        """Raise ConfigError for lengths that can't be meant."""
        if self.horizon_ms < 1:
            raise ConfigError(f"horizon_ms must be at least 1, got {self.horizon_ms}")
        if self.length_ms < self.horizon_ms or self.pause_ms < self.horizon_ms:
            raise ConfigError(
                f"length_ms and pause_ms must be at least horizon_ms ({self.horizon_ms}),"
                f" got {self.length_ms} and {self.pause_ms}"
            )


@dataclass(frozen=True)
class Clip:
    """A span of a session, start <= t < stop."""

    index: int
    """Place in the session, from 0."""
    start_ns: int
    """First moment, on the session's clock."""
    stop_ns: int
    """First moment after it."""
    dropped: ClipDrop | None = None
    """Why it is not used; `None` for a clip that is."""

    @property
    def goal_ns(self) -> int:
        """The moment at which the clip's goal is read: its first tick, or what was told a moment later."""
        return self.start_ns + TOLD_LATE_NS

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return (self.stop_ns - self.start_ns) / 1e9


@dataclass(frozen=True)
class LabeledClip:
    """A clip with its short goal, or with the reason there is none."""

    clip: Clip
    """The span."""
    goal: Goal | None = None
    """Its short goal; `None` where the clip or its label was dropped."""
    dropped: str | None = None
    """Why there is no goal: a reason of the cut or of the labeler."""


def tick_times(state_times_ns: Iterable[int], start_ns: int, stop_ns: int, horizon_ms: int) -> list[int]:
    """Return the decision times of a session: its game's ticks where there are any, else a grid of horizons.

    States that come faster than a horizon are thinned to about one a horizon; holes are filled with the grid. Every
    tick t has start_ns <= t < stop_ns, and neighbours are at least 0.9 and less than 2 horizons apart.

    Raises:
        DataError: there would be more than anyone plays.
    """
    if stop_ns <= start_ns:
        return []
    horizon_ns = horizon_ms * NS_PER_MS
    if (stop_ns - start_ns) // horizon_ns > MAX_TICKS:
        raise DataError(
            f"{(stop_ns - start_ns) / 1e9:.0f} s in steps of {horizon_ms} ms: expected at most {MAX_TICKS} steps; the"
            " recording's clock was broken, or the steps are too short"
        )
    known = sorted(t for t in state_times_ns if start_ns <= t < stop_ns)
    first = known[0] if known else start_ns
    # Backwards over the time before the game's first state, then forwards.
    ticks = list(range(first - (first - start_ns) // horizon_ns * horizon_ns, first, horizon_ns))
    ticks.append(first)
    for t in known:
        # Only holes of more than a jittered tick are filled; what remains before t is under 2 horizons.
        while t - ticks[-1] >= (1 + _TICK_SLACK) * horizon_ns:
            ticks.append(ticks[-1] + horizon_ns)
        if t - ticks[-1] >= _TICK_SLACK * horizon_ns:
            ticks.append(t)
    return [*ticks, *range(ticks[-1] + horizon_ns, stop_ns, horizon_ns)]


def cut_session(
    start_ns: int,
    stop_ns: int,
    *,
    ticks_ns: Sequence[int],
    goals: Sequence[Goal] = (),
    input_times_ns: Sequence[int] = (),
    excluded_ns: Sequence[tuple[int, int]] = (),
    config: CutConfig | None = None,
) -> list[Clip]:
    """Return the clips of a session in order; they cover start_ns <= t < stop_ns exactly once.

    Args:
        start_ns: first moment of the session.
        stop_ns: first moment after it.
        ticks_ns: decision times from `tick_times`; a cut for a goal is moved to the first at which it holds, any other
            to the nearest.
        goals: the session's goals by time.
        input_times_ns: times of all input events, ascending.
        excluded_ns: spans that do not belong to the session, widened to the ticks around them.
        config: lengths; defaults to `CutConfig()`.
    """
    config = config or CutConfig()
    if stop_ns <= start_ns:
        return []
    pauses = [
        (_snap(begin, ticks_ns), _snap(end, ticks_ns))
        for begin, end in find_pauses(start_ns, stop_ns, input_times_ns, config.pause_ms)
    ]
    holes = [_widen(begin, end, ticks_ns, stop_ns) for begin, end in excluded_ns]
    begun = [first_tick_of(t, ticks_ns) for t in goal_changes(goals)]
    wanted = {t for t in begun if t is not None} | {t for span in (*pauses, *holes) for t in span}
    edges = [start_ns, *sorted(t for t in wanted if start_ns < t < stop_ns), stop_ns]
    clips: list[Clip] = []
    for begin, end in pairwise(edges):
        unused: ClipDrop | None = "excluded" if _lies_in(begin, end, holes) else None
        unused = unused or ("idle" if _lies_in(begin, end, pauses) else None)
        pieces = [(begin, end)] if unused else _split(begin, end, ticks_ns, config.length_ms)
        for piece_begin, piece_end in pieces:
            short = piece_end - piece_begin < config.horizon_ms * NS_PER_MS
            clips.append(Clip(len(clips), piece_begin, piece_end, unused or ("too_short" if short else None)))
    return clips


def find_pauses(start_ns: int, stop_ns: int, input_times_ns: Sequence[int], pause_ms: int) -> Iterator[tuple[int, int]]:
    """Yield the spans longer than `pause_ms` in which nothing was pressed, turned or moved."""
    inside = [t for t in input_times_ns if start_ns <= t < stop_ns]
    for begin, end in pairwise([start_ns, *inside, stop_ns]):
        if end - begin > pause_ms * NS_PER_MS:
            yield begin, end


def goal_changes(goals: Sequence[Goal]) -> list[int]:
    """Return the times at which a source's goal of a level becomes another text, its first goal's among them."""
    changes: list[int] = []
    last: dict[tuple[str, str], str] = {}
    for goal in sorted(goals, key=lambda goal: goal.t_ns):
        # Source by source: a person's goal may take the place of the game's though its words were said before.
        if last.get((goal.level, goal.source)) != goal.text:
            changes.append(goal.t_ns)
        last[goal.level, goal.source] = goal.text
    return changes


def goal_at(goals: Sequence[Goal], t_ns: int, level: GoalLevel) -> Goal | None:
    """Return the goal of a level that holds at a time, or None before the first and after one with an empty text.

    What a person told holds until that person tells another or takes it back, whatever the game tells meanwhile.
    """
    known = [goal for goal in goals if goal.level == level and goal.t_ns <= t_ns]
    by_person = [goal for goal in known if goal.source == "human"]
    for told in (by_person, [goal for goal in known if goal.source != "human"]):
        latest = max(told, key=lambda goal: goal.t_ns, default=None)
        if latest is not None and latest.text.strip():
            return latest
    return None


def first_tick_of(told_ns: int, ticks_ns: Sequence[int]) -> int | None:
    """Return the first tick at which a goal told at a time holds; None if there is none left."""
    place = bisect_left(ticks_ns, told_ns - TOLD_LATE_NS)
    return ticks_ns[place] if place < len(ticks_ns) else None


def count_drops(clips: Iterable[Clip]) -> Counter[str]:
    """Count the clips that are not used, by reason."""
    return Counter(clip.dropped for clip in clips if clip.dropped is not None)


def _lies_in(begin_ns: int, end_ns: int, spans: Sequence[tuple[int, int]]) -> bool:
    return any(span_begin <= begin_ns and end_ns <= span_end for span_begin, span_end in spans)


def _widen(begin_ns: int, end_ns: int, ticks_ns: Sequence[int], stop_ns: int) -> tuple[int, int]:
    """Return a span from the last tick at or before it to the first at or after it."""
    before, after = bisect_right(ticks_ns, begin_ns), bisect_left(ticks_ns, end_ns)
    return ticks_ns[before - 1] if before else begin_ns, ticks_ns[after] if after < len(ticks_ns) else stop_ns


def _snap(t_ns: int, ticks_ns: Sequence[int]) -> int:
    after = bisect_left(ticks_ns, t_ns)
    near = ticks_ns[max(after - 1, 0) : after + 1]
    return min(near, key=lambda tick: abs(tick - t_ns)) if near else t_ns


def _split(begin_ns: int, end_ns: int, ticks_ns: Sequence[int], length_ms: int) -> list[tuple[int, int]]:
    # Equal pieces rather than full ones and a scrap: a scrap of one tick has no goal to be seen.
    pieces = math.ceil((end_ns - begin_ns) / (length_ms * NS_PER_MS))
    inner = {_snap(begin_ns + (end_ns - begin_ns) * i // pieces, ticks_ns) for i in range(1, pieces)}
    return list(pairwise([begin_ns, *sorted(t for t in inner if begin_ns < t < end_ns), end_ns]))
