"""How like the player an agent moves and times its input: all numbers, as they are saved and read again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from vlm_agent.evaluation.likeness.classifier import Telling
from vlm_agent.evaluation.likeness.contrasts import Contrast
from vlm_agent.evaluation.likeness.features import FEATURES, TRANSITIONS, Feature
from vlm_agent.evaluation.likeness.timing import KINDS
from vlm_agent.evaluation.offline.metrics import SURE

FORMAT = 1
QUANTILES = tuple(index / 40 for index in range(41))
"""Levels of the quantiles that a distribution is kept as."""
_LOW, _MIDDLE, _HIGH = QUANTILES.index(0.1), QUANTILES.index(0.5), QUANTILES.index(0.9)


@dataclass(frozen=True)
class Profile:
    """Speed over the time of a movement, as multiples of the movement's mean; quantiles over movements."""

    low: tuple[float, ...]
    """Lower quartiles, from the movement's beginning to its end."""
    middle: tuple[float, ...]
    """Medians."""
    high: tuple[float, ...]
    """Upper quartiles."""


@dataclass(frozen=True)
class FittsLine:
    """Fitts' law of one side: time of a movement over its difficulty."""

    count: int
    """Movements onto a known target that was then pressed."""
    intercept_ms: float
    """Time of a movement of no difficulty."""
    slope_ms_bit: float
    """Time that each bit of difficulty costs."""


@dataclass(frozen=True)
class SideSummary:
    """One side's recordings."""

    sessions: int
    """How many."""
    pieces: int
    """In how many pieces they were taken."""
    minutes: float
    """How long in all."""
    transitions: tuple[tuple[int, ...], ...]
    """How often which kind of act (row) was followed by which (column), in the order of `KINDS`."""
    profile: Profile | None
    """Speed over movements; none without movements."""
    fitts: FittsLine | None
    """Fitts' law; none where too few targets are known."""


@dataclass(frozen=True)
class FeatureLikeness:
    """One feature on both sides."""

    feature: Feature
    """What is compared."""
    agent_count: int
    """The agent's values."""
    player_count: int
    """The player's."""
    agent_quantiles: tuple[float, ...]
    """At the levels `QUANTILES`; empty for what has no order, or no values."""
    player_quantiles: tuple[float, ...]
    """Likewise."""
    contrast: Contrast | None
    """How far apart; none where there are too few values, or all of both sides are the same."""
    p_holm: float | None
    """The contrast's p after Holm's correction for all features; none without one."""

    @property
    def is_apart(self) -> bool:
        """Whether the agent surely differs from the player."""
        return self.p_holm is not None and self.p_holm < SURE

    @property
    def is_unsure(self) -> bool:
        """Whether the agent seems to differ, but among so many features and so few sessions it may be chance."""
        if self.is_apart or self.contrast is None:
            return False
        return self.contrast.p < SURE or self.contrast.low > 1

    @property
    def is_unused(self) -> bool:
        """Whether neither side ever does it."""
        both = (self.agent_quantiles, self.player_quantiles)
        return self.feature.group == "rate" and all(not any(quantiles) for quantiles in both) and self.contrast is None

    @property
    def agent_middle(self) -> float | None:
        """The agent's median."""
        return self.agent_quantiles[_MIDDLE] if self.agent_quantiles else None

    @property
    def player_range(self) -> tuple[float, float, float] | None:
        """The player's 10 % quantile, median and 90 % quantile."""
        found = self.player_quantiles
        return (found[_LOW], found[_MIDDLE], found[_HIGH]) if found else None

    def with_p_holm(self, p_holm: float) -> FeatureLikeness:
        """Return the same with a corrected p."""
        return replace(self, p_holm=p_holm)


@dataclass(frozen=True)
class Likeness:
    """How like the player an agent moves and times its input."""

    policy: str | None
    """Whose episodes; None where the recordings don't say."""
    agent: SideSummary
    """The agent's recordings."""
    player: SideSummary
    """The player's."""
    interval_ms: float
    """Sampling interval that all pointers were brought to."""
    piece_s: float
    """Length that all sessions were cut to, about."""
    features: tuple[FeatureLikeness, ...]
    """In the order of `FEATURES`, then `TRANSITIONS`."""
    tellings: tuple[Telling, ...]
    """How well a classifier tells the two apart, by movements and by presses; those with enough of them."""
    seed: int
    """Of all chance in it."""

    @property
    def ranked(self) -> tuple[FeatureLikeness, ...]:
        """Features with a contrast, the farthest from the player first."""
        rated = [(one.contrast.ratio, one) for one in self.features if one.contrast is not None]
        return tuple(one for _, one in sorted(rated, key=lambda pair: -pair[0]))

    def to_json(self) -> dict[str, Any]:
        """Return the plain-data form, as `likeness.json` holds it; `likeness.schema.json` describes it."""
        value: dict[str, Any] = {
            "format": FORMAT,
            "policy": self.policy,
            "agent": asdict(self.agent),
            "player": asdict(self.player),
            "interval_ms": self.interval_ms,
            "piece_s": self.piece_s,
            "quantile_levels": list(QUANTILES),
            "kinds": list(KINDS),
            "features": {one.feature.key: _feature_to_json(one) for one in self.features},
            "tellings": [asdict(telling) for telling in self.tellings],
            "seed": self.seed,
        }
        rounded: dict[str, Any] = _round(value)
        return rounded

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Likeness:
        """Return what `to_json` wrote down.

        Raises:
            KeyError: something is missing.
        """
        known = {feature.key: feature for feature in (*FEATURES, TRANSITIONS)}
        return cls(
            policy=value["policy"],
            agent=_side_from_json(value["agent"]),
            player=_side_from_json(value["player"]),
            interval_ms=value["interval_ms"],
            piece_s=value["piece_s"],
            features=tuple(_feature_from_json(known[key], inner) for key, inner in value["features"].items()),
            tellings=tuple(Telling(**telling) for telling in value["tellings"]),
            seed=value["seed"],
        )


def _round(value: Any) -> Any:
    """Return plain data with six digits of each number, far more than mean anything."""
    if isinstance(value, Mapping):
        return {key: _round(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_round(inner) for inner in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _feature_to_json(one: FeatureLikeness) -> dict[str, Any]:
    contrast = one.contrast
    return {
        "label": one.feature.label,
        "unit": one.feature.unit,
        "group": one.feature.group,
        "agent_count": one.agent_count,
        "player_count": one.player_count,
        "agent_quantiles": list(one.agent_quantiles),
        "player_quantiles": list(one.player_quantiles),
        "contrast": None if contrast is None else {**asdict(contrast), "ratio": contrast.ratio},
        "p_holm": one.p_holm,
        "is_apart": one.is_apart,
    }


def _feature_from_json(feature: Feature, value: Mapping[str, Any]) -> FeatureLikeness:
    contrast = value["contrast"]
    if contrast is not None:
        contrast = Contrast(**{name: inner for name, inner in contrast.items() if name != "ratio"})
    return FeatureLikeness(
        feature=feature,
        agent_count=value["agent_count"],
        player_count=value["player_count"],
        agent_quantiles=tuple(value["agent_quantiles"]),
        player_quantiles=tuple(value["player_quantiles"]),
        contrast=contrast,
        p_holm=value["p_holm"],
    )


def _side_from_json(value: Mapping[str, Any]) -> SideSummary:
    profile, fitts = value["profile"], value["fitts"]
    return SideSummary(
        sessions=value["sessions"],
        pieces=value["pieces"],
        minutes=value["minutes"],
        transitions=tuple(tuple(row) for row in value["transitions"]),
        profile=None if profile is None else Profile(*(tuple(profile[name]) for name in ("low", "middle", "high"))),
        fitts=None if fitts is None else FittsLine(**fitts),
    )
