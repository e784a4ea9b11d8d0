"""What the training benchmark trains on: a random Qwen3-VL of some size, and windows that share their pictures.

Windows are cut from recorded play. A moment is asked with several wordings of its goal, as many as its pictures are
shared by; with more than one picture, those of the decisions before are shown too, as the dataset's own histories have
them (see `dataset.histories`), and no two moments share any. Conversations are those that training would make.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

from vlm_agent.chat import Message, PromptInput, Recipe, render_answer, render_prompt
from vlm_agent.dataset.histories import Histories
from vlm_agent.dataset.store import Dataset
from vlm_agent.dataset.windows import Window, prompt_input, target_chunk
from vlm_agent.models.encoding import ChatEncoder
from vlm_agent.models.images import ImageSettings, RgbFrame, resize_frame
from vlm_agent.models.nano_config import nano_config, train_tokenizer
from vlm_agent.training.conversations import list_conversations
from vlm_agent.training.moments import spread
from vlm_agent.training.nano.build import corpus
from vlm_agent.training.rows import Example
from vlm_agent.training.windows import TRAIN_SPLIT

WORDINGS = (
    "{goal}",
    "please {goal}",
    "{goal} now",
    "the task: {goal}",
    "{goal}, and be quick",
    "what to do: {goal}",
    "go on: {goal}",
    "{goal}, nothing else",
)
_CORPUS_SAMPLES = 60
_IMAGES = ImageSettings(min_pixels=65_536, max_pixels=1_048_576)


@dataclass(frozen=True)
class Shape:
    """Sizes of a Qwen3-VL."""

    name: str
    text: dict[str, Any]
    """Overrides nano's text part."""
    vision: dict[str, Any]
    """Overrides nano's vision part."""


TINY = Shape("nano's shape, random weights", {}, {})
"""For a try without a card."""

MIDDLE = Shape(
    "a Qwen3-VL of 30 M parameters, random weights",
    {
        "hidden_size": 512,
        "intermediate_size": 1536,
        "num_hidden_layers": 8,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 64,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10_000.0,
            "mrope_section": [16, 8, 8],
            "mrope_interleaved": True,
        },
    },
    {
        "depth": 3,
        "hidden_size": 192,
        "intermediate_size": 768,
        "num_heads": 4,
        "out_hidden_size": 512,
        "deepstack_visual_indexes": [0, 1],
    },
)
"""So large that the arithmetic is what takes the time, and small enough for two cores; the vision tower has a tenth of
the arithmetic, about as in the large ones."""

LARGE = Shape(
    "the shape of Qwen3-VL-8B, random weights",
    {
        "vocab_size": 151_936,
        "hidden_size": 4096,
        "intermediate_size": 12_288,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "max_position_embeddings": 262_144,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 5_000_000.0,
            "mrope_section": [24, 20, 20],
            "mrope_interleaved": True,
        },
        "tie_word_embeddings": False,
    },
    {
        "depth": 27,
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_heads": 16,
        "out_hidden_size": 4096,
        "num_position_embeddings": 2304,
        "deepstack_visual_indexes": [8, 16, 24],
    },
)
"""The sizes in the configuration of Qwen3-VL-8B-Instruct."""


def write_random_model(folder: Path, shape: Shape, device: torch.device) -> Path:
    """Write a checkpoint of a shape with nano's tokenizer; large ones are drawn on the device, in half precision."""
    tokenizer = train_tokenizer(corpus(0, _CORPUS_SAMPLES))
    known = nano_config(tokenizer).to_dict()
    known["text_config"] |= shape.text
    known["vision_config"] |= shape.vision
    known["tie_word_embeddings"] = shape.text.get("tie_word_embeddings", True)
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32 if device.type == "cpu" else torch.bfloat16)
    try:
        with device:
            model = Qwen3VLForConditionalGeneration(Qwen3VLConfig.from_dict(known))
    finally:
        torch.set_default_dtype(before)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    settings = json.dumps(_IMAGES.to_preprocessor_json(), indent=2)
    (folder / "preprocessor_config.json").write_text(settings + "\n", encoding="utf-8")
    return folder


@dataclass(frozen=True)
class Asked:
    """One window: a moment asked with one wording."""

    inp: PromptInput
    """What the model is shown; its pictures have the recipe's size."""
    frame_ids: tuple[str, ...]
    """Identifiers of its pictures, oldest first."""
    answer: str
    """What it is to say."""

    def messages(self, recipe: Recipe) -> list[Message]:
        """Return the prompt."""
        return render_prompt(self.inp, recipe)

    def encode(self, encoder: ChatEncoder, recipe: Recipe) -> Example:
        """Render and tokenize the window."""
        sizes = [(recipe.image_width_px, recipe.image_height_px)] * len(self.frame_ids)
        return Example(encoder.encode_training(self.messages(recipe), self.answer, sizes), self.frame_ids)


def ask_windows(dataset: Dataset, recipe: Recipe, *, count: int, share: int, images: int) -> list[Asked]:
    """Return windows of which `share` have the same pictures, `images` each."""
    shown = replace(recipe, history_frames=images)
    moments = _find_moments(list(dataset.windows(TRAIN_SPLIT)), shown)
    num_moments = count // share
    if len(moments) < num_moments:
        raise SystemExit(f"{num_moments} moments of {images} pictures are needed, the recording has {len(moments)}")
    asked = []
    for earlier, window in moments[:num_moments]:
        before = [(one, _read(dataset, one, recipe)) for one in earlier]
        inp = prompt_input(window, shown, _read(dataset, window, recipe), before)
        answer = render_answer(target_chunk(window, recipe), recipe)
        keys = (*(one.frame_id for one in earlier), window.frame_id)
        goals = [wording.format(goal=window.goal) for wording in WORDINGS[:share]]
        asked += [Asked(replace(inp, goal=goal), keys, answer) for goal in goals]
    return asked


Moment = tuple[tuple[Window, ...], Window]
"""The decisions that are shown with a window, and the window."""


def _find_moments(windows: Sequence[Window], recipe: Recipe) -> list[Moment]:
    """Return windows with whole histories, no picture in two of them."""
    histories = Histories(windows, recipe)
    found: list[Moment]
    if recipe.history_frames == 1:
        by_picture: dict[str, Window] = {}
        for window in windows:
            by_picture.setdefault(window.frame_id, window)
        found = [((), window) for window in by_picture.values()]
    else:
        images = recipe.history_frames
        found = [(histories.before(one), one) for run in histories.runs for one in run[images - 1 :: images]]
    # Moments of a press and of waiting by turns, as a balanced training set has them.
    acting = [moment for moment in found if moment[1].target.actions]
    waiting = [moment for moment in found if not moment[1].target.actions]
    return [moment for pair in itertools.zip_longest(acting, waiting) for moment in pair if moment is not None]


def take_conversations(dataset: Dataset, recipe: Recipe, count: int) -> list[list[Window]]:
    """Return conversations of as many turns as the recipe allows, of so many windows in all."""
    windows = list(dataset.windows(TRAIN_SPLIT))
    turns = recipe.conversation_turns
    found = [one for one in list_conversations(Histories(windows, recipe), recipe, windows) if len(one) == turns]
    if len(found) < count // turns:
        raise SystemExit(f"{count // turns} conversations of {turns} turns are needed, the recording has {len(found)}")
    return list(spread(found, count // turns))


def _read(dataset: Dataset, window: Window, recipe: Recipe) -> RgbFrame:
    return resize_frame(dataset.frame(window), recipe.image_width_px, recipe.image_height_px)
