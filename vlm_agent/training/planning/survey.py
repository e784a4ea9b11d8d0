"""A sample of windows under one recipe, tokenized and counted: what a model would read and write."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from vlm_agent.actions.automaton import ActionAutomaton
from vlm_agent.chat import Recipe, render_prompt, render_step_prompt
from vlm_agent.dataset.histories import Histories
from vlm_agent.dataset.windows import Window, prompt_input
from vlm_agent.models.encoding import ChatEncoder, PlainTokenizer
from vlm_agent.training.moments import Moment, moment_of
from vlm_agent.training.planning.parts import (
    PromptPart,
    Spread,
    count_choices,
    count_phrase_choices,
    count_prompt,
    spread_of,
)
from vlm_agent.training.windows import UNSEEN_FRAME, encode_window

ACTIONS, STEP = "actions", "step"
"""The two questions a window may ask."""


@dataclass(frozen=True)
class WindowTokens:
    """One window."""

    question: str
    """`actions` or `step`."""
    parts: Counter[PromptPart]
    """Tokens by part, the answer's too."""
    choices: int
    """Tokens of the answer at which the model is asked; the others are forced."""
    kept_texts: int
    """Tokens of text at its start that are there already from the decision before."""
    pictures: int
    """How many pictures its prompt shows."""
    kept_pictures: int = 0
    """How many of them are there already."""

    @property
    def total(self) -> int:
        """All its tokens."""
        return self.parts.total()

    @property
    def kept(self) -> int:
        """Tokens at its start that are there already from the decision before."""
        return self.kept_texts + self.parts[PromptPart.PICTURE] * self.kept_pictures // max(1, self.pictures)

    @property
    def prompt(self) -> int:
        """Tokens of its prompt."""
        return self.total - self.parts[PromptPart.ANSWER]


@dataclass(frozen=True)
class Survey:
    """What windows take under one recipe."""

    recipe: Recipe
    """The recipe."""
    windows: tuple[WindowTokens, ...]
    """The sample."""

    @property
    def questions(self) -> tuple[str, ...]:
        """Which questions are asked."""
        return tuple(name for name in (ACTIONS, STEP) if any(one.question == name for one in self.windows))

    def of(self, question: str) -> list[WindowTokens]:
        """Return the windows that ask a question."""
        return [one for one in self.windows if one.question == question]

    def only(self, question: str) -> Survey:
        """Return the survey of one question alone."""
        return replace(self, windows=tuple(self.of(question)))

    def spread_part(self, question: str, part: PromptPart) -> Spread:
        """Return how many tokens a part takes."""
        return spread_of(one.parts[part] for one in self.of(question))

    def spread_total(self, question: str) -> Spread:
        """Return how many tokens a window takes."""
        return spread_of(one.total for one in self.of(question))

    @property
    def longest(self) -> int:
        """Tokens of the longest window, with its answer."""
        return max((one.total for one in self.windows), default=0)


@dataclass(frozen=True)
class DecisionTokens:
    """What one decision takes: the question for actions, and where steps are named, the one before it."""

    new_tokens: Spread
    """Tokens that are run before the first is chosen."""
    prompt_tokens: int
    """Tokens that the answer looks back at, at most."""
    passes: Spread
    """Passes over answers, one for each choice."""


def draw_sample(windows: Sequence[Window], most: int, seed: int) -> list[Window]:
    """Return the windows of so many pictures that there are about `most` of them; all, where there are no more.

    Windows over one picture stay together, so that they fall into rows as they would in training.
    """
    if len(windows) <= most:
        return list(windows)
    frames = sorted({window.frame_id for window in windows})
    random.Random(f"plan {seed}").shuffle(frames)
    counts = Counter(window.frame_id for window in windows)
    drawn, total = set(), 0
    for frame in frames:
        if total >= most:
            break
        drawn.add(frame)
        total += counts[frame]
    return [window for window in windows if window.frame_id in drawn]


def survey_windows(
    encoder: ChatEncoder,
    windows: Iterable[Window],
    recipe: Recipe,
    steps: Mapping[Moment, str],
    histories: Histories,
    *,
    snap: int = 0,
) -> Survey:
    """Return what windows take, each with all that is shown with it in play, tokenized as training does it.

    Args:
        encoder: the model's.
        windows: the sample.
        recipe: how they are shown.
        steps: the step of each moment that has one (see `moments.find_steps`).
        histories: tells what came before them.
        snap: reach of `snap_clicks`.
    """
    automaton = ActionAutomaton(recipe.spec, recipe.codec, PlainTokenizer(encoder))
    phrases = [(*encoder.encode_text(step), encoder.end_of_turn_id) for step in recipe.steps]
    size = (recipe.image_width_px, recipe.image_height_px)
    counted = []
    for window in windows:
        earlier = histories.before(window)
        step = steps.get(moment_of(window))
        example = encode_window(encoder, window, recipe, step, snap=snap, earlier=earlier)
        render = partial(render_step_prompt if example.is_step else render_prompt, recipe=recipe)
        sizes = [size] * len(example.encoded.image_grids)
        inp = prompt_input(window, recipe, UNSEEN_FRAME, [(one, UNSEEN_FRAME) for one in earlier])
        parts = count_prompt(encoder, render, inp, sizes)
        answer = example.encoded.target_ids
        parts[PromptPart.ANSWER] = len(answer)
        choices = count_phrase_choices(phrases, answer) if example.is_step else count_choices(automaton, answer[:-1])
        ids = example.encoded.input_ids
        question = STEP if example.is_step else ACTIONS
        kept = _count_kept(encoder, ids, goes_on=recipe.is_conversation and histories.goes_on(window))
        counted.append(WindowTokens(question, parts, choices, kept[0], len(sizes), kept[1]))
    return Survey(recipe, tuple(counted))


def _count_kept(encoder: ChatEncoder, ids: Sequence[int], *, goes_on: bool) -> tuple[int, int]:
    """Return how many tokens of text at a prompt's start are there from the decision before, and how many pictures."""
    if goes_on:  # all but the newest turn is there
        start = encoder.find_answers(ids)[-2]
        kept = ids[: ids.index(encoder.end_of_turn_id, start)]
        return sum(token != encoder.image_token_id for token in kept), len(encoder.find_answers(ids)) - 1
    # What stands before the first picture is the same in every decision.
    return (ids.index(encoder.image_token_id), 0) if encoder.image_token_id in ids else (0, 0)


def count_decision(survey: Survey) -> DecisionTokens:
    """Return what a decision on the goals of a survey takes; with steps, both questions, the slowest of each."""
    actions, steps = survey.of(ACTIONS), survey.of(STEP)
    acted = [one.prompt - one.kept for one in actions]
    if actions and steps and not survey.recipe.steps_from_state:
        # Both questions begin alike, up to the goal; what was run for the first is there for the second.
        acted = [one.parts[PromptPart.GOAL] + one.parts[PromptPart.FORMAT] for one in actions]
    new, named = spread_of(acted), spread_of(one.prompt - one.kept for one in steps)
    passes, phrase = spread_of(one.choices for one in actions), spread_of(one.choices for one in steps)
    return DecisionTokens(_add(new, named), survey.longest, _add(passes, phrase))


def _add(left: Spread, right: Spread) -> Spread:
    return Spread(left.p50 + right.p50, left.p95 + right.p95, left.largest + right.largest)
