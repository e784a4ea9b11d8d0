"""What an answer hangs on: the same questions with one thing changed, and what becomes of the answers.

A model can score well without ever looking: where the state says everything, where the goal never matters, where the
next action is the last one again. So each thing it is shown is taken away, or replaced by that of another session, and
the answers are compared with those to the unchanged windows (Geirhos et al. 2020, "Shortcut learning in deep neural
networks"; de Haan et al. 2019, "Causal confusion in imitation learning", for the history).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from random import Random
from typing import Any

import numpy as np

from vlm_agent.actions.playback import NS_PER_MS
from vlm_agent.actions.types import ActionChunk
from vlm_agent.dataset.store import Dataset
from vlm_agent.dataset.windows import Window
from vlm_agent.evaluation.offline.answering import Answers, answer_observation, seed_of
from vlm_agent.evaluation.offline.matching import time_actions
from vlm_agent.evaluation.offline.predictions import Prediction
from vlm_agent.observations import Observation, Observer, RecentAction
from vlm_agent.policies import Policy

INTACT = "intact"
"""Name of the windows as they are."""

Change = Callable[[Dataset, Observation, Window, Sequence[Window]], Observation | None]
"""Changes what is seen of a window, given windows of other sessions; None where there is nothing to change it to."""


@dataclass(frozen=True)
class Condition:
    """One thing changed."""

    name: str
    """Its key in files."""
    label: str
    """What people read."""
    asks: str
    """What it tells about: `picture`, `state`, `goal` or `history`."""


CONDITIONS = (
    Condition("blank_picture", "picture blanked", "picture"),
    Condition("other_picture", "picture of another session", "picture"),
    Condition("no_state", "game state removed", "state"),
    Condition("other_state", "game state of another session", "state"),
    Condition("other_goal", "another goal", "goal"),
    Condition("own_history", "its own history, not the player's", "history"),
)
"""Everything that is tried."""


def answer_changed(
    policy: Policy,
    observer: Observer,
    windows: Sequence[Window],
    condition: Condition,
    store: Answers,
    advance: Callable[[], object] = lambda: None,
) -> list[Prediction]:
    """Return the answers under a condition; windows that can't be changed in that way are left out.

    Answers that the store has are not asked for again.

    Args:
        policy: who is asked.
        observer: shows the windows as they are.
        windows: whole sessions, in order of session and time.
        condition: what is changed.
        store: keeps the answers.
        advance: called after every window.
    """
    if condition.name == "own_history":
        return _answer_on_own_history(policy, observer, windows, store, advance)
    change = _CHANGES[condition.name]
    for window in windows:
        if window.window_id not in store.done:
            others = [other for other in windows if other.session != window.session]
            seen = change(observer.dataset, observer.observe(window), window, others)
            if seen is not None:
                store.add(answer_observation(policy, observer.dataset, window, seen))
        advance()
    return [store.done[window.window_id] for window in windows if window.window_id in store.done]


def _blank(dataset: Dataset, seen: Observation, window: Window, others: Sequence[Window]) -> Observation:
    return _replace_always(seen, frame=np.zeros_like(seen.frame))


def _see_elsewhere(dataset: Dataset, seen: Observation, window: Window, others: Sequence[Window]) -> Observation | None:
    other = _draw(window, (one for one in others if one.frame_id != window.frame_id))
    return None if other is None else _replace_always(seen, frame=dataset.frame(other))


def _forget_state(dataset: Dataset, seen: Observation, window: Window, others: Sequence[Window]) -> Observation | None:
    return None if seen.game_state is None else _replace_always(seen, game_state=None)


def _read_elsewhere(
    dataset: Dataset, seen: Observation, window: Window, others: Sequence[Window]
) -> Observation | None:
    if seen.game_state is None:
        return None
    other = _draw(window, (one for one in others if one.state is not None and one.state != window.state))
    return None if other is None else _replace_always(seen, game_state=other.state)


def _want_else(dataset: Dataset, seen: Observation, window: Window, others: Sequence[Window]) -> Observation | None:
    alike = (one for one in others if one.goal_level == window.goal_level and one.goal != window.goal)
    other = _draw(window, alike)
    return None if other is None else replace(seen, goal=other.goal)


def _replace_always(seen: Observation, **changes: Any) -> Observation:
    """Change what is seen now, and what was seen in the decisions before that are shown with it."""
    earlier = tuple(replace(past, **changes) for past in seen.earlier or ())
    return replace(seen, **changes, earlier=earlier)


_CHANGES: Mapping[str, Change] = {
    "blank_picture": _blank,
    "other_picture": _see_elsewhere,
    "no_state": _forget_state,
    "other_state": _read_elsewhere,
    "other_goal": _want_else,
}


def _draw(window: Window, others: Iterator[Window]) -> Window | None:
    """The same one at every run: chance depends on the window alone."""
    found = list(others)
    return Random(seed_of(window)).choice(found) if found else None


def _answer_on_own_history(
    policy: Policy, observer: Observer, windows: Sequence[Window], store: Answers, advance: Callable[[], object]
) -> list[Prediction]:
    history_ms = observer.dataset.manifest.history_ms
    answers = []
    for _, of_stream in groupby(sorted(windows, key=_stream_of), key=_stream_of):
        said: list[tuple[float, RecentAction]] = []
        chunks: dict[str, ActionChunk | None] = {}
        for window in sorted(of_stream, key=lambda one: one.t_ns):
            now_ms = window.t_ns / NS_PER_MS
            if window.window_id not in store.done:
                past = [(now_ms - t_ms, one) for t_ms, one in said if now_ms - t_ms <= history_ms]
                recent = tuple(replace(one, age_ms=round(age_ms)) for age_ms, one in past)
                seen = replace(observer.observe(window, chunks), recent=recent)
                store.add(answer_observation(policy, observer.dataset, window, seen))
            answer = store.done[window.window_id]
            chunks[window.window_id] = answer.answer
            answers.append(answer)
            if answer.answer is not None:
                said += [
                    (now_ms + one.t_ms, RecentAction(0, replace(one.action, dt_ms=0)))
                    for one in time_actions(answer.answer)
                ]
            advance()
    return answers


def _stream_of(window: Window) -> tuple[str, str]:
    return window.session, window.goal_level
