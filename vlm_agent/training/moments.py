"""Which recorded moments are learnt from, and how often: play is mostly waiting, and what decides it is rare.

A moment is a time in a session; it has a window for each goal it is asked with.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import TypeVar

from vlm_agent.actions.types import Move
from vlm_agent.chat import Recipe
from vlm_agent.dataset.windows import Window
from vlm_agent.training.config import TrainConfig

Item = TypeVar("Item")
Moment = tuple[str, int]
"""Session and time in nanoseconds."""

MOST_REPEATS = 4
"""A moment is not shown more often than this in one pass, however rare its step: it would be learnt by heart."""


def moment_of(window: Window) -> Moment:
    """Return when a window begins, and in which session."""
    return window.session, window.t_ns


def draw_sessions(windows: Iterable[Window], count: int, seed: int) -> list[Window]:
    """Return the windows of at most `count` sessions; those drawn for a smaller count are among those for a larger."""
    found = list(windows)
    names = sorted({window.session for window in found})
    Random(f"sessions {seed}").shuffle(names)
    drawn = set(names[:count])
    return [window for window in found if window.session in drawn]


def find_steps(windows: Iterable[Window], recipe: Recipe) -> dict[Moment, str]:
    """Return the short goal of each moment that has one, where the recipe names steps; else nothing."""
    return {moment_of(window): window.goal for window in windows if window.goal in recipe.steps}


def choose_windows(
    windows: Sequence[Window], steps: Mapping[Moment, str], recipe: Recipe, config: TrainConfig
) -> list[Window]:
    """Return the windows to learn from, some of them more than once.

    Where no step is named, the windows of idle moments are thinned. Else as many moments as are left by that are drawn
    from all, rare steps more readily, and give their actions, waiting ones too: whoever never sees that waiting is
    doing nothing clicks while it waits. Moments that give their step are drawn in the same way, `step_draws` times as
    many; at 1 they are the same moments, and both questions can be asked over the same picture.

    Args:
        windows: of one split.
        steps: the moments' steps (see `find_steps`).
        recipe: how windows are shown.
        config: gives `keep_idle`, `balance_steps`, `step_draws` and `seed`.
    """
    kept = thin_idle(windows, config.keep_idle, config.seed)
    if not recipe.long_goals:
        return kept

    def asks_for_step(window: Window) -> bool:
        return window.goal in recipe.long_goals and moment_of(window) in steps

    choosing = [window for window in windows if asks_for_step(window)]
    count = sum(map(asks_for_step, kept))
    acting = {moment_of(window): window for window in windows if window.goal not in recipe.long_goals}

    def draw(count: int) -> list[Window]:
        return balance_steps(choosing, steps, config.balance_steps, count, config.seed)

    acted = [acting[moment_of(window)] for window in draw(count) if moment_of(window) in acting]
    return draw(round(count * config.step_draws)) + acted


def thin_idle(windows: Iterable[Window], keep: float, seed: int) -> list[Window]:
    """Return the windows with only a share of the moments at which nothing is pressed or turned; drawn by moment.

    A moment's windows (long and short goal) stay or go together.
    """

    def is_kept(window: Window) -> bool:
        return not is_idle(window) or Random(f"{seed} {window.session} {window.t_ns}").random() < keep

    return [window for window in windows if is_kept(window)]


def is_idle(window: Window) -> bool:
    """Tell whether nothing is pressed or turned in a window."""
    return all(isinstance(action, Move) for action in window.target.actions) and not window.target.done


def weigh_window(window: Window, weights: Mapping[str, float]) -> float:
    """Return how much a window counts: `idle` has no action, `moves` has some, more than half of them moves."""
    actions = window.target.actions
    if not actions:
        return 1.0 if window.target.done else weights.get("idle", 1.0)
    num_moves = sum(isinstance(action, Move) for action in actions)
    return weights.get("moves", 1.0) if 2 * num_moves > len(actions) else 1.0


def balance_steps(
    windows: Sequence[Window], steps: Mapping[Moment, str], balance: float, count: int, seed: int
) -> list[Window]:
    """Return about `count` windows, rare steps more often than they were recorded.

    Moments of a step at which the player presses are drawn apart from those at which nothing is pressed: on the way to
    the furnace nearly all moments are walking, and what made the player set out shows in the few before. A step, with
    presses or without, recorded n times is drawn in proportion to n^(1 - balance), as languages are where some have
    little text (Conneau et al. 2020, "Unsupervised cross-lingual representation learning at scale", section 3.1).

    Args:
        windows: each at a moment with a step.
        steps: the moments' steps.
        balance: 0 draws steps as often as they were recorded, 1 all equally often.
        count: how many to draw; fewer where rare moments would have to be repeated over `MOST_REPEATS` times.
        seed: decides which.
    """
    kinds: dict[tuple[str, bool], list[Window]] = defaultdict(list)
    for window in windows:
        kinds[steps[moment_of(window)], is_idle(window)].append(window)
    weights = Counter({kind: len(of_kind) ** (1 - balance) for kind, of_kind in kinds.items()})
    drawn = []
    for kind, of_kind in sorted(kinds.items()):
        wanted = min(round(count * weights[kind] / weights.total()), MOST_REPEATS * len(of_kind))
        repeats, rest = divmod(wanted, len(of_kind))
        drawn += of_kind * repeats + Random(f"{seed} {kind}").sample(of_kind, rest)
    return drawn


def hide_recent(windows: Iterable[Window], share: float, seed: int) -> list[Window]:
    """Return the windows with the recent actions left out of a share of them; drawn by moment.

    What a player did last tells a lot about what comes next, so a model that always sees it learns to go on rather than
    to look; in play it then repeats its own mistakes, or, having done nothing, goes on doing nothing (de Haan et al.
    2019, "Causal confusion in imitation learning").
    """
    return [
        replace(window, recent=())
        if Random(f"recent {seed} {window.session} {window.t_ns}").random() < share
        else window
        for window in windows
    ]


def spread(items: Sequence[Item], limit: int) -> list[Item]:
    """Return at most `limit` items, evenly spread over all."""
    count = min(limit, len(items))
    return [items[index * len(items) // count] for index in range(count)]
