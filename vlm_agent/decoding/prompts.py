"""From chat messages and frames to what the engine takes, and the automaton in the model's own tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vlm_agent.actions.automaton import ActionAutomaton
from vlm_agent.chat import Recipe
from vlm_agent.decoding.engine import Engine
from vlm_agent.decoding.sequence import ModelPrompt
from vlm_agent.models.encoding import PlainTokenizer
from vlm_agent.models.images import pixel_values, resize_frame
from vlm_agent.models.loading import LoadedModel

Message = dict[str, Any]
RgbFrame = NDArray[np.uint8]


def encode_prompt(
    loaded: LoadedModel, messages: Sequence[Message], frames: Sequence[RgbFrame], recipe: Recipe
) -> ModelPrompt:
    """Tokenize messages and bring their frames, (height, width, 3) RGB, to the recipe's size."""
    shelf = PictureShelf(loaded, recipe)
    shelf.show(frames)
    return shelf.encode(messages)


class PictureShelf:
    """Holds the pictures that prompts are about; those that were there before are not prepared anew."""

    def __init__(self, loaded: LoadedModel, recipe: Recipe) -> None:
        """Take the model, and the recipe that gives the pictures' size."""
        self._loaded = loaded
        self._size = (recipe.image_width_px, recipe.image_height_px)
        self._shows_earlier = recipe.most_earlier > 0
        self._prepared: list[tuple[RgbFrame, Tensor]] = []

    def show(self, frames: Sequence[RgbFrame]) -> None:
        """Prepare the frames, (height, width, 3) RGB, of the prompts to come.

        Where the recipe shows earlier pictures, arrays must not be changed between calls.
        """
        self._prepared = [(frame, self._prepare(frame)) for frame in frames]

    def encode(self, messages: Sequence[Message], *, with_pictures: bool = True) -> ModelPrompt:
        """Tokenize messages about all of the pictures, or about none."""
        values = [values for _, values in self._prepared] if with_pictures else []
        encoded = self._loaded.encoder.encode_prompt(messages, [self._size] * len(values))
        return ModelPrompt(encoded, torch.cat(values) if values else None)

    def _prepare(self, frame: RgbFrame) -> Tensor:
        before = self._prepared if self._shows_earlier else []
        found = next((values for known, values in before if known is frame), None)
        if found is not None:
            return found
        return pixel_values([resize_frame(frame, *self._size)], self._loaded.encoder.images)


def make_automaton(loaded: LoadedModel, recipe: Recipe, *, allow_done: bool = True) -> ActionAutomaton:
    """Return the automaton of a recipe's actions over the model's tokens.

    Raises:
        ConfigError: the tokenizer does not write every digit as a token of its own.
    """
    return ActionAutomaton(recipe.spec, recipe.codec, PlainTokenizer(loaded.encoder), allow_done=allow_done)


def generate_text(
    loaded: LoadedModel,
    messages: Sequence[Message],
    images: Sequence[RgbFrame] = (),
    max_new_tokens: int = 128,
    *,
    max_image_tokens: int | None = None,
) -> str:
    """Return the model's greedy, unconstrained answer, without special tokens.

    Args:
        loaded: the model.
        messages: the conversation, pictures as bare `{"type": "image"}` blocks.
        images: the pictures, (height, width, 3) RGB, in the order of their blocks.
        max_new_tokens: longest answer.
        max_image_tokens: pictures are made smaller until each takes no more tokens.
    """
    settings = loaded.encoder.images
    frames = []
    for image in images:
        width_px, height_px = settings.fit_size(image.shape[1], image.shape[0], max_image_tokens)
        frames.append(resize_frame(image, width_px, height_px))
    prompt = _encode(loaded, messages, frames)
    # Some checkpoints also end with the tokenizer's own end token.
    ends = {loaded.encoder.end_of_turn_id, loaded.tokenizer.eos_token_id}
    answer = Engine(loaded).write(prompt, tuple(ends), max_new_tokens)
    return loaded.encoder.decode_text(answer)


def _encode(loaded: LoadedModel, messages: Sequence[Message], frames: Sequence[RgbFrame]) -> ModelPrompt:
    sizes = [(frame.shape[1], frame.shape[0]) for frame in frames]
    encoded = loaded.encoder.encode_prompt(messages, sizes)
    return ModelPrompt(encoded, pixel_values(frames, loaded.encoder.images) if frames else None)
