"""How much, and which combinations: what is never injected, whatever was asked for.

Points of a path come every 20 ms, so moves have a limit of their own; presses and notches share the limit on events.
A release is never limited: letting go is always right.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from vlm_agent.actions.playback import NS_PER_MS
from vlm_agent.errors import ConfigError
from vlm_agent.executors.devices import Control
from vlm_agent.safety.rules import DANGEROUS_COMBOS, is_combo_down

_SECOND_NS = 1000 * NS_PER_MS


class Limited(StrEnum):
    """Why something was not injected."""

    EVENTS = "too_many_events"
    CLICKS = "too_many_clicks"
    TEXT = "too_much_text"
    MOVES = "too_many_moves"
    COMBINATION = "combination"


@dataclass(frozen=True)
class Limits:
    """Most of each kind within any one second, and what may not be held together."""

    events_per_s: int = 30
    """Presses of keys and buttons, and wheel notches."""
    clicks_per_s: int = 8
    """Presses of buttons."""
    text_per_s: int = 15
    """Presses of keys that type something."""
    moves_per_s: int = 120
    """Points of pointer paths; a path has 50."""
    denied: tuple[frozenset[str], ...] = DANGEROUS_COMBOS
    """Sets of keys that may not be down together; a set of one denies that key."""

    def __post_init__(self) -> None:
        """Raise ConfigError for limits that allow nothing."""
        if min(self.events_per_s, self.clicks_per_s, self.text_per_s, self.moves_per_s) < 1:
            raise ConfigError("limits a second must be at least 1")


@dataclass
class LimitKeeper:
    """Remembers the last second."""

    limits: Limits = field(default_factory=Limits)
    """What is kept."""
    _events_ns: deque[int] = field(default_factory=deque, init=False)
    _clicks_ns: deque[int] = field(default_factory=deque, init=False)
    _text_ns: deque[int] = field(default_factory=deque, init=False)
    _moves_ns: deque[int] = field(default_factory=deque, init=False)

    def judge_move(self, now_ns: int) -> Limited | None:
        """Return why the pointer may not be moved now, or None and count it as done."""
        return self._take(now_ns, [(self._moves_ns, self.limits.moves_per_s, Limited.MOVES)])

    def judge_wheel(self, notches: int, now_ns: int) -> Limited | None:
        """Return why the wheel may not be turned now, or None and count it as done."""
        return self._take(now_ns, [(self._events_ns, self.limits.events_per_s, Limited.EVENTS)], notches)

    def judge_press(self, control: Control, down: Iterable[str], now_ns: int) -> Limited | None:
        """Return why something may not be pressed now, or None and count it as done.

        Args:
            control: what is to be pressed.
            down: names of the keys that are down already, whoever holds them.
            now_ns: the time.
        """
        if control.kind == "key" and is_combo_down(self.limits.denied, [*down, control.name]):
            return Limited.COMBINATION
        counted = [(self._events_ns, self.limits.events_per_s, Limited.EVENTS)]
        if control.kind == "button":
            counted.append((self._clicks_ns, self.limits.clicks_per_s, Limited.CLICKS))
        elif len(control.name) == 1 or control.name == "space":
            counted.append((self._text_ns, self.limits.text_per_s, Limited.TEXT))
        return self._take(now_ns, counted)

    def _take(self, now_ns: int, counted: list[tuple[deque[int], int, Limited]], number: int = 1) -> Limited | None:
        for times_ns, most, reason in counted:
            while times_ns and times_ns[0] <= now_ns - _SECOND_NS:
                times_ns.popleft()
            if len(times_ns) + number > most:
                return reason
        for times_ns, _, _ in counted:
            times_ns.extend([now_ns] * number)
        return None
