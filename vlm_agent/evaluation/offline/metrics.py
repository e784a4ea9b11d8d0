"""The metrics of recorded windows: what they are called, which way is better, and what was once hoped for.

Imports nothing heavy: the command line reads its help from here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vlm_agent.errors import ConfigError

SURE = 0.05
"""A difference whose p, corrected for all that was tested beside it, is below this is taken for real."""


@dataclass(frozen=True)
class ScoreConfig:
    """When two actions count as the same."""

    tolerance_ms: float = 300.0
    """Farthest apart in time that two actions are matched."""
    near_px: float = 10.0
    """Farthest apart that two points count as the same in the F1 with detail."""

    def __post_init__(self) -> None:
        """Raise ConfigError for a tolerance that can't be meant."""
        if min(self.tolerance_ms, self.near_px) < 0:
            raise ConfigError("--score.tolerance-ms and .near-px must not be negative")


@dataclass(frozen=True)
class OfflineMetric:
    """One row of the table."""

    key: str
    """Its name in tallies and in `evaluation.json`."""
    label: str
    """What people read."""
    unit: Literal["%", "ms", "px", ""] = "%"
    """Shares are written in percent."""
    more_is_better: bool = True
    """Which way is better."""
    hoped: float | None = None
    """What the project was once meant to reach, in the unit of the value (shares: 0 to 1)."""


OFFLINE_METRICS = (
    OfflineMetric("valid", "answers read"),
    OfflineMetric("event_right", "events right", hoped=0.80),
    OfflineMetric("acts_when_player_does", "acts or waits alike"),
    OfflineMetric("f1_kind", "F1 of kinds"),
    OfflineMetric("f1_detail", "F1 in detail"),
    OfflineMetric("f1_click", "F1 of clicks", hoped=0.80),
    OfflineMetric("f1_key", "F1 of keys", hoped=0.75),
    OfflineMetric("f1_scroll", "F1 of scrolls"),
    OfflineMetric("f1_move", "F1 of moves", hoped=0.85),
    OfflineMetric("key_right", "right key"),
    OfflineMetric("button_right", "right button"),
    OfflineMetric("click_in_bounds", "clicks inside the same bounds"),
    OfflineMetric("distance_px", "distance", "px", more_is_better=False, hoped=200.0),
    OfflineMetric("within_5_px", "within 5 px"),
    OfflineMetric("within_10_px", "within 10 px"),
    OfflineMetric("within_25_px", "within 25 px"),
    OfflineMetric("time_error_ms", "time error", "ms", more_is_better=False, hoped=50.0),
    OfflineMetric("count_error", "actions too many or few", "", more_is_better=False),
    OfflineMetric("edit_distance", "edit distance", more_is_better=False),
    OfflineMetric("sequence_exact", "list right, times and places apart", hoped=0.80),
    OfflineMetric("exact", "answer right to the digit"),
)
"""In the order of the table. Hopes are those of the documents that the project comes from."""
