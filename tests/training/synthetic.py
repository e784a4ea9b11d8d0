"""A tiny model and synthetic windows: pictures of one colour, answers that name it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vlm_agent.actions.spec import ActionSpec
from vlm_agent.actions.types import ActionChunk, Click, Key
from vlm_agent.dataset.manifest import DatasetManifest, SessionRecord
from vlm_agent.dataset.windows import Window
from vlm_agent.dataset.writer import DatasetWriter
from vlm_agent.models.adapters import attach_lora
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


def load_shaken(folder: Path, config: TrainConfig) -> LoadedModel:
    """Return a model with an adapter that counts."""
    loaded = load_with_lora(folder, config)
    shake_lora(loaded)
    return loaded


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
    return [make_row(group, loaded.encoder) for group in group_examples(examples, max_windows)]


def make_features(loaded: LoadedModel, limit_bytes: int = 1 << 20) -> FeatureCache:
    side = loaded.encoder.images.factor_px

    def load_frame(key: str) -> np.ndarray:
        return np.full((2 * side, 2 * side, 3), int(key) * 25 % 256, np.uint8)

    return FeatureCache(loaded, load_frame, limit_bytes)


def make_material(loaded: LoadedModel, num_frames: int = 12, num_validation: int = 4) -> Material:
    train = make_rows(loaded, make_examples(loaded, num_frames))
    validation = make_rows(loaded, make_examples(loaded, num_validation, goals=1))
    return Material(train, validation, make_features(loaded))


SPEC = ActionSpec(96, 64, keys=("a", "space"))


def write_dataset(
    folder: Path,
    spec: ActionSpec = SPEC,
    num_ticks: int = 12,
    *,
    with_validation: bool = True,
    state: dict[str, Any] | None = None,
) -> Path:
    """Write a dataset of plain-coloured pictures; every tick is asked with its long and its short goal."""
    counts: Counter[str] = Counter()
    with DatasetWriter(folder, spec, history_ms=6000) as writer:
        for tick in range(num_ticks):
            split = "validation" if with_validation and tick % 3 == 2 else "train"
            rgb = np.full((64, 96, 3), tick * 20, np.uint8)
            frame_id = writer.add_frame(rgb)
            for level in ("long", "short"):
                counts[split] += 1
                writer.add_window(replace(_make_window(tick, split, frame_id, level), state=state))
        sessions = (SessionRecord("one", "by time", "0" * 64, sum(counts.values())),)
        writer.finish(DatasetManifest(spec, 6000, dict(counts), writer.frames, sessions, sha256=writer.fingerprint()))
    return folder


def _make_window(tick: int, split: str, frame_id: str, level: str) -> Window:
    target = ActionChunk((Click(90, tick * 7, tick * 5, "left"), Key(40, "space"))) if tick % 4 else ActionChunk()
    return Window(
        session=split,
        clip=tick // 4,
        t_ns=tick * 600_000_000,
        split=split,
        goal=f"press {level}",
        goal_level=level,
        goal_source="game",
        goal_confidence=1.0,
        frame_id=frame_id,
        frame_width_px=96,
        frame_height_px=64,
        target=target,
        recent=((200, Click(100, 3, 4, "left")),),
    )
