"""The metrics of recorded windows: what they are called, which way is better, and what was once hoped for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


SURE = 0.05
"""A difference whose p, corrected for all that was tested beside it, is below this is taken for real."""


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
