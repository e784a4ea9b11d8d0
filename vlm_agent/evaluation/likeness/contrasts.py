"""One feature, agent against player, with the player against themself as the measure of "far".

A distance of two samples is above 0 even where they come from one source, the more so the smaller they are. So the
player's sessions are split at random, again and again, into a part as many as the agent's sessions (at most half) and
the rest; the part and as many of the agent's sessions, thinned to equally many values, are both held against that same
rest. The ratio of the two mean distances is 1 for an agent that plays as the player does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import exp, log

import numpy as np
from numpy.typing import NDArray

from vlm_agent.evaluation.likeness.distances import lay_ladder, lay_tally
from vlm_agent.evaluation.likeness.streams import Floats

_MOST_VALUES = 4000
"""Of each side, evenly spread; more change nothing that can be seen."""
MOST = 1000.0
"""Ratios end here: a player who never varies is infinitely near to themself."""
_Z = 1.96
"""Of a 95 % interval."""

Measure = Callable[[Floats, Floats], dict[str, float]]
ENERGY, TOTAL_VARIATION = "energy", "total_variation"


@dataclass(frozen=True)
class Effort:
    """How often chance is asked."""

    splits: int = 200
    """Random splits of the player's sessions."""
    resamples: int = 200
    """Bootstrap resamples of sessions."""
    permutations: int = 999
    """Exchanges of sessions between agent and player."""
    refits: int = 199
    """The same for the classifiers, which are fitted anew each time."""
    halves: int = 20
    """Halves of the player's sessions that classifiers are set to tell apart."""


@dataclass(frozen=True)
class Contrast:
    """One feature, agent against player.

    Mappings are by distance: `wasserstein`, `ks` and `energy`, or `total_variation` for what has no order.
    """

    leading: str
    """The distance that interval and test are of: the energy distance, which a few freak values hardly sway (a
    pointer that goes astray and returns has a path ten times its distance), or total variation."""
    distances: Mapping[str, float]
    """Of all values; Wasserstein in the feature's unit, see `distances.Distances`."""
    ratios: Mapping[str, float]
    """How many times as far from the player as the player is from themself, on samples of equal size."""
    low: float
    """Lower end of the leading ratio's 95 % interval, by bootstrap over sessions."""
    high: float
    """Upper end."""
    floors: Mapping[str, float]
    """Mean distances of the player to themself."""
    floors_q95: Mapping[str, float]
    """95 % of the splits of the player's sessions are no further apart than this."""
    p: float
    """Probability of a leading distance as large if agent and player were one: by exchanging whole sessions."""

    @property
    def ratio(self) -> float:
        """The leading ratio."""
        return self.ratios[self.leading]


@dataclass(frozen=True)
class _Pool:
    """The values of both sides and which session each is of."""

    values: Floats
    owners: NDArray[np.intp]
    """Number of its session; the agent's come first."""
    num_agent: int
    num_player: int

    @property
    def agent(self) -> NDArray[np.intp]:
        return np.arange(self.num_agent)

    @property
    def player(self) -> NDArray[np.intp]:
        return self.num_agent + np.arange(self.num_player)

    def weigh(self, sessions: NDArray[np.intp]) -> Floats:
        """Return how often each value counts if each session counts as often as it is named."""
        counts = np.bincount(sessions, minlength=self.num_agent + self.num_player)
        weights: Floats = counts[self.owners].astype(float)
        return weights


def contrast_numbers(
    agent: Sequence[Floats], player: Sequence[Floats], effort: Effort, rng: np.random.Generator, *, least: int = 2
) -> Contrast | None:
    """Contrast a feature that is a number; none where there are too few values, or all are the same.

    Args:
        agent: values by session; sessions without any count for nothing.
        player: likewise.
        effort: how often chance is asked.
        rng: source of chance.
        least: values that each side needs; sessions with any, it needs two.
    """
    pool = _gather(agent, player, least)
    if pool is None:
        return None
    ladder = lay_ladder(pool.values)
    return _contrast(pool, ENERGY, lambda one, other: asdict(ladder.measure(one, other)), effort, rng)


def contrast_kinds(
    agent: Sequence[Floats], player: Sequence[Floats], effort: Effort, rng: np.random.Generator, *, least: int = 2
) -> Contrast | None:
    """Contrast a feature that has kinds instead of an order; the arguments are as for numbers."""
    pool = _gather(agent, player, least)
    if pool is None:
        return None
    tally = lay_tally(pool.values)
    return _contrast(
        pool, TOTAL_VARIATION, lambda one, other: {TOTAL_VARIATION: tally.measure(one, other)}, effort, rng
    )


def _gather(agent: Sequence[Floats], player: Sequence[Floats], least: int) -> _Pool | None:
    sides = [[values for values in side if len(values)] for side in (agent, player)]
    if any(len(side) < 2 or sum(map(len, side)) < least for side in sides):
        return None
    sides = [_thin(side) for side in sides]
    sessions = [*sides[0], *sides[1]]
    owners = np.repeat(np.arange(len(sessions)), [len(values) for values in sessions])
    values = np.concatenate(sessions)
    return _Pool(values, owners, len(sides[0]), len(sides[1])) if np.ptp(values) > 0 else None


def _thin(side: list[Floats]) -> list[Floats]:
    every = -(-sum(map(len, side)) // _MOST_VALUES)
    return [values[::every] for values in side]


def _contrast(pool: _Pool, leading: str, measure: Measure, effort: Effort, rng: np.random.Generator) -> Contrast:
    apart, within = _split(pool, measure, effort.splits, rng)
    distances = measure(pool.weigh(pool.agent), pool.weigh(pool.player))
    floors = {name: float(np.mean(values)) for name, values in within.items()}
    ratios = {name: _divide(float(np.mean(apart[name])), floors[name]) for name in distances}
    lead = _Lead(measure, leading)
    reach = exp(_Z * _spread_of_log_ratio(pool, lead, effort.resamples, rng))
    return Contrast(
        leading=leading,
        distances=distances,
        ratios=ratios,
        low=ratios[leading] / reach,
        high=ratios[leading] * reach,
        floors=floors,
        floors_q95={name: float(np.quantile(values, 0.95)) for name, values in within.items()},
        p=_exchange(pool, lead, effort.permutations, rng),
    )


@dataclass(frozen=True)
class _Lead:
    """The one distance that interval and test are of."""

    measure: Measure
    name: str

    def __call__(self, one: Floats, other: Floats) -> float:
        return self.measure(one, other)[self.name]


_NOTHING = 1e-9


def _divide(apart: float, within: float) -> float:
    """Return a ratio of two distances; from a player who never varies everything else is far beyond any number."""
    return float(np.clip((apart + _NOTHING) / (within + _NOTHING), 0.0, MOST))


def _split(
    pool: _Pool, measure: Measure, splits: int, rng: np.random.Generator
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Return distances of the agent and of a part of the player to the rest of the player, one of each a split."""
    size = min(pool.num_agent, pool.num_player // 2)
    apart: dict[str, list[float]] = {}
    within: dict[str, list[float]] = {}
    for _ in range(splits):
        shuffled = rng.permutation(pool.player)
        rest = pool.weigh(shuffled[size:])
        agent, part = _draw_equally(pool.weigh(rng.permutation(pool.agent)[:size]), pool.weigh(shuffled[:size]), rng)
        for kept, weights in ((apart, agent), (within, part)):
            for name, distance in measure(weights, rest).items():
                kept.setdefault(name, []).append(distance)
    return apart, within


def _draw_equally(one: Floats, other: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Leave equally many values of both, drawn at random; weights are 0 or 1."""
    least = round(min(one.sum(), other.sum()))
    return _draw(one, least, rng), _draw(other, least, rng)


def _draw(weights: Floats, num: int, rng: np.random.Generator) -> Floats:
    drawn = np.zeros_like(weights)
    drawn[rng.permutation(np.flatnonzero(weights))[:num]] = 1.0
    return drawn


def _spread_of_log_ratio(pool: _Pool, measure: _Lead, resamples: int, rng: np.random.Generator) -> float:
    """Return the standard deviation of the log of the ratio under resampling of sessions.

    Only the spread is taken from the bootstrap: resampling with replacement adds to every distance, so that the
    resampled ratios themselves are drawn towards 1.
    """
    logs = []
    for _ in range(resamples):
        agent = rng.choice(pool.agent, pool.num_agent)
        player = rng.choice(pool.player, pool.num_player)
        within = _measure_halves(pool, player, measure, rng)
        if within is not None:
            logs.append(log(_divide(measure(pool.weigh(agent), pool.weigh(player)), within)))
    return float(np.std(logs)) if logs else 0.0


_HALVES = 4


def _measure_halves(pool: _Pool, player: NDArray[np.intp], measure: _Lead, rng: np.random.Generator) -> float | None:
    """Return the mean distance between halves of resampled sessions; a session that was drawn twice stays in one."""
    names = np.unique(player)
    if len(names) < 2:
        return None
    distances = []
    for _ in range(_HALVES):
        half = rng.permutation(names)[: len(names) // 2]
        is_half = np.isin(player, half)
        distances.append(measure(pool.weigh(player[is_half]), pool.weigh(player[~is_half])))
    return float(np.mean(distances))


def _exchange(pool: _Pool, measure: _Lead, permutations: int, rng: np.random.Generator) -> float:
    """Return the p of a permutation test whose units are sessions (Phipson and Smyth, 2010: never 0)."""
    everyone = np.concatenate([pool.agent, pool.player])
    seen = measure(pool.weigh(pool.agent), pool.weigh(pool.player))
    as_far = 0
    for _ in range(permutations):
        shuffled = rng.permutation(everyone)
        distance = measure(pool.weigh(shuffled[: pool.num_agent]), pool.weigh(shuffled[pool.num_agent :]))
        as_far += distance >= seen * (1 - 1e-12)
    return (as_far + 1) / (permutations + 1)
