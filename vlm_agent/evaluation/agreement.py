"""How closely two recordings of the same play agree in what a model would learn from them.

One was made inside the game, say, the other by a recorder of the screen. Their clocks differ, so the second is laid
over the first by the presses both hold; then every window of the one is held against that of the other at the same
tick, and every action of its target against the nearest of the same kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from vlm_agent.actions.events import ButtonChanged, InputEvent, KeyChanged
from vlm_agent.actions.types import Action, Click, Key, Move, Scroll
from vlm_agent.dataset.windows import Window
from vlm_agent.errors import DataError

NS_PER_MS = 1_000_000
SAME_TICK_MS = 200
"""Windows that start within this much of each other are of the same tick, a third of the usual horizon."""
SAME_ACTION_MS = 100
"""Actions of the same kind within this much of each other may be the same."""
_FEWEST_PRESSES = 5


@dataclass(frozen=True)
class Spread:
    """Differences, without sign."""

    median: float
    """Half are at most this."""
    p95: float
    """95 of 100 are at most this."""
    largest: float
    """All are at most this."""

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread | None:
        """Return the spread of differences; None of none."""
        if not len(values):
            return None
        found = np.abs(np.asarray(values, float))
        return cls(float(np.median(found)), float(np.percentile(found, 95)), float(found.max()))


@dataclass(frozen=True)
class Agreement:
    """Two datasets of the same play, held against each other."""

    num_windows: int
    """Windows of the first whose whole horizon both recordings hold."""
    num_paired: int
    """Those of them that have a window of the second at the same tick."""
    num_presses: int
    """Clicks, keys and scrolls in the paired windows of the first."""
    num_same_presses: int
    """Those that the second has too: same kind, button or key, near in time."""
    num_extra_presses: int
    """What the second has beside them."""
    num_moves: int
    """Way-points in the paired windows of the first."""
    num_same_moves: int
    """Those that the second has too."""
    tick_ms: Spread | None
    """How far apart paired windows start."""
    press_ms: Spread | None
    """How far apart in time the same presses are, in their own windows."""
    press_px: Spread | None
    """How far apart on the screen the same clicks and scrolls are, the larger of both axes."""
    move_px: Spread | None
    """How far apart the same way-points are."""

    def to_json(self) -> dict[str, Any]:
        """Return the plain-data form."""
        return asdict(self)


def measure_agreement(first: Sequence[Window], second: Sequence[Window]) -> Agreement:
    """Hold the targets of two datasets of the same play against each other.

    Args:
        first: windows of one session, any goal levels; each tick is taken once.
        second: windows of the other recording, on a clock of its own.

    Raises:
        DataError: there are too few presses to lay one over the other.
    """
    one, two = _by_tick(first), _by_tick(second)
    shift_ns = _find_shift(one, two)
    two = {t_ns - shift_ns: window for t_ns, window in two.items()}
    begin_ns, end_ns = max(min(one), min(two)), min(max(one), max(two))
    slack_ns = SAME_TICK_MS * NS_PER_MS
    within = [t_ns for t_ns in sorted(one) if begin_ns - slack_ns <= t_ns <= end_ns + slack_ns]
    others = np.asarray(sorted(two))
    pairs = []
    for t_ns in within:
        nearest = int(others[np.abs(others - t_ns).argmin()])
        if abs(nearest - t_ns) <= slack_ns:
            pairs.append((t_ns, nearest))
    tally = _Tally()
    for t_ns, other_ns in pairs:
        tally.add(one[t_ns].target.actions, two[other_ns].target.actions)
    return Agreement(
        num_windows=len(within),
        num_paired=len(pairs),
        num_presses=tally.num_presses,
        num_same_presses=len(tally.press_ms),
        num_extra_presses=tally.num_other_presses - len(tally.press_ms),
        num_moves=tally.num_moves,
        num_same_moves=len(tally.move_px),
        tick_ms=Spread.of([(other_ns - t_ns) / NS_PER_MS for t_ns, other_ns in pairs]),
        press_ms=Spread.of(tally.press_ms),
        press_px=Spread.of(tally.press_px),
        move_px=Spread.of(tally.move_px),
    )


@dataclass(frozen=True)
class PressAgreement:
    """The presses of two recordings of the same play, as their devices gave them."""

    num_presses: int
    """Presses of keys and buttons in the first, as far as the second goes."""
    num_same: int
    """Those that the second has too."""
    num_extra: int
    """What the second has beside them."""
    ms: Spread | None
    """How far apart in time the same presses are."""
    px: Spread | None
    """How far apart on the screen the same clicks are, the larger of both axes."""

    def to_json(self) -> dict[str, Any]:
        """Return the plain-data form."""
        return asdict(self)


def measure_presses(first: Sequence[InputEvent], second: Sequence[InputEvent]) -> PressAgreement:
    """Hold the presses of two recordings of the same play against each other, each with the nearest of its kind.

    Args:
        first: device events in order of time.
        second: those of the other recording, on a clock of its own.

    Raises:
        DataError: there are too few presses to lay one over the other.
    """
    one, two = _list_downs(first), _list_downs(second)
    shift_ns = _best_shift([(t_ns, kind) for t_ns, kind, _ in one], [(t_ns, kind) for t_ns, kind, _ in two])
    left = [(t_ns - shift_ns, kind, at) for t_ns, kind, at in two]
    slack_ns = SAME_ACTION_MS * NS_PER_MS
    within = [press for press in one if left[0][0] - slack_ns <= press[0] <= left[-1][0] + slack_ns]
    times_ms, places_px = [], []
    for t_ns, kind, at in within:
        kin = [press for press in left if press[1] == kind and abs(press[0] - t_ns) <= slack_ns]
        if kin:
            found = min(kin, key=lambda press: abs(press[0] - t_ns))
            left.remove(found)
            times_ms.append((found[0] - t_ns) / NS_PER_MS)
            if at is not None and found[2] is not None:
                places_px.append(max(abs(at[0] - found[2][0]), abs(at[1] - found[2][1])))
    return PressAgreement(len(within), len(times_ms), len(left), Spread.of(times_ms), Spread.of(places_px))


class _Tally:
    """Differences of the actions of paired windows."""

    def __init__(self) -> None:
        self.num_presses = self.num_other_presses = self.num_moves = 0
        self.press_ms: list[float] = []
        self.press_px: list[float] = []
        self.move_px: list[float] = []

    def add(self, one: Sequence[Action], two: Sequence[Action]) -> None:
        """Match the actions of two targets in order of time, each with the nearest left of its kind."""
        mine, left = _dated(one), _dated(two)
        self.num_presses += sum(not isinstance(action, Move) for _, action in mine)
        self.num_other_presses += sum(not isinstance(action, Move) for _, action in left)
        self.num_moves += sum(isinstance(action, Move) for _, action in mine)
        for at_ms, action in mine:
            kin = [pair for pair in left if _kind(pair[1]) == _kind(action) and abs(pair[0] - at_ms) <= SAME_ACTION_MS]
            if not kin:
                continue
            found = min(kin, key=lambda pair: abs(pair[0] - at_ms))
            left.remove(found)
            self._note(at_ms, action, *found)

    def _note(self, at_ms: int, action: Action, other_ms: int, other: Action) -> None:
        distance_px = _distance_px(action, other)
        if isinstance(action, Move):
            assert distance_px is not None
            self.move_px.append(distance_px)
            return
        self.press_ms.append(other_ms - at_ms)
        if distance_px is not None:
            self.press_px.append(distance_px)


def _by_tick(windows: Sequence[Window]) -> dict[int, Window]:
    return {window.t_ns: window for window in windows}


def _dated(actions: Sequence[Action]) -> list[tuple[int, Action]]:
    at_ms, dated = 0, []
    for action in actions:
        at_ms += action.dt_ms
        dated.append((at_ms, action))
    return dated


def _kind(action: Action) -> tuple[object, ...]:
    if isinstance(action, Click):
        return "CLICK", action.button, action.state
    if isinstance(action, Key):
        return "KEY", action.key, action.state
    return ("SCROLL", action.dy) if isinstance(action, Scroll) else ("MOVE",)


def _distance_px(one: Action, two: Action) -> float | None:
    if isinstance(one, Key) or isinstance(two, Key):
        return None
    return float(max(abs(one.x - two.x), abs(one.y - two.y)))


def _find_shift(one: dict[int, Window], two: dict[int, Window]) -> int:
    return _best_shift(_list_presses(one), _list_presses(two))


def _best_shift(first: Sequence[tuple[int, object]], second: Sequence[tuple[int, object]]) -> int:
    """Return by how much the second clock is ahead, from the shift that brings most presses together."""
    if min(len(first), len(second)) < _FEWEST_PRESSES:
        raise DataError(
            f"it takes {_FEWEST_PRESSES} presses in each recording to lay one over the other, "
            f"there are {len(first)} and {len(second)}"
        )
    differences = [b_ns - a_ns for a_ns, a in first for b_ns, b in second if a == b]
    if not differences:
        raise DataError("the two recordings have no press in common; are they of the same play?")
    base_ns = min(differences)
    ordered = np.sort(np.asarray([difference - base_ns for difference in differences]))
    # The true shift stands out as the interval that holds most differences; others come by chance.
    ends = np.searchsorted(ordered, ordered + SAME_ACTION_MS * NS_PER_MS, side="right")
    fullest = int((ends - np.arange(len(ordered))).argmax())
    return base_ns + round(float(np.median(ordered[fullest : ends[fullest]])))


def _list_presses(windows: dict[int, Window]) -> list[tuple[int, tuple[object, ...]]]:
    return [
        (t_ns + at_ms * NS_PER_MS, _kind(action))
        for t_ns, window in sorted(windows.items())
        for at_ms, action in _dated(window.target.actions)
        if not isinstance(action, Move)
    ]


def _list_downs(events: Sequence[InputEvent]) -> list[tuple[int, tuple[str, str], tuple[int, int] | None]]:
    downs: list[tuple[int, tuple[str, str], tuple[int, int] | None]] = []
    for event in events:
        if isinstance(event, KeyChanged) and event.pressed:
            downs.append((event.t_ns, ("key", event.key), None))
        elif isinstance(event, ButtonChanged) and event.pressed:
            downs.append((event.t_ns, ("button", event.button), (event.x, event.y)))
    return downs
