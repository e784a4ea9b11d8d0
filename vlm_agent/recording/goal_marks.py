"""The goals a player marks while recording: the next of a list, or typed after the fact and dated when it was meant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vlm_agent.sessions.types import Goal


class GoalMarks:
    """Which goals were told; some may be taken back."""

    def __init__(self, goals: Sequence[str], long_goal: str | None, start_ns: int) -> None:
        """Take the list, the goal of the whole play, and the session's first moment."""
        self._waiting = list(goals)
        self._has_list = bool(goals)
        self._asked_ns: int | None = None
        self.told: list[Goal] = []
        """Goals that hold, in order of their time."""
        if long_goal:
            self.told.append(Goal(start_ns, long_goal, "long", "human"))

    @property
    def is_asking(self) -> bool:
        """Whether a goal was marked and is still to be typed."""
        return self._asked_ns is not None

    def mark(self, t_ns: int) -> Goal | None:
        """Return the next goal of the list, told from now on; None if it is to be typed, or the list is at its end."""
        if not self._has_list:
            self._asked_ns = t_ns
            return None
        return self._tell(t_ns, self._waiting.pop(0)) if self._waiting else None

    def type(self, t_ns: int, text: str) -> Goal | None:
        """Return the goal that was typed, dated when its key was pressed, or now; None for an empty line."""
        asked_ns, self._asked_ns = self._asked_ns, None
        return self._tell(t_ns if asked_ns is None else asked_ns, text.strip()) if text.strip() else None

    def take_back(self, start_ns: int, stop_ns: int) -> Goal | None:
        """Forget the goals of such a span; return the goal of the whole play if it is to be told anew at its end."""
        lost = [goal for goal in self.told if start_ns <= goal.t_ns < stop_ns]
        self.told = [goal for goal in self.told if goal not in lost]
        if self._has_list:
            self._waiting = [goal.text for goal in lost if goal.level == "short"] + self._waiting
        long = next((goal for goal in lost if goal.level == "long"), None)
        if long is None:
            return None
        again = replace(long, t_ns=stop_ns)
        self.told.insert(0, again)
        return again

    def _tell(self, t_ns: int, text: str) -> Goal:
        goal = Goal(t_ns, text, "short", "human")
        self.told.append(goal)
        return goal
