"""When a player acts: pauses, reactions and what follows what, from movements, presses and the game's states.

An act is a movement, a press of a button or key, or a turn of the wheel. Sessions are compared in pieces of about one
length: a pause of ten seconds can't be seen in a recording of four, so that without it the longer recordings would
always look slower. Whatever reaches from one piece into another is left out, as it would be at a recording's end.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from vlm_agent.actions.playback import NS_PER_MS
from vlm_agent.evaluation.likeness.movements import Movement
from vlm_agent.evaluation.likeness.streams import InputStream, Press

LONGEST_REACTION_MS = 3000.0
"""Who acts later than this after a change waited for something else."""
SHORTEST_IDLE_MS = 200.0
"""Shorter pauses between two acts are part of acting."""
LONGEST_REST_MS = 300.0
"""A press this long after a movement's end is still what the movement was for."""
_CALM_MS = 100.0
"""A change is reacted to only by a hand that has been at rest for this long."""
_ONE_TURN_MS = 200.0
"""Notches of the wheel that follow each other faster are one turn."""

_GOING_ON = 20
"""So many acts back one may still go on, as a key that is held while the pointer clicks."""

MOVE, LEFT, RIGHT, OTHER_BUTTON, KEY, SCROLL = "move", "left click", "right click", "other click", "key", "scroll"
KINDS = (MOVE, LEFT, RIGHT, OTHER_BUTTON, KEY, SCROLL)
"""Kinds of act."""


@dataclass(frozen=True, slots=True)
class Act:
    """Something the player does."""

    start_ns: int
    """When it begins."""
    stop_ns: int
    """When it is over."""
    kind: str
    """One of `KINDS`."""


@dataclass(frozen=True)
class Pieces:
    """The pieces that a session is compared in."""

    edges_ns: tuple[tuple[int, int], ...]
    """Their starts and stops, in order of time."""

    def find(self, start_ns: int, stop_ns: int) -> int | None:
        """Return the piece that wholly holds a span, its ends included; none if no piece does."""
        index = bisect_right(self.edges_ns, (start_ns, 2**63)) - 1
        if index < 0 or stop_ns >= self.edges_ns[index][1]:
            return None
        return index

    def is_inside(self, start_ns: int, stop_ns: int) -> bool:
        """Tell whether one piece wholly holds a span."""
        return self.find(start_ns, stop_ns) is not None


def cut_pieces(spans_ns: Sequence[tuple[int, int]], length_ms: float) -> Pieces:
    """Cut spans into equal pieces, as many as make their length nearest to `length_ms`."""
    edges: list[tuple[int, int]] = []
    for start, stop in spans_ns:
        num = max(1, round((stop - start) / (length_ms * NS_PER_MS)))
        marks = [start + (stop - start) * index // num for index in range(num + 1)]
        edges += pairwise(marks)
    return Pieces(tuple(edges))


def list_acts(stream: InputStream, movements: Sequence[Movement]) -> list[Act]:
    """Return all acts of a session in order of their beginnings."""
    acts = [Act(one.start_ns, one.stop_ns, MOVE) for one in movements]
    buttons = {"left": LEFT, "right": RIGHT}
    acts += [Act(one.t_ns, one.stop_ns, buttons.get(one.name, OTHER_BUTTON)) for one in stream.presses]
    acts += [Act(one.t_ns, one.stop_ns, KEY) for one in stream.keys]
    before_ns = None
    for t_ns in stream.wheel_ns.tolist():
        if before_ns is None or t_ns - before_ns > _ONE_TURN_MS * NS_PER_MS:
            acts.append(Act(t_ns, t_ns, SCROLL))
        before_ns = t_ns
    return sorted(acts, key=lambda act: (act.start_ns, act.stop_ns))


def list_click_intervals(presses: Sequence[Press], pieces: Pieces) -> list[float]:
    """Return the times from one press of a button to the next, milliseconds."""
    return [
        (later.t_ns - one.t_ns) / NS_PER_MS
        for one, later in pairwise(presses)
        if pieces.is_inside(one.t_ns, later.t_ns)
    ]


def list_rests(presses: Sequence[Press], movements: Sequence[Movement], pieces: Pieces) -> list[tuple[float, Press]]:
    """Return for each press that a movement led to how long the pointer rested before it, milliseconds."""
    starts_ns = [movement.start_ns for movement in movements]
    rests = []
    for press in presses:
        index = bisect_right(starts_ns, press.t_ns - 1) - 1
        if index < 0 or not pieces.is_inside(starts_ns[index], press.t_ns):
            continue
        rest_ms = max(0.0, (press.t_ns - movements[index].stop_ns) / NS_PER_MS)
        if rest_ms <= LONGEST_REST_MS:
            rests.append((rest_ms, press))
    return rests


def list_reactions(stream: InputStream, acts: Sequence[Act], pieces: Pieces) -> list[float]:
    """Return the times from a change in the game to the next act, milliseconds.

    A change is a state with another situation than the one before (see `read_scene`); its time is that of the state,
    so that it is as late for everyone whose game exports its states equally often. It counts if the hand was at rest
    when it came, if nothing else changed before the act, and if the act came soon enough to have to do with it. What
    comes in under 100 ms was begun on a guess or by a clock; it is kept, for it tells players apart.
    """
    changes_ns = [later.t_ns for one, later in pairwise(stream.scenes) if one.situation != later.situation]
    starts_ns = [act.start_ns for act in acts]
    reactions = []
    busy_until_ns = -(2**62)
    place = 0
    for change_ns, following_ns in pairwise([*changes_ns, 2**62]):
        while place < len(acts) and starts_ns[place] < change_ns:
            busy_until_ns = max(busy_until_ns, acts[place].stop_ns)
            place += 1
        if place == len(acts) or busy_until_ns > change_ns - _CALM_MS * NS_PER_MS:
            continue
        act_ns = starts_ns[place]
        reaction_ms = (act_ns - change_ns) / NS_PER_MS
        is_first = act_ns < following_ns
        if is_first and reaction_ms <= LONGEST_REACTION_MS and pieces.is_inside(change_ns, act_ns):
            reactions.append(reaction_ms)
    return reactions


def list_idle_spans(acts: Sequence[Act], pieces: Pieces) -> list[float]:
    """Return the times between acts in which nothing is done, milliseconds."""
    spans, busy_until_ns = [], None
    for act in acts:
        if busy_until_ns is not None and pieces.is_inside(busy_until_ns, act.start_ns):
            idle_ms = (act.start_ns - busy_until_ns) / NS_PER_MS
            if idle_ms >= SHORTEST_IDLE_MS:
                spans.append(idle_ms)
        busy_until_ns = act.stop_ns if busy_until_ns is None else max(busy_until_ns, act.stop_ns)
    return spans


def list_transitions(acts: Sequence[Act], pieces: Pieces) -> list[tuple[str, str]]:
    """Return the kinds of each two acts that follow each other."""
    return [(one.kind, later.kind) for one, later in pairwise(acts) if pieces.is_inside(one.start_ns, later.start_ns)]


def count_per_minute(acts: Sequence[Act], pieces: Pieces) -> dict[str, list[float]]:
    """Return for each kind how often a minute it was done, one value a piece."""
    counts = {kind: [0] * len(pieces.edges_ns) for kind in KINDS}
    for act in acts:
        index = pieces.find(act.start_ns, act.start_ns)
        if index is not None:
            counts[act.kind][index] += 1
    minutes = [(stop - start) / NS_PER_MS / 60_000 for start, stop in pieces.edges_ns]
    return {
        kind: [count / length for count, length in zip(of_kind, minutes, strict=True)]
        for kind, of_kind in counts.items()
    }


def list_busy_shares(acts: Sequence[Act], pieces: Pieces) -> list[float]:
    """Return the share of each piece in which something was done, percent."""
    spans = _merge(acts)
    shares = []
    for start, stop in pieces.edges_ns:
        busy_ns = 0
        for index in range(bisect_right(spans, start, key=lambda span: span[1]), len(spans)):
            if spans[index][0] >= stop:
                break
            busy_ns += min(spans[index][1], stop) - max(spans[index][0], start)
        shares.append(100 * busy_ns / (stop - start))
    return shares


def _merge(acts: Sequence[Act]) -> list[tuple[int, int]]:
    """Return the spans in which at least one act is under way, in order and apart from each other."""
    spans: list[tuple[int, int]] = []
    for act in acts:
        if spans and act.start_ns <= spans[-1][1]:
            spans[-1] = spans[-1][0], max(spans[-1][1], act.stop_ns)
        else:
            spans.append((act.start_ns, act.stop_ns))
    return spans


def find_pause_before(acts: Sequence[Act], start_ns: int, pieces: Pieces) -> float | None:
    """Return how long nothing had been done when an act began, milliseconds; none where its piece doesn't tell."""
    index = bisect_left(acts, start_ns, key=lambda act: act.start_ns)
    if index == 0:
        return None
    # The act before may be over sooner than one that began earlier still; further back than a few none goes on.
    before_ns = min(start_ns, max(act.stop_ns for act in acts[max(0, index - _GOING_ON) : index]))
    return (start_ns - before_ns) / NS_PER_MS if pieces.is_inside(before_ns, start_ns) else None
