"""Folders that describe a model and hold no weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from vlm_agent.models.tiny import TinyFamily, write_tiny_checkpoint

LARGE = {
    "hidden_size": 4096,
    "intermediate_size": 12288,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 151_936,
}
"""Language layers of Qwen3-VL-8B-Instruct."""
LARGE_VISION = {
    "depth": 27,
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_heads": 16,
    "out_hidden_size": 4096,
    "num_position_embeddings": 2304,
    "deepstack_visual_indexes": [8, 16, 24],
}
"""Its vision tower."""


def write_bare(folder: Path, family: TinyFamily = "qwen3_vl") -> Path:
    """Write a tiny checkpoint without its weights."""
    write_tiny_checkpoint(folder, family)
    for path in folder.glob("*.safetensors*"):
        path.unlink()
    return folder


def write_large(folder: Path) -> Path:
    """Write the description of an 8B model that speaks a tiny model's tokens."""
    path = write_bare(folder) / "config.json"
    config = json.loads(path.read_text())
    config["text_config"] |= LARGE | {"max_position_embeddings": 262_144}
    config["text_config"]["rope_parameters"]["mrope_section"] = [24, 20, 20]
    config["vision_config"] |= LARGE_VISION
    path.write_text(json.dumps(config))
    return folder


def copy_bare(source: Path, folder: Path) -> Path:
    """Copy a checkpoint without its weights."""
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("*.safetensors*"))
    return folder
