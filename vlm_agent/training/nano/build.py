"""The start and the end of nano: weights from a seed, and the folder that ships."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import Qwen3VLForConditionalGeneration

from vlm_agent.chat import PromptInput, render_answer, render_prompt
from vlm_agent.files import write_folder
from vlm_agent.models.nano_config import IMAGE_SETTINGS, nano_config, train_tokenizer
from vlm_agent.training.nano import scenes

CORPUS_SAMPLES = 1500
"""Screens whose prompts and answers the tokenizer is trained on."""
CORPUS_OFFSET = 20_000_000
"""Where the tokenizer's samples start, apart from those of the training stages."""


def build_nano(seed: int, tokenizer: Any) -> Any:
    """Return a freshly initialised nano, the same for the same seed."""
    torch.manual_seed(seed)
    model = Qwen3VLForConditionalGeneration(nano_config(tokenizer))
    _sine_positions(model.model.visual.pos_embed.weight)
    return model.train()


def make_tokenizer(seed: int) -> Any:
    """Return nano's tokenizer, trained on the prompts and answers of some samples."""
    return train_tokenizer(corpus(seed, CORPUS_SAMPLES))


def corpus(seed: int, num_samples: int) -> Iterator[str]:
    """Yield the texts nano will meet: wordings of goals, prompts and answers of some samples."""
    recipe = scenes.nano_recipe()
    yield from scenes.extra_texts()
    for index in range(num_samples):
        sample = scenes.make_sample(seed, CORPUS_OFFSET + index, draw=False)
        for question in sample.questions:
            inp = PromptInput((), question.goal, sample.state_text, sample.recent)
            yield from (block["text"] for message in render_prompt(inp, recipe) for block in message["content"])
            yield render_answer(question.answer, recipe)


def _sine_positions(weight: torch.Tensor) -> None:
    # A position table that starts as sines of x and y at several frequencies learns to point several times sooner
    # than one that starts as noise.
    side, width = int(weight.shape[0] ** 0.5), weight.shape[1]
    place = torch.linspace(0, 1, side)
    frequencies = torch.arange(1, width // 4 + 1) * 0.5 * torch.pi
    waves = torch.cat([torch.sin(place[:, None] * frequencies), torch.cos(place[:, None] * frequencies)], dim=1)
    table = torch.cat([waves[:, None].expand(-1, side, -1), waves[None].expand(side, -1, -1)], dim=-1)
    with torch.no_grad():
        weight.copy_(0.3 * table.reshape(side * side, width))


def export_nano(model: Any, tokenizer: Any, out: Path) -> Path:
    """Write the checkpoint folder that ships: half-precision safetensors, config, tokenizer, picture settings."""

    def fill(beside: Path) -> None:
        model.half().save_pretrained(beside)
        model.float()
        tokenizer.save_pretrained(beside)
        settings = json.dumps(IMAGE_SETTINGS.to_preprocessor_json(), indent=2)
        (beside / "preprocessor_config.json").write_text(settings + "\n", encoding="utf-8")

    return write_folder(out, fill)
