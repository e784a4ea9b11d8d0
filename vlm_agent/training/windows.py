"""From windows of a dataset to rows for one model: rendered by the recipe, tokenized once.

Nothing about prompts is decided here: messages and answers come from `chat`, ids from the model's encoder, sizes and
coordinates from the recipe.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
from torch import Tensor

from vlm_agent.chat import Recipe, make_recipe, render_answer, render_prompt
from vlm_agent.dataset.pictures import frame_path, read_jpeg
from vlm_agent.dataset.store import Dataset
from vlm_agent.dataset.windows import Window, prompt_input, target_chunk
from vlm_agent.errors import DataError
from vlm_agent.models.encoding import ChatEncoder, Encoded
from vlm_agent.models.forward import rope_positions
from vlm_agent.models.images import RgbFrame, resize_frame
from vlm_agent.models.loading import LoadedModel
from vlm_agent.training.config import RecipeSettings
from vlm_agent.training.rows import Example, Row, group_examples, make_row

TRAIN_SPLIT = "train"
VALIDATION_SPLIT = "validation"

_UNSEEN: RgbFrame = np.zeros((1, 1, 3), np.uint8)
"""Stands for a picture where only its place in the prompt matters."""


def choose_recipe(loaded: LoadedModel, dataset: Dataset, settings: RecipeSettings) -> Recipe:
    """Return how a model is to be shown a dataset: its own picture size for the commonest frame, its own coordinates.

    Raises:
        DataError: the dataset has no training windows.
    """
    if TRAIN_SPLIT not in dataset.splits:
        raise DataError(f"{dataset.folder}: no windows to train on")
    sizes = Counter((window.frame_width_px, window.frame_height_px) for window in dataset.windows(TRAIN_SPLIT))
    [(frame_size, _)] = sizes.most_common(1)
    width, height = loaded.encoder.images.fit_size(*frame_size, max_tokens=settings.image_max_tokens)
    return make_recipe(
        dataset.spec,
        image_width_px=width,
        image_height_px=height,
        codec=settings.codec,
        coordinates=loaded.family.coordinates,
        history_ticks=settings.history_ticks,
        state_text_max_chars=settings.state_text_max_chars,
    )


def build_rows(encoder: ChatEncoder, windows: Iterable[Window], recipe: Recipe, windows_per_row: int) -> list[Row]:
    """Tokenize windows; those over the same picture share rows of at most so many windows."""
    examples = [encode_window(encoder, window, recipe) for window in windows]

    def find_positions(encoded: Encoded) -> Tensor:
        return rope_positions(encoded, encoder.images, encoder.image_token_id)

    return [make_row(group, find_positions) for group in group_examples(examples, windows_per_row)]


def encode_window(encoder: ChatEncoder, window: Window, recipe: Recipe) -> Example:
    """Render and tokenize one window with its answer; its picture is not read."""
    messages = render_prompt(prompt_input(window, recipe, _UNSEEN), recipe)
    answer = render_answer(target_chunk(window, recipe), recipe)
    size = (recipe.image_width_px, recipe.image_height_px)
    return Example(encoder.encode_training(messages, answer, [size]), (window.frame_id,))


def thin_idle(windows: Iterable[Window], keep: float, seed: int) -> list[Window]:
    """Return the windows with only a share of the moments at which nothing is done; drawn by moment.

    A moment's windows (long and short goal) stay or go together.
    """

    def is_kept(window: Window) -> bool:
        is_idle = not window.target.actions and not window.target.done
        return not is_idle or Random(f"{seed} {window.session} {window.t_ns}").random() < keep

    return [window for window in windows if is_kept(window)]


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


def spread(windows: Sequence[Window], limit: int) -> list[Window]:
    """Return at most `limit` windows, evenly spread over all."""
    count = min(limit, len(windows))
    return [windows[index * len(windows) // count] for index in range(count)]


class FrameLoader:
    """Reads a dataset's pictures by identifier, at the recipe's size."""

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        """Take the dataset's folder and what to resize to."""
        self._folder = folder
        self._size = (recipe.image_width_px, recipe.image_height_px)

    def __call__(self, frame_id: str) -> RgbFrame:
        """Return the resized picture."""
        return resize_frame(read_jpeg(frame_path(self._folder, frame_id)), *self._size)
