"""A tiny model and synthetic windows: pictures of one colour, answers that name it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from vlm_agent.models.adapters import attach_lora
from vlm_agent.models.forward import rope_positions
from vlm_agent.models.loading import LoadedModel, load_model
from vlm_agent.training.config import TrainConfig
from vlm_agent.training.features import FeatureCache
from vlm_agent.training.loop import Material
from vlm_agent.training.rows import Example, Row, group_examples, make_row


def load_with_lora(folder: Path, config: TrainConfig, quantization: str = "nf4") -> LoadedModel:
    loaded = load_model(folder, quantization=quantization, device="cpu")
    lora = config.lora
    wrapped = attach_lora(loaded.model, rank=lora.rank, alpha=lora.alpha, dropout=lora.dropout, seed=config.seed)
    return replace(loaded, peft=wrapped)


def shake_lora(loaded: LoadedModel, seed: int = 0) -> None:
    """Make an adapter count: fresh ones change nothing, and then half of all gradients are zero."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in loaded.peft.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(0, 0.1, generator=generator)


def make_examples(loaded: LoadedModel, num_frames: int, goals: int = 2) -> list[Example]:
    encoder, side = loaded.encoder, loaded.encoder.images.factor_px
    examples = []
    for index in range(num_frames):
        for goal in range(goals):
            words = f"State: {'busy ' * (index % 4)}{index}. Goal: {'long and ' * goal}name it"
            content = [{"type": "image"}, {"type": "text", "text": words}]
            messages = [{"role": "user", "content": content}]
            encoded = encoder.encode_training(messages, f'{{"colour":{index * 7 % 10}}}', [(2 * side, 2 * side)])
            examples.append(Example(encoded, (str(index),)))
    return examples


def make_rows(loaded: LoadedModel, examples: list[Example], max_windows: int = 2) -> list[Row]:
    encoder = loaded.encoder

    def find_positions(encoded):
        return rope_positions(encoded, encoder.images, encoder.image_token_id)

    return [make_row(group, find_positions) for group in group_examples(examples, max_windows)]


def make_features(loaded: LoadedModel, limit_bytes: int = 1 << 20) -> FeatureCache:
    side = loaded.encoder.images.factor_px

    def load_frame(key: str) -> np.ndarray:
        return np.full((2 * side, 2 * side, 3), int(key) * 25 % 256, np.uint8)

    return FeatureCache(loaded, load_frame, limit_bytes)


def make_material(loaded: LoadedModel, num_frames: int = 12, num_validation: int = 4) -> Material:
    train = make_rows(loaded, make_examples(loaded, num_frames))
    validation = make_rows(loaded, make_examples(loaded, num_validation, goals=1))
    return Material(train, validation, make_features(loaded))
