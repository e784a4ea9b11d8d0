"""Tiny random models for the decoding tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.decoding.tiny_prompts import add_loud_lora
from vlm_agent.models.loading import LoadedModel, load_model
from vlm_agent.models.tiny import write_tiny_checkpoint


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    """Write each tiny checkpoint once."""
    root: Path = tmp_path_factory.mktemp("tiny")

    def get(family: str) -> Path:
        folder = root / family
        return folder if folder.exists() else write_tiny_checkpoint(folder, family)

    return get


@pytest.fixture(scope="session", params=["qwen3_vl", "qwen3_vl-nf4-lora", "qwen2_5_vl"])
def loaded(request, tiny_folder) -> LoadedModel:
    family, _, tuned = request.param.partition("-")
    model = load_model(tiny_folder(family), quantization="nf4" if tuned else "none", device="cpu")
    if tuned:
        add_loud_lora(model)
    return model
