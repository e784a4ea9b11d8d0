"""The metrics of recorded windows, of answers and of read-outs: their names, which way is better, what was once hoped.

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
    wanted: float | None = None
    """What an honest contender has, where neither more nor less is better."""
    player: str | None = None
    """Name in tallies of the player's own value, where he has one."""


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
    OfflineMetric("actions", "actions in a window", "", player="player_actions"),
    OfflineMetric("count_error", "actions too many or few", "", more_is_better=False),
    OfflineMetric("edit_distance", "edit distance", more_is_better=False),
    OfflineMetric("sequence_exact", "list right, times and places apart", hoped=0.80),
    OfflineMetric("exact", "answer right to the digit"),
    OfflineMetric("click_on_something", "clicks on something", player="player_on_something"),
    OfflineMetric("pairing", "halves of presses that pair"),
    OfflineMetric("possible_speed", "pointer as fast as the player's"),
    OfflineMetric("stutter", "clicks again where the player does not", more_is_better=False),
    OfflineMetric("consistent", "answers that hang together"),
)
"""In the order of the table. Hopes are those of the documents that the project comes from."""


FORCED_METRICS = (
    OfflineMetric("event_right", "next event right"),
    OfflineMetric("event_ece", "its confidence is off by (ECE)", more_is_better=False),
    OfflineMetric("step_right", "step right"),
    OfflineMetric("dt_error_ms", "time, error of the median", "ms", more_is_better=False, hoped=50.0),
    OfflineMetric("dt_pinball_10_ms", "time, loss at q10", "ms", more_is_better=False),
    OfflineMetric("dt_pinball_50_ms", "time, loss at q50", "ms", more_is_better=False),
    OfflineMetric("dt_pinball_90_ms", "time, loss at q90", "ms", more_is_better=False),
    OfflineMetric("dt_crps_ms", "time, CRPS", "ms", more_is_better=False),
    OfflineMetric("dt_inside", "times from q10 to q90", wanted=0.8),
    OfflineMetric("dt_covered", "times in the central 80%", wanted=0.8),
    OfflineMetric("click_error_px", "click, distance of the medians", "px", more_is_better=False, hoped=200.0),
    OfflineMetric("click_crps_px", "click, CRPS along an axis", "px", more_is_better=False),
    OfflineMetric("click_covered", "click axes in the central 80%", wanted=0.8),
    OfflineMetric("off_grammar", "probability off the grammar", more_is_better=False),
    OfflineMetric("bits_window", "bits of a window's actions", "", more_is_better=False),
    *(
        OfflineMetric(f"bits_{part}", f"bits of {what}", "", more_is_better=False)
        for part, what in (
            ("stop", "going on or stopping"),
            ("event", "a kind of action"),
            ("dt", "a time"),
            ("x", "an x"),
            ("y", "a y"),
            ("dy", "a turn of the wheel"),
            ("button", "a button"),
            ("key", "a key"),
            ("state", "a half or full press"),
            ("step", "a step"),
            ("structure", "a window's structure"),
        )
    ),
)
"""The metrics of read-outs, in the order of the table: what was expected, given all that the player wrote before."""

SHARES = frozenset(metric.key for metric in (*OFFLINE_METRICS, *FORCED_METRICS) if metric.unit == "%")
"""Keys of what lies between 0 and 1."""
