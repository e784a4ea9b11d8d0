"""Further goals of the same game: base and tuned once more, goal by goal, and where tuning helped or harmed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from vlm_agent.evaluation.comparison import Comparison, compare_rollouts
from vlm_agent.evaluation.matches import Terms, plan_models, plan_others, play_matches
from vlm_agent.evaluation.metrics import find_metric
from vlm_agent.evaluation.offline.estimates import correct_holm, t_test
from vlm_agent.evaluation.offline.metrics import SURE
from vlm_agent.evaluation.sections import PlainTable, Section
from vlm_agent.evaluation.sides import Pair
from vlm_agent.rollouts.episodes import Episode

_COLUMNS = ("goal (judged by the game)", "base", "tuned", "no-op", "tuned − base", "p after Holm")


def compare_goals(
    goals: Sequence[tuple[str, bool]],
    pair: Pair,
    terms: Terms,
    main: Comparison,
    store: Path,
    *,
    workers: int,
    start: Callable[[str, int], Callable[[], object]] = lambda label, total: lambda: None,
) -> list[Comparison]:
    """Return a comparison for every goal, all over the same seeds; finished episodes are kept in `store`.

    Args:
        goals: text of each goal, and whether it goes on.
        pair: the models.
        terms: everything but the goal.
        main: the comparison that these stand beside; gives what is left of the setting.
        store: a folder for each goal.
        workers: processes.
        start: called with a goal and its number of episodes; what it returns is called after each.

    Raises:
        DataError: `store` holds episodes of another comparison.
    """
    comparisons = []
    for number, (goal, is_long) in enumerate(goals):
        of_goal = replace(terms, goal=goal, is_long_goal=is_long)
        plans = [*plan_models(pair, of_goal), *plan_others(of_goal)]
        advance = start(goal, len(plans) * len(terms.seeds))
        tell = partial(_tell, advance)
        rollouts = play_matches(plans, store / f"{number:02d}-{_name(goal)}", workers=workers, on_episode=tell)
        setting = replace(main.setting, goal=goal, max_ticks=terms.max_ticks)
        metric = find_metric(is_long_goal=is_long)
        comparisons.append(compare_rollouts(rollouts, metric, setting, resamples=main.resamples))
    return comparisons


def write_section(comparisons: Sequence[Comparison]) -> Section:
    """Return on which goals tuned is better or worse than base, corrected for how many goals there are."""
    ps = correct_holm([t_test(np.asarray(one.difference.values)) for one in comparisons])
    better: list[str] = []
    worse: list[str] = []
    for comparison, p in zip(comparisons, ps, strict=True):
        if p < SURE:
            gain = comparison.difference.interval.mean
            (better if gain > 0 else worse).append(f"“{comparison.setting.goal}”")
    rows = tuple(_cells(comparison, p) for comparison, p in zip(comparisons, ps, strict=True))
    seeds = len(comparisons[0].seeds)
    table = PlainTable(
        _COLUMNS,
        rows,
        caption=f"mean [95% interval] over {seeds} seeds, {comparisons[0].setting.clock} clock; goals are those "
        "given to the comparison, and whether one is reached the game says, never the model",
    )
    whole, *details = _sum_up(len(comparisons), better, worse)
    gist = whole if details else ""  # where nothing is sure there is nothing for the verdict to say
    return Section("goals", "Further goals", (whole, *details), gist=gist, tables=(table,))


def describe(comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    """Return the plain-data form: what `comparison.json` holds of each, but how it was made."""
    return [{name: part for name, part in one.to_json().items() if name != "made"} for one in comparisons]


def _tell(advance: Callable[[], object], _: str, __: Episode) -> None:
    advance()


def _name(goal: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in goal.lower())[:40]


def _sum_up(count: int, better: list[str], worse: list[str]) -> list[str]:
    sentences = [
        f"Of {count} further goals tuned is better than base for sure on {len(better)}, worse on {len(worse)}."
    ]
    if better:
        sentences.append(f"Better: {', '.join(better)}.")
    if worse:
        sentences.append(f"Worse: {', '.join(worse)}; tuning made it forget.")
    return sentences


def _cells(comparison: Comparison, p: float) -> tuple[str, ...]:
    noop = comparison.rows.get("noop")
    unit = "" if comparison.metric.name == "goal_success" else f", {comparison.metric.unit}"
    return (
        comparison.setting.goal + unit,
        f"{comparison.base.metric:.2f}",
        f"{comparison.tuned.metric:.2f}",
        f"{noop.metric.mean:.2f}" if noop else "",
        f"{comparison.difference.interval.mean:+.2f}".replace("-", "−"),
        "< 0.001" if p < 0.001 else f"{p:.3f}",
    )
