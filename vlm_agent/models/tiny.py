"""Tiny random Qwen-VL checkpoints, saved as ordinary folders: the whole line can be tried without real weights.

They know nothing; they are shaped like the real thing (tokenizer, chat template, picture settings, safetensors).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import Qwen2_5_VLConfig, Qwen3VLConfig

from vlm_agent.models.images import ImageSettings
from vlm_agent.models.loading import FAMILIES
from vlm_agent.models.nano_config import train_tokenizer
from vlm_agent.models.quantized import nf4_config

TinyFamily = Literal["qwen3_vl", "qwen2_5_vl"]

QWEN2_5_IMAGES = ImageSettings(
    patch_px=14,
    mean=(0.48145466, 0.4578275, 0.40821073),
    std=(0.26862954, 0.26130258, 0.27577711),
    min_pixels=3_136,
    max_pixels=12_845_056,
)
"""Qwen2.5-VL's picture settings (CLIP's mean and deviation)."""

_CORPUS = (
    '{"actions":[{"event":"MOVE","dt":90,"x":512,"y":430},{"event":"CLICK","dt":40,"x":1,"y":2,"button":"left"}]}',
)
_HIDDEN = 64


def write_tiny_checkpoint(folder: Path, family: TinyFamily = "qwen3_vl", *, nf4: bool = False, seed: int = 0) -> Path:
    """Write a random checkpoint of a few hundred thousand parameters and return its folder.

    Args:
        folder: is created; files in it are overwritten.
        family: which architecture.
        nf4: save the language layers already quantised, as pre-quantised repositories do.
        seed: draws the weights.
    """
    tokenizer = train_tokenizer(_CORPUS, 320)
    config, images = _make_config(family, tokenizer)
    model_class = FAMILIES[family].model_class
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = model_class(config)
    model.save_pretrained(folder)
    if nf4:
        packed = model_class.from_pretrained(folder, quantization_config=nf4_config(torch.float32), dtype=torch.float32)
        packed.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    settings = json.dumps(images.to_preprocessor_json(), indent=2)
    (folder / "preprocessor_config.json").write_text(settings + "\n", encoding="utf-8")
    return folder


def _make_config(family: TinyFamily, tokenizer: Any) -> tuple[Qwen3VLConfig | Qwen2_5_VLConfig, ImageSettings]:
    token_id = tokenizer.convert_tokens_to_ids
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": _HIDDEN,
        "intermediate_size": 2 * _HIDDEN,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
        "initializer_range": 0.1,
        "pad_token_id": token_id("<|endoftext|>"),
        "bos_token_id": token_id("<|endoftext|>"),
        "eos_token_id": token_id("<|im_end|>"),
        "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [4, 2, 2]},
    }
    vision: dict[str, Any] = {"depth": 3, "hidden_size": 32, "num_heads": 2, "spatial_merge_size": 2}
    tokens = {
        "image_token_id": token_id("<|image_pad|>"),
        "video_token_id": token_id("<|video_pad|>"),
        "vision_start_token_id": token_id("<|vision_start|>"),
        "vision_end_token_id": token_id("<|vision_end|>"),
        "tie_word_embeddings": False,
    }
    if family == "qwen3_vl":
        text |= {"head_dim": 16}
        text["rope_parameters"]["mrope_interleaved"] = True
        vision |= {"intermediate_size": 64, "patch_size": 16, "out_hidden_size": _HIDDEN}
        vision |= {"num_position_embeddings": 16, "deepstack_visual_indexes": [0, 1]}
        return Qwen3VLConfig(text_config=text, vision_config=vision, **tokens), ImageSettings()
    vision |= {"intermediate_size": 64, "patch_size": 14, "out_hidden_size": _HIDDEN}
    vision |= {"window_size": 112, "fullatt_block_indexes": [1], "tokens_per_second": 2}
    return Qwen2_5_VLConfig(text_config=text, vision_config=vision, **tokens), QWEN2_5_IMAGES
