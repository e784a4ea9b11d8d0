"""Answers no more exact than the eyes they are read with.

Where a thing stands in the world it may be on any pixel, and where its middle is can't be told from a patch or two to
the thousandth that a text gives. What can be told is the patch: whoever presses in the middle of a patch that shows
the thing has hit it; of what is smaller, in which half of it. Icons lie in a few dozen places, and are learnt exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vlm_agent.actions.types import Action, ActionChunk, Click, Move
from vlm_agent.training.nano.dense import coarse_place, patch_middles
from vlm_agent.training.nano.samples import NanoSample, Thing
from vlm_agent.training.nano.things import POINTER


def answer_by_eye(sample: NanoSample, rows: int, columns: int) -> NanoSample:
    """Return the sample with places that its text does not tell moved to the middle of a patch that shows the thing.

    Args:
        sample: with what is left of its game-state text.
        rows: of patches, from top to bottom.
        columns: of patches, from left to right.
    """

    def move(action: Action) -> Action:
        if not isinstance(action, Click | Move) or f"@{action.x},{action.y}" in sample.state_text:
            return action
        thing = topmost(action.x, action.y, sample.things)
        if thing is None or not thing.is_anywhere:
            return action
        x, y = _middle_of_patch(action.x, action.y, thing, sample.things, rows, columns)
        return replace(action, x=x, y=y)

    questions = []
    for question in sample.questions:
        answer = question.answer
        questions.append(replace(question, answer=ActionChunk(tuple(map(move, answer.actions)), answer.done)))
    return replace(sample, questions=tuple(questions))


def topmost(x: int, y: int, things: Sequence[Thing]) -> Thing | None:
    """Return the smallest thing at a place; what the pointer hides is still what is meant."""
    here = [thing for thing in things if thing.name != POINTER and thing.holds(x, y)]
    return min(here, key=lambda thing: thing.area, default=None)


def _middle_of_patch(x: int, y: int, thing: Thing, things: Sequence[Thing], rows: int, columns: int) -> tuple[int, int]:
    """The nearest patch's middle that shows the thing; of one too small for any, its place to within half a patch."""
    middles = patch_middles(rows, columns)
    shown = [middle for middle in middles if thing.holds(*middle) and topmost(*middle, things) == thing]
    nearest = min(shown, key=lambda middle: (middle[0] - x) ** 2 + (middle[1] - y) ** 2, default=None)
    return nearest or coarse_place(x, y, rows, columns)
