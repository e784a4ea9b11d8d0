"""The recorded windows that a model answers worst: what the player did, what was said, and a picture with both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from vlm_agent.actions.types import Action, ActionChunk, Click, Key, Scroll
from vlm_agent.dataset.store import Dataset
from vlm_agent.dataset.windows import Window
from vlm_agent.evaluation.marks import draw_cross, draw_ring, shrink, to_jpeg
from vlm_agent.evaluation.offline.matching import time_actions
from vlm_agent.evaluation.offline.metrics import ScoreConfig
from vlm_agent.evaluation.offline.predictions import Prediction, tell_source
from vlm_agent.evaluation.offline.scores import score

NUM_WORST = 24
"""How many windows are shown."""
WIDTH_PX = 360
"""Width of their pictures."""
_MOST_OF_SESSION = 2
"""Neighbouring windows go wrong alike: of one session so many are shown, unless others are lacking."""


@dataclass(frozen=True)
class WorstWindow:
    """One window that was answered badly."""

    window_id: str
    """Its name in the dataset."""
    goal: str
    """What was asked for."""
    whose: str
    """Whose goal that is, in words."""
    wanted: str
    """What the player did."""
    said: str
    """What was answered."""
    jpeg: bytes
    """What was seen; rings where the player pressed, crosses where the answer would."""


def find_worst(
    dataset: Dataset,
    windows: Sequence[Window],
    predictions: Sequence[Prediction],
    config: ScoreConfig,
    count: int = NUM_WORST,
) -> list[WorstWindow]:
    """Return the windows with most actions missing or made up, worst first; of equals those that are farther off.

    Args:
        dataset: gives the pictures.
        windows: what was asked about.
        predictions: the answers to them.
        config: when two actions count as the same.
        count: how many windows to return at most.
    """
    by_id = {window.window_id: window for window in windows}
    worst = []
    for one in _choose(predictions, config, count):
        picture = Image.fromarray(dataset.frame(by_id[one.window_id]))
        worst.append(
            WorstWindow(
                one.window_id,
                one.goal,
                tell_source(one.goal_source),
                describe(one.target),
                describe(one.answer, one.reason),
                _draw(picture, one),
            )
        )
    return worst


def describe(chunk: ActionChunk | None, reason: str | None = None) -> str:
    """Return in words what a chunk does, or why there is none."""
    if chunk is None:
        return f"no answer: {reason}"
    words = [f"{_tell(one.action)} at {one.t_ms} ms" for one in time_actions(chunk)]
    if chunk.done:
        words.append("says it is done")
    return ", ".join(words) or "waits"


def _choose(predictions: Sequence[Prediction], config: ScoreConfig, count: int) -> list[Prediction]:
    ranked = sorted(predictions, key=lambda one: (*(-value for value in _badness(one, config)), one.window_id))
    wrong = [one for one in ranked if _badness(one, config)[0] > 0]
    taken: Counter[str] = Counter()
    first: list[Prediction] = []
    rest: list[Prediction] = []
    for one in wrong:
        taken[one.session] += 1
        (first if taken[one.session] <= _MOST_OF_SESSION else rest).append(one)
    return (first + rest)[:count]


def _badness(one: Prediction, config: ScoreConfig) -> tuple[float, float]:
    """Actions missing or made up, and how far off the matched ones are."""
    tally = score(one, config)
    missed = tally.counts["f1_detail"] - tally.sums["f1_detail"]
    if one.answer is None or one.answer.done != one.target.done:
        missed += 1
    return missed, tally.sums.get("distance_px", 0.0)


def _tell(action: Action) -> str:
    match action:
        case Key(key=key):
            return f"key {key}"
        case Click(button=button, x=x, y=y):
            return f"{'' if button == 'left' else f'{button} '}click {x}, {y}"
        case Scroll(dy=dy):
            return f"wheel {dy:+d}"
        case _:
            return f"move {action.x}, {action.y}"


def _draw(picture: Image.Image, one: Prediction) -> bytes:
    draw = ImageDraw.Draw(picture)
    for point in _presses(one.answer):
        draw_cross(draw, point)
    for point in _presses(one.target):
        draw_ring(draw, point)
    return to_jpeg(shrink(picture, WIDTH_PX))


def _presses(chunk: ActionChunk | None) -> Iterator[tuple[int, int]]:
    for action in chunk.actions if chunk else ():
        if isinstance(action, Click | Scroll):
            yield action.x, action.y
