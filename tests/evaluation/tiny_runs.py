"""Adapters for a tiny random model, as a training run would leave them: a little noise, or nothing at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from vlm_agent.chat import Recipe, make_recipe
from vlm_agent.games.ringcraft.env import ACTION_SPEC
from vlm_agent.models.adapters import RECIPE_FILE, attach_lora
from vlm_agent.models.loading import load_model


def make_tiny_recipe(**changes: Any) -> Recipe:
    settings = {"image_width_px": 96, "image_height_px": 64, "state_text_max_chars": 80, **changes}
    return make_recipe(ACTION_SPEC, **settings)


def write_run(folder: Path, base: Path, *, noise: float = 0.05, recipe: Recipe | None = None, seed: int = 0) -> Path:
    """Write an adapter of `base` into `folder/adapter` and return `folder`."""
    loaded = load_model(base, quantization="nf4", device="cpu")
    wrapped = attach_lora(loaded.model, rank=4, alpha=4, dropout=0.0, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in wrapped.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(0, 1, generator=generator).mul_(noise)
    adapter = folder / "adapter"
    wrapped.save_pretrained(adapter)
    record = {
        "base": {"source": loaded.source, "fingerprint": loaded.fingerprint, "quantization": "nf4"},
        "recipe": (recipe or make_tiny_recipe()).to_json(),
        "dataset": {"path": str(folder / "no-dataset"), "sha256": "0" * 64},
        "steps": 1,
    }
    (adapter / RECIPE_FILE).write_text(json.dumps(record))
    return folder
