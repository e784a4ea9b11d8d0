"""Which of a session's actions are said where a window holds more than may be: no half of a press without the other.

A held key or button is two actions, which may lie in different windows. What does not fit is left out from the end of a
window, both halves of a hold together; a hold that was said is let go of in the window in which the player let go.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

from vlm_agent.actions.types import Action, Click, Key
from vlm_agent.dataset.events import Timeline

_LAST_NS = 1
"""Before a window's end."""


@dataclass
class FittedActions:
    """What each window of a session says, moves apart."""

    windows: list[list[tuple[int, Action]]] = field(default_factory=list)
    """For each window its actions with their times in nanoseconds, ascending."""
    overflow: int = 0
    """Actions left out because a window held too many, or because their other half was left out so."""
    between: int = 0
    """Actions left out because they, or their other half, lie in no window."""


def fit_actions(timeline: Timeline, spans: Sequence[tuple[int, int]], most: int) -> FittedActions:
    """Return the actions of each window.

    A release between two windows is said at the end of the one before it.

    Args:
        timeline: the session's actions.
        spans: start and stop of each window, ascending and apart.
        most: how many actions a window may say.
    """
    fitter = _Fitter(timeline, most)
    firsts = [bisect_left(timeline.times_ns, start_ns) for start_ns, _ in spans]
    lasts = [bisect_left(timeline.times_ns, stop_ns) for _, stop_ns in spans]
    nexts = [*firsts[1:], len(timeline.actions)]
    fitter.lose(range(firsts[0] if firsts else len(timeline.actions)), is_between=True)
    for (_, stop_ns), first, last, following in zip(spans, firsts, lasts, nexts, strict=True):
        fitter.fit(first, last, following, stop_ns)
    return fitter.fitted


class _Fitter:
    """Takes one window after another."""

    def __init__(self, timeline: Timeline, most: int) -> None:
        self.fitted = FittedActions()
        self._timeline = timeline
        self._most = most
        self._release_of, self._press_of = _pair(timeline.actions)
        self._lost: dict[int, bool] = {}
        """Actions that are said nowhere: whether for lying between windows."""
        self._held = 0
        """Presses that were said and are to be let go of in a later window."""

    def fit(self, first: int, last: int, following: int, stop_ns: int) -> None:
        """Choose of the actions of a window; those from its end to the next window's start are given too."""
        # A release is said if its press was, whatever else there is no room for then.
        here = [i for i in range(first, last) if not self._follow_press(i)]
        late = [
            i for i in range(last, following) if i in self._press_of and self._press_of[i] < last
            and not self._follow_press(i)
        ]  # fmt: skip
        kept = {i for i in (*here, *late) if self._press_of.get(i, first) < first}
        self._held -= len(kept)
        is_full, near = False, {*here, *late}
        for i in here:
            if i in self._press_of:
                continue
            release = self._release_of.get(i)
            unit = [i] if release is None or release not in near else [i, release]
            stays = _is_half(self._timeline.actions[i], "down") and len(unit) == 1
            # So many may be held that a window in which all are let go of can say so.
            is_full = is_full or len(kept) + len(unit) > self._most or self._held + stays > self._most
            if is_full:
                self.lose(unit, is_between=False)
            else:
                kept.update(unit)
                self._held += stays
        self.lose([i for i in range(last, following) if i not in kept], is_between=True)
        times_ns = self._timeline.times_ns
        said = [(min(times_ns[i], stop_ns - _LAST_NS), self._timeline.actions[i]) for i in sorted(kept)]
        self.fitted.windows.append(said)

    def lose(self, indices: Sequence[int], *, is_between: bool) -> None:
        """Say some actions nowhere, and count them."""
        for i in indices:
            if i not in self._lost:
                self._lost[i] = is_between
                self.fitted.between += is_between
                self.fitted.overflow += not is_between

    def _follow_press(self, i: int) -> bool:
        """Lose a release whose press is lost, for the same reason; tell whether it is."""
        press = self._press_of.get(i)
        if press in self._lost:
            self.lose([i], is_between=self._lost[press])
        return i in self._lost


def _pair(actions: Sequence[Action]) -> tuple[dict[int, int], dict[int, int]]:
    """Return for each press of a hold the index of its release, and the other way round."""
    waiting: dict[tuple[type, str], int] = {}
    release_of: dict[int, int] = {}
    for i, action in enumerate(actions):
        if _is_half(action, "down"):
            waiting[_name(action)] = i
        elif _is_half(action, "up") and (press := waiting.pop(_name(action), None)) is not None:
            release_of[press] = i
    return release_of, {release: press for press, release in release_of.items()}


def _is_half(action: Action, state: str) -> bool:
    return isinstance(action, Click | Key) and action.state == state


def _name(action: Action) -> tuple[type, str]:
    assert isinstance(action, Click | Key)
    return type(action), action.button if isinstance(action, Click) else action.key
