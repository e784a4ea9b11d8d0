"""What the windows of a split hold: how much of each action, how often nothing, which goals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vlm_agent.actions.validation import EVENT_NAMES
from vlm_agent.dataset.windows import Window

if TYPE_CHECKING:
    from rich.table import Table

_MOST_GOALS = 50
"""Goals listed in a manifest, the most frequent first."""


@dataclass
class WindowStatistics:
    """Counts over the windows of one split; grows window by window."""

    windows: int = 0
    """Windows seen."""
    idle: int = 0
    """Windows whose target is empty."""
    events: Counter[str] = field(default_factory=Counter)
    """Target actions by kind: CLICK, KEY, SCROLL, MOVE."""
    actions_per_window: Counter[int] = field(default_factory=Counter)
    """How many windows have how many actions."""
    goals: Counter[str] = field(default_factory=Counter)
    """Windows by goal text."""
    levels: Counter[str] = field(default_factory=Counter)
    """Windows by goal level."""

    def add(self, window: Window) -> None:
        """Count one window."""
        actions = window.target.actions
        self.windows += 1
        self.idle += not actions
        self.events.update(EVENT_NAMES[type(action)] for action in actions)
        self.actions_per_window[len(actions)] += 1
        self.goals[window.goal] += 1
        self.levels[window.goal_level] += 1

    @property
    def idle_share(self) -> float:
        """Share of the windows in which nothing is done, 0 to 1."""
        return self.idle / self.windows if self.windows else 0.0

    @property
    def mean_actions(self) -> float:
        """Actions in a window, on average."""
        return self.events.total() / self.windows if self.windows else 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the plain-data form that a manifest stores."""
        return {
            "windows": self.windows,
            "idle_share": round(self.idle_share, 4),
            "mean_actions": round(self.mean_actions, 3),
            "events": dict(sorted(self.events.items())),
            "actions_per_window": {str(n): count for n, count in sorted(self.actions_per_window.items())},
            "levels": dict(sorted(self.levels.items())),
            "goals": dict(self.goals.most_common(_MOST_GOALS)),
            "different_goals": len(self.goals),
        }


def statistics_table(statistics: Mapping[str, Mapping[str, Any]]) -> Table:
    """Return a table for the terminal, one row a split, from a manifest's `statistics`."""
    from vlm_agent.terminal import TextTable

    table = TextTable(title="windows")
    for column in ("split", "windows", "idle", "actions each", "clicks", "keys", "scrolls", "moves", "goals"):
        table.add_column(column, justify="left" if column == "split" else "right")
    for split, counts in statistics.items():
        events = counts["events"]
        table.add_row(
            split,
            str(counts["windows"]),
            f"{counts['idle_share']:.0%}",
            f"{counts['mean_actions']:.2f}",
            *(str(events.get(event, 0)) for event in ("CLICK", "KEY", "SCROLL", "MOVE")),
            str(counts["different_goals"]),
        )
    return table
