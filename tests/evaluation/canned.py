"""Rollouts without a model or a game: episodes whose numbers are known beforehand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vlm_agent.evaluation.comparison import Comparison, Setting, compare_rollouts
from vlm_agent.evaluation.metrics import RINGS_PER_MINUTE
from vlm_agent.rollouts.episodes import DecisionCounts, Episode, Outcome
from vlm_agent.rollouts.running import Rollout

GOAL = "craft sapphire rings"
MAX_TICKS = 150
HORIZON_MS = 600
SETTING = Setting("ringcraft", GOAL, MAX_TICKS, HORIZON_MS)
DURATION_MS = MAX_TICKS * HORIZON_MS


def canned_episode(
    seed: int, rings: int, *, num_invalid: int = 0, num_refused: int = 0, is_model: bool = True
) -> Episode:
    """An episode of 90 s with so many rings, made at even intervals."""
    counts = DecisionCounts()
    for _ in range(num_invalid):
        counts.add(Outcome.INVALID, "truncated")
    for _ in range(num_refused):
        counts.add(Outcome.REFUSED, "rate_exceeded")
    num_rest = MAX_TICKS - num_invalid - num_refused
    for index in range(num_rest):
        counts.add(Outcome.EXECUTED if index % 3 == 0 else Outcome.EMPTY)
    rng = np.random.default_rng(seed)
    return Episode(
        seed=seed,
        goal=GOAL,
        duration_ms=DURATION_MS,
        score=float(rings),
        is_success=rings > 0,
        counts=counts,
        num_actions=num_rest // 3,
        latencies_ms=tuple(rng.lognormal(3.4, 0.25, MAX_TICKS)),
        mean_p_allowed=0.98 if is_model else None,
        score_times_ms=tuple(DURATION_MS * (index + 1) // (rings + 1) for index in range(rings)),
        num_presses=4 + 4 * rings,
        num_wasted_presses=4,
    )


def canned_rollout(name: str, rings: Sequence[int], *, num_invalid: int = 0, num_refused: int = 0) -> Rollout:
    """A rollout over seeds 10000, 10001, ... with so many rings each."""
    is_model = name in ("base", "tuned")
    return Rollout(
        name,
        tuple(
            canned_episode(10_000 + index, made, num_invalid=num_invalid, num_refused=num_refused, is_model=is_model)
            for index, made in enumerate(rings)
        ),
    )


def canned_comparison(
    base: Sequence[int], tuned: Sequence[int], *, num_invalid: int = 0, num_refused: int = 0, baseline: int = 0
) -> Comparison:
    """A comparison of rings made; the demonstrator makes 18 an episode, the baselines `baseline`."""
    seeds = range(len(base))
    rollouts = [
        canned_rollout("base", base),
        canned_rollout("tuned", tuned, num_invalid=num_invalid, num_refused=num_refused),
        canned_rollout("demonstrator", [17 + seed % 3 for seed in seeds]),
        *(canned_rollout(name, [baseline for _ in seeds]) for name in ("noop", "random", "repeat")),
    ]
    return compare_rollouts(
        rollouts, RINGS_PER_MINUTE, SETTING, resamples=2000, made={"command": "vlm-agent compare --tuned runs/x"}
    )


BASE_RINGS = (0, 1, 0, 0, 2, 0, 1, 0, 0, 0, 1, 0, 3, 0, 0, 0, 1, 0, 0, 0)
"""What a base might do on 20 seeds."""
GOOD_RINGS = (8, 9, 0, 7, 10, 8, 6, 9, 3, 8, 7, 0, 9, 11, 8, 5, 7, 8, 9, 2)
"""What a good tuned model might do on the same."""
