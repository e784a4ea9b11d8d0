"""Whether an answer hangs together with itself and with what came before it, whatever the player did next.

- Presses fit what is held: an `up` lets go of something that is down, a press or a `down` takes something that is not.
  What is down at the window's start is known from its history.
- The pointer is not faster than the player's ever is, in any of the windows, from his last place on.
- It does not stutter: click once more where the player clicked last, when he does not. In play that is how an agent
  gets caught in its own history.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import hypot, inf

from vlm_agent.actions.types import Action, Click, Key
from vlm_agent.evaluation.offline.matching import Timed, time_actions
from vlm_agent.evaluation.offline.metrics import ScoreConfig
from vlm_agent.evaluation.offline.predictions import Prediction, name_held
from vlm_agent.evaluation.offline.tallies import Tally

_SHORTEST_MS = 10
"""Times are multiples of this: two things at one time may be nearly so far apart."""


def check_consistency(
    tally: Tally, prediction: Prediction, answers: Sequence[Timed], config: ScoreConfig, top_speed: float
) -> None:
    """Add to a window's tally whether its answer hangs together, and whether its clicks land on anything.

    Args:
        tally: the window's.
        prediction: the window.
        answers: the answered actions with their times.
        config: how near two clicks are the same.
        top_speed: of the player's pointer, pixels per millisecond.
    """
    fits = [fit for fit, _ in _fit_presses(prediction, answers)]
    for fit, is_half in _fit_presses(prediction, answers):
        if is_half:
            tally.add("pairing", fit)
    speeds = list(_speeds(prediction, answers))
    is_possible = all(speed <= top_speed for speed in speeds)
    if speeds:
        tally.add("possible_speed", is_possible)
    stutters = _count_stutters(prediction, answers, config)
    clicks = sum(isinstance(one.action, Click) for one in answers)
    if clicks and prediction.last_click is not None:
        tally.add("stutter", stutters, clicks)
    if answers:
        tally.add("consistent", all(fits) and is_possible and not stutters)
    if prediction.on_something is not None:
        if prediction.on_something:
            tally.add("click_on_something", sum(prediction.on_something), len(prediction.on_something))
        if prediction.boxes:
            tally.add("player_on_something", sum(box is not None for box in prediction.boxes), len(prediction.boxes))


def find_top_speed(predictions: Sequence[Prediction]) -> float:
    """Return how fast the player's pointer ever is, pixels per millisecond; infinite where it never moves."""
    speeds = (speed for one in predictions for speed in _speeds(one, time_actions(one.target)))
    return max(speeds, default=inf)


def _fit_presses(prediction: Prediction, answers: Sequence[Timed]) -> Iterator[tuple[bool, bool]]:
    """For each press whether it fits what is held, and whether it is half a press."""
    held = set(prediction.held)
    for one in answers:
        action = one.action
        if isinstance(action, Click | Key):
            name = name_held(action)
            yield (name in held) == (action.state == "up"), action.state is not None
            if action.state is not None:
                (held.add if action.state == "down" else held.discard)(name)


def _speeds(prediction: Prediction, actions: Sequence[Timed]) -> Iterator[float]:
    before: tuple[float, float, float] | None = None
    if prediction.pointer is not None:
        x, y, age_ms = prediction.pointer
        before = x, y, -age_ms
    for one in actions:
        place = _place_of(one.action)
        if place is None:
            continue
        if before is not None:
            yield hypot(place[0] - before[0], place[1] - before[1]) / max(one.t_ms - before[2], _SHORTEST_MS)
        before = *place, one.t_ms


def _place_of(action: Action) -> tuple[int, int] | None:
    return None if isinstance(action, Key) else (action.x, action.y)


def _count_stutters(prediction: Prediction, answers: Sequence[Timed], config: ScoreConfig) -> int:
    if prediction.last_click is None:
        return 0
    x, y, button = prediction.last_click

    def is_there(action: Action) -> bool:
        return (
            isinstance(action, Click)
            and action.button == button
            and hypot(action.x - x, action.y - y) <= config.near_px
        )

    if any(is_there(action) for action in prediction.target.actions):
        return 0
    return sum(is_there(one.action) for one in answers)
