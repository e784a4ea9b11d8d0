"""Which action of an answer stands for which action of the player: a best matching of two lists in time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from scipy.optimize import linear_sum_assignment

from vlm_agent.actions.types import Action, ActionChunk

_NEVER = 1e9
"""Cost of a pair that may not be."""


@dataclass(frozen=True, slots=True)
class Timed:
    """An action and when it is done."""

    t_ms: int
    """Milliseconds after the window's start."""
    action: Action
    """What is done."""


def time_actions(chunk: ActionChunk) -> list[Timed]:
    """Return the actions of a chunk with their times."""
    times = accumulate(action.dt_ms for action in chunk.actions)
    return [Timed(t_ms, action) for t_ms, action in zip(times, chunk.actions, strict=True)]


def match_actions(
    targets: Sequence[Timed],
    answers: Sequence[Timed],
    tolerance_ms: float,
    may_pair: Callable[[Action, Action], bool] = lambda target, answer: True,
) -> list[tuple[int, int]]:
    """Return pairs (index of a target, index of an answer): as many as can be, and of those the nearest in time.

    A matching of a bipartite graph (Kuhn 1955, by scipy's `linear_sum_assignment`), so that no order of the lists
    favours anyone.

    Args:
        targets: the player's actions.
        answers: the answered ones.
        tolerance_ms: pairs lie at most so far apart in time.
        may_pair: tells whether two actions may stand for each other.
    """
    if not targets or not answers:
        return []
    cost = np.full((len(targets), len(answers)), _NEVER)
    for i, target in enumerate(targets):
        for j, answer in enumerate(answers):
            apart_ms = abs(target.t_ms - answer.t_ms)
            if apart_ms <= tolerance_ms and may_pair(target.action, answer.action):
                # One pair more always outweighs any sum of times.
                cost[i, j] = apart_ms
    rows, columns = linear_sum_assignment(cost)
    return [(int(i), int(j)) for i, j in zip(rows, columns, strict=True) if cost[i, j] < _NEVER]
