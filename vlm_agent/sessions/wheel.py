"""Turns of a mouse wheel, in whatever unit a recorder writes them, as whole notches.

Windows counts 120 to a notch, finer wheels send parts of that, and some programs write parts of a notch as fractions.
Parts add up until they make a notch; what remains of them at the end is told, so that nothing is lost unseen.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

UNITS_A_NOTCH = 120
"""What Windows counts while the wheel turns by one notch."""
_CERTAIN_UNITS = 30
"""Nobody turns so many notches between two reports of a mouse."""
_MEDIAN_UNITS = 10
_UNITS_SHARE = 1 / 3
_ROUNDING = 1e-9


def find_units_a_notch(turns: Sequence[float]) -> int:
    """Return how many units make a notch in a recording: 120 or 1.

    Args:
        turns: its turns of the wheel, one direction each.
    """
    whole = [abs(turn) for turn in turns if turn and turn == int(turn)]
    if not whole:
        return 1
    is_units = sum(turn >= _CERTAIN_UNITS for turn in whole) >= _UNITS_SHARE * len(whole)
    return UNITS_A_NOTCH if is_units or median(whole) >= _MEDIAN_UNITS else 1


class Notches:
    """Adds up turns of one wheel, each direction for itself: a whole notch is one whatever was begun the other way."""

    def __init__(self, units_a_notch: int) -> None:
        """Take what whole numbers count; fractions are always parts of a notch."""
        self._units = units_a_notch
        self._begun: dict[tuple[str, bool], float] = {}
        """Of each axis and direction: the part of a notch that was turned."""

    def add(self, dx: float, dy: float) -> tuple[int, int]:
        """Take a turn, right and up, and return the notches that are full with it."""
        return self._add("across", dx), self._add("up", dy)

    @property
    def has_rest(self) -> bool:
        """Whether parts of a notch were turned that made no whole one."""
        return any(abs(begun) > _ROUNDING for begun in self._begun.values())

    def _add(self, axis: str, turn: float) -> int:
        if not turn:
            return 0
        way = axis, turn > 0
        turned = self._begun.get(way, 0.0) + self._to_notches(turn)
        nearest = round(turned)
        whole = nearest if abs(turned - nearest) <= _ROUNDING else int(turned)
        self._begun[way] = turned - whole
        return whole

    def _to_notches(self, turn: float) -> float:
        is_units = turn == int(turn) and (self._units > 1 or abs(turn) >= _CERTAIN_UNITS)
        return turn / UNITS_A_NOTCH if is_units else turn
