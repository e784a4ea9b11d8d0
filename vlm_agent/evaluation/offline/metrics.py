"""The metrics of recorded windows, of answers and of read-outs: their names, which way is better, what was once hoped.

Imports nothing heavy: the command line reads its help from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
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
        if not all(0 <= value < inf for value in (self.tolerance_ms, self.near_px)):
            raise ConfigError(
                "--score.tolerance-ms and .near-px must be finite and not negative, "
                f"got {self.tolerance_ms:g} and {self.near_px:g}"
            )


@dataclass(frozen=True)
class Goal:
    """What a value is held against, and whose goal that is."""

    whose: Literal["player", "calibrated", "first plan"]
    """The player's own value; that of an honest forecast; or a hope of the documents that this project began with,
    which nobody has set for the game at hand."""
    value: float
    """In the unit of the metric (shares: 0 to 1)."""


@dataclass(frozen=True)
class OfflineMetric:
    """One row of the table."""

    key: str
    """Its name in tallies and in `evaluation.json`."""
    label: str
    """What people read, and of what it is taken; a rule of matching has placeholders named as in `ScoreConfig`."""
    unit: Literal["%", "ms", "px", ""] = "%"
    """Shares are written in percent."""
    more_is_better: bool = True
    """Which way is better."""
    hoped: float | None = None
    """What the project's first plan hoped for, in the unit of the value (shares: 0 to 1)."""
    wanted: float | None = None
    """What an honest contender has, where neither more nor less is better."""
    player: str | None = None
    """Name in tallies of the player's own value, where he has one."""

    def tell(self, config: ScoreConfig) -> str:
        """Return the label with the rule that actions were matched by."""
        return self.label.format(tolerance_ms=f"{config.tolerance_ms:g}", near_px=f"{config.near_px:g}")

    def find_goal(self, player: Mapping[str, float]) -> Goal | None:
        """Return what the value is held against, if anything; `player` holds the player's own values by key."""
        if self.key in player:
            return Goal("player", player[self.key])
        if self.wanted is not None:
            return Goal("calibrated", self.wanted)
        return None if self.hoped is None else Goal("first plan", self.hoped)


MATCHED = "matched by kind within {tolerance_ms} ms"
"""The rule of errors that only a matched action has."""
ALIKE = "kind, key or button, within {tolerance_ms} ms and {near_px} px"
"""When an action counts as the player's in the F1 in detail."""

# Shares are of what the player did: what an answer leaves out is wrong, and a window in which the player waits counts
# apart. Whoever answers nothing would otherwise be right most of the time.
OFFLINE_METRICS = (
    OfflineMetric("valid", "answers read"),
    OfflineMetric("event_right", "events right (kind, within {tolerance_ms} ms) where the player acts", hoped=0.80),
    OfflineMetric("acts_when_player_does", "acts where the player acts"),
    OfflineMetric("idle_right", "waits where the player waits"),
    OfflineMetric("done_right", "says it is done where it is"),
    OfflineMetric("f1_kind", "F1 of kinds within {tolerance_ms} ms"),
    OfflineMetric("f1_detail", f"F1 in detail ({ALIKE})"),
    OfflineMetric("f1_click", "F1 of clicks within {tolerance_ms} ms", hoped=0.80),
    OfflineMetric("f1_key", "F1 of keys within {tolerance_ms} ms", hoped=0.75),
    OfflineMetric("f1_scroll", "F1 of scrolls within {tolerance_ms} ms"),
    OfflineMetric("f1_move", "F1 of moves within {tolerance_ms} ms", hoped=0.85),
    OfflineMetric("key_right", "right key within {tolerance_ms} ms, of the player's keys"),
    OfflineMetric("button_right", "right button within {tolerance_ms} ms, of the player's clicks"),
    OfflineMetric("click_in_bounds", "clicks inside the same bounds within {tolerance_ms} ms, of the player's"),
    OfflineMetric("distance_px", f"distance of points {MATCHED}", "px", more_is_better=False, hoped=200.0),
    OfflineMetric("within_5_px", "points within 5 px and {tolerance_ms} ms, of the player's"),
    OfflineMetric("within_10_px", "points within 10 px and {tolerance_ms} ms, of the player's"),
    OfflineMetric("within_25_px", "points within 25 px and {tolerance_ms} ms, of the player's"),
    OfflineMetric("time_error_ms", f"time error of actions {MATCHED}", "ms", more_is_better=False, hoped=50.0),
    OfflineMetric("actions", "actions in a window", "", player="player_actions"),
    OfflineMetric("count_error", "actions too many or few where the player acts", "", more_is_better=False),
    OfflineMetric("edit_distance", "edit distance", more_is_better=False),
    OfflineMetric("sequence_exact", "list right, times and places apart, where the player acts", hoped=0.80),
    OfflineMetric("exact", "answer right to the digit where the player acts"),
    OfflineMetric("click_on_something", "own clicks that are on something", player="player_on_something"),
    OfflineMetric("pairing", "halves of presses that pair"),
    OfflineMetric("possible_speed", "pointer as fast as the player's"),
    OfflineMetric("stutter", "clicks again where the player does not", more_is_better=False),
    OfflineMetric("consistent", "answers with actions that hang together"),
)
"""In the order of the table. Hopes are those of the documents that the project comes from."""

EVENT_ALL = "event_all"
"""How often the likeliest event came, ends and waiting counted: what confidence is held against, and no score."""

FORCED_METRICS = (
    OfflineMetric("event_right", "next event right where the player acts"),
    OfflineMetric("stop_right", "nothing more expected where the player stops or waits"),
    OfflineMetric("event_ece", "confidence in the next event is off by (ECE)", more_is_better=False),
    OfflineMetric("step_right", "step right"),
    OfflineMetric(
        "dt_error_ms", "time of the given action, error of the median", "ms", more_is_better=False, hoped=50.0
    ),
    OfflineMetric("dt_pinball_10_ms", "time, loss at q10", "ms", more_is_better=False),
    OfflineMetric("dt_pinball_50_ms", "time, loss at q50", "ms", more_is_better=False),
    OfflineMetric("dt_pinball_90_ms", "time, loss at q90", "ms", more_is_better=False),
    OfflineMetric("dt_crps_ms", "time, CRPS", "ms", more_is_better=False),
    OfflineMetric("dt_inside", "times from q10 to q90", wanted=0.8),
    OfflineMetric("dt_covered", "times in the central 80%", wanted=0.8),
    OfflineMetric(
        "click_error_px", "place of the given click, distance of the medians", "px", more_is_better=False, hoped=200.0
    ),
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

SHARES = frozenset({EVENT_ALL, *(one.key for one in (*OFFLINE_METRICS, *FORCED_METRICS) if one.unit == "%")})
"""Keys of what lies between 0 and 1."""
