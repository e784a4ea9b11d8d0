"""The base with worked examples in its prompt: how much of what tuning gives could be had by asking better.

Examples are what the player did at the training moments most alike, the most alike last, each of another session so
that they are not one moment several times. They are texts: goal, recent actions and game state say what is where, and
a picture each would make the prompt several times as long for models that mostly were not trained on several.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from vlm_agent.chat import Message, PromptInput, Recipe, Shot, render_answer, render_prompt, render_step_prompt
from vlm_agent.dataset.windows import Window, prompt_input, target_chunk
from vlm_agent.errors import DataError
from vlm_agent.evaluation.offline.word_index import WordIndex, words_of
from vlm_agent.policies import VlmPolicy
from vlm_agent.training.moments import find_steps, moment_of

if TYPE_CHECKING:
    from vlm_agent.decoding.engine import DecodeConfig
    from vlm_agent.models.loading import LoadedModel

Render = Callable[[PromptInput, Recipe, Sequence[Shot]], list[Message]]
"""Writes a question behind worked examples."""

_UNSEEN = np.zeros((1, 1, 3), np.uint8)


class ShotFinder:
    """Worked examples, found by goal and game state."""

    def __init__(self, shots: Sequence[tuple[str, Shot]]) -> None:
        """Take the examples, each with its session."""
        self._shots = shots
        self._index = WordIndex([_words(shot.inp) for _, shot in shots]) if shots else None

    def find(self, inp: PromptInput, count: int) -> list[Shot]:
        """Return so many examples of different sessions, the most alike last."""
        found: dict[str, Shot] = {}
        for number in self._index.rank(_words(inp)) if self._index and count else ():
            session, shot = self._shots[number]
            found.setdefault(session, shot)
            if len(found) == count:
                break
        return list(found.values())[::-1]


class FewShotPolicy(VlmPolicy):
    """A model that is shown what the player did in like moments before it is asked."""

    def __init__(
        self, loaded: LoadedModel, recipe: Recipe, windows: Sequence[Window], count: int, config: DecodeConfig
    ) -> None:
        """Take a model and the training windows.

        Args:
            loaded: the model.
            recipe: how it is spoken to.
            windows: what examples are taken from.
            count: examples in a prompt; fewer where they don't fit into the model's context.
            config: how answers are written.

        Raises:
            DataError: there are no windows.
        """
        super().__init__(loaded, recipe, config)
        if not windows:
            raise DataError("worked examples need training windows, and the dataset has none")
        self._count = count
        self._most_tokens = loaded.context_tokens - config.max_tokens
        steps = find_steps(windows, recipe)
        self._action_shots = ShotFinder(
            [(one.session, _show_actions(one, recipe)) for one in windows if one.goal not in recipe.long_goals]
        )
        self._step_shots = ShotFinder(_show_steps(windows, steps, recipe))

    def ask(self, seen: PromptInput) -> list[Message]:
        """Return the messages that ask for actions, behind as many examples as fit."""
        return self._fit(render_prompt, seen, self._action_shots, len(seen.frames))

    def ask_step(self, seen: PromptInput) -> list[Message]:
        """Return the messages that ask for the next step, behind as many examples as fit."""
        num_frames = 0 if self.recipe.steps_from_state else len(seen.frames)
        return self._fit(render_step_prompt, seen, self._step_shots, num_frames)

    def _fit(self, render: Render, seen: PromptInput, known: ShotFinder, num_frames: int) -> list[Message]:
        sizes = [(self.recipe.image_width_px, self.recipe.image_height_px)] * num_frames
        shots = known.find(seen, self._count)
        while shots:
            messages = render(seen, self.recipe, shots)
            if len(self.loaded.encoder.encode_prompt(messages, sizes).input_ids) <= self._most_tokens:
                return messages
            # The least alike stands first.
            shots = shots[1:]
        return render(seen, self.recipe, ())


def _words(inp: PromptInput) -> frozenset[str]:
    return words_of(inp.goal, inp.state_text)


def _show_actions(window: Window, recipe: Recipe) -> Shot:
    return Shot(prompt_input(window, recipe, _UNSEEN), render_answer(target_chunk(window, recipe), recipe))


def _show_steps(
    windows: Sequence[Window], steps: Mapping[tuple[str, int], str], recipe: Recipe
) -> list[tuple[str, Shot]]:
    return [
        (one.session, Shot(prompt_input(one, recipe, _UNSEEN), steps[moment_of(one)]))
        for one in windows
        if one.goal in recipe.long_goals and moment_of(one) in steps
    ]
