"""A classifier two-sample test: can a classifier tell the agent's movements and presses from the player's?

Lopez-Paz and Oquab, Revisiting Classifier Two-Sample Tests, 2017. A logistic regression on the features, their squares
and products sees one movement or press at a time, from sessions that it was not fitted on, and its area under the ROC
curve is 0.5 where nothing tells the two apart. Whole sessions are held out, resampled and exchanged: two movements of
one session share a player's form of the day.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from vlm_agent.evaluation.intervals import spread_share
from vlm_agent.evaluation.likeness.contrasts import Effort
from vlm_agent.evaluation.likeness.streams import Floats

FOLDS = 5
"""Parts of the sessions, each held out once; fewer where a side has fewer sessions."""
_LEAST_SESSIONS = 4
LEAST_ROWS = 40
"""With fewer on either side no classifier is fitted."""
_MOST_ROWS = 1000
"""Of each side, evenly spread: enough to fit sixty numbers, and a fit stays a matter of milliseconds."""


@dataclass(frozen=True)
class Telling:
    """How well agent and player can be told apart."""

    about: str
    """`movements` or `presses`."""
    auc: float
    """Area under the ROC curve on sessions held out: the probability that the classifier takes the agent's one for
    the agent's when it is shown one of each; 0.5 is guessing."""
    low: float
    """Lower end of its 95 % interval over sessions (see `intervals.spread_share`)."""
    high: float
    """Upper end."""
    p: float
    """Probability of an area as large if agent and player were one: by exchanging whole sessions and fitting anew."""
    floor: float
    """The same area for random halves of the player's sessions, on average."""
    floor_q95: float
    """95 % of these halves are told apart no better than this."""
    agent_rows: int
    """How many of the agent's were looked at."""
    player_rows: int
    """How many of the player's."""
    best_alone: str
    """The feature that tells most on its own."""
    best_auc: float
    """Its own area, whichever way it points."""


def tell_apart(
    about: str,
    columns: Sequence[str],
    agent: Sequence[Floats],
    player: Sequence[Floats],
    effort: Effort,
    rng: np.random.Generator,
) -> Telling | None:
    """Try to tell two sides apart; none where there are too few rows or sessions.

    Args:
        about: what the rows are.
        columns: their names.
        agent: rows by session, each (rows, columns), NaN where something is unknown.
        player: likewise.
        effort: how often chance is asked.
        rng: source of chance.
    """
    sides = [[rows for rows in side if len(rows)] for side in (agent, player)]
    if any(len(side) < _LEAST_SESSIONS or sum(map(len, side)) < LEAST_ROWS for side in sides):
        return None
    sides = [_thin(side) for side in sides]
    sessions = [*sides[0], *sides[1]]
    owners = np.repeat(np.arange(len(sessions)), [len(rows) for rows in sessions])
    ranks = _rank(np.concatenate(sessions))
    terms = _expand(ranks)
    is_agent = np.arange(len(sessions)) < len(sides[0])
    scores = _score_held_out(terms, owners, is_agent, rng)
    auc = measure_auc(scores[is_agent[owners]], scores[~is_agent[owners]])
    low, high = _resample(scores, owners, is_agent, effort.resamples, rng)
    floor = _tell_halves(terms, owners, np.flatnonzero(~is_agent), effort.halves, rng)
    alone = [_measure_alone(ranks[:, index], is_agent[owners]) for index in range(len(columns))]
    return Telling(
        about=about,
        auc=auc,
        low=low,
        high=high,
        p=_exchange(terms, owners, is_agent, auc, effort.refits, rng),
        floor=float(np.mean(floor)),
        floor_q95=float(np.quantile(floor, 0.95)),
        agent_rows=int(is_agent[owners].sum()),
        player_rows=int((~is_agent[owners]).sum()),
        best_alone=columns[int(np.argmax(alone))],
        best_auc=max(alone),
    )


def measure_auc(positives: Floats, negatives: Floats) -> float:
    """Return the probability that a positive's score is above a negative's; equal ones count half."""
    ranks = rankdata(np.concatenate([positives, negatives]))
    above = ranks[: len(positives)].sum() - len(positives) * (len(positives) + 1) / 2
    return float(above / (len(positives) * len(negatives)))


def _thin(side: list[Floats]) -> list[Floats]:
    every = -(-sum(map(len, side)) // _MOST_ROWS)
    return [rows[::every] for rows in side]


def _rank(rows: Floats) -> Floats:
    """Put every column on -1 to 1 by rank, so that its unit and its tail don't matter; what is unknown is 0."""
    ranks = np.zeros_like(rows)
    for index, column in enumerate(rows.T):
        is_known = np.isfinite(column)
        if is_known.any():
            ranks[is_known, index] = 2 * (rankdata(column[is_known]) - 0.5) / is_known.sum() - 1
    return ranks


def _expand(ranks: Floats) -> Floats:
    """Return columns, their products and their squares: an agent that always does the same lies in the middle."""
    first, second = np.triu_indices(ranks.shape[1])
    return np.concatenate([ranks, ranks[:, first] * ranks[:, second]], axis=1)


def _score_held_out(
    terms: Floats, owners: NDArray[np.intp], is_agent: NDArray[np.bool_], rng: np.random.Generator
) -> Floats:
    """Return each row's log odds of being the agent's, by a classifier that has not seen its session."""
    num_folds = min(FOLDS, int(is_agent.sum()), int((~is_agent).sum()))
    folds = np.empty(len(is_agent), dtype=int)
    for side in (True, False):
        of_side = rng.permutation(np.flatnonzero(is_agent == side))
        folds[of_side] = np.arange(len(of_side)) % num_folds
    scores = np.empty(len(terms))
    for fold in range(num_folds):
        is_held = folds[owners] == fold
        model = _make_classifier()
        model.fit(terms[~is_held], is_agent[owners][~is_held])
        scores[is_held] = model.decision_function(terms[is_held])
    return scores


def _make_classifier() -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=1.0, class_weight="balanced", solver="newton-cholesky", max_iter=25, tol=1e-3)


def _resample(
    scores: Floats, owners: NDArray[np.intp], is_agent: NDArray[np.bool_], resamples: int, rng: np.random.Generator
) -> tuple[float, float]:
    """Return the 95 % interval of the area, its variance by resampling sessions of each side."""
    won, pairs = _count_wins(scores, owners, is_agent)
    aucs = []
    for _ in range(resamples):
        agent, player = (rng.multinomial(size, np.full(size, 1 / size)) for size in won.shape)
        aucs.append(agent @ won @ player / (agent @ pairs @ player))
    # An area is a share of pairs; of the pairs in which a session takes part, that session decides.
    auc, num_sessions = float(won.sum() / pairs.sum()), min(won.shape)
    interval = spread_share(auc, float(np.var(aucs)), num_sessions, float(pairs.sum()))
    return interval.low, interval.high


def _count_wins(scores: Floats, owners: NDArray[np.intp], is_agent: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Return for each agent's session and each player's how many pairs the agent's rows win, and how many there are."""
    rows = [scores[owners == index] for index in range(len(is_agent))]
    agent = [rows[index] for index in np.flatnonzero(is_agent)]
    player = [rows[index] for index in np.flatnonzero(~is_agent)]
    pairs = np.outer([len(one) for one in agent], [len(other) for other in player]).astype(float)
    won = np.array([[measure_auc(one, other) for other in player] for one in agent]) * pairs
    return won, pairs


def _tell_halves(
    terms: Floats, owners: NDArray[np.intp], player: NDArray[np.intp], splits: int, rng: np.random.Generator
) -> list[float]:
    """Return the areas for random halves of the player's sessions."""
    is_player = np.isin(owners, player)
    numbers = np.searchsorted(player, owners[is_player])
    aucs = []
    for _ in range(splits):
        is_half = np.isin(np.arange(len(player)), rng.permutation(len(player))[: len(player) // 2])
        scores = _score_held_out(terms[is_player], numbers, is_half, rng)
        aucs.append(measure_auc(scores[is_half[numbers]], scores[~is_half[numbers]]))
    return aucs


def _exchange(
    terms: Floats,
    owners: NDArray[np.intp],
    is_agent: NDArray[np.bool_],
    seen: float,
    refits: int,
    rng: np.random.Generator,
) -> float:
    as_well = 0
    for _ in range(refits):
        shuffled = rng.permutation(is_agent)
        scores = _score_held_out(terms, owners, shuffled, rng)
        as_well += measure_auc(scores[shuffled[owners]], scores[~shuffled[owners]]) >= seen
    return (as_well + 1) / (refits + 1)


def _measure_alone(ranks: Floats, is_agent: NDArray[np.bool_]) -> float:
    """Return the area of one feature; where the agent keeps to the middle, that of the distance from the middle."""
    areas = [measure_auc(values[is_agent], values[~is_agent]) for values in (ranks, np.abs(ranks - np.median(ranks)))]
    return max(max(area, 1 - area) for area in areas)
