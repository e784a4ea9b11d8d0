"""Adapters as others save them: plain peft, Unsloth, LLaMA-Factory, TRL; of today and of transformers 4."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from vlm_agent.models.loading import load_model

UNSLOTH = (
    r"(?:.*?(?:vision|image|visual|patch|language|text).*?(?:self_attn|attention|attn|mlp|feed_forward|ffn|dense)"
    r".*?(?:qkv|proj|linear_fc1|linear_fc2|q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj).*?)"
    r"|(?:\bmodel\.layers\.[\d]{1,}\.(?:self_attn|attention|attn|mlp|feed_forward|ffn|dense)"
    r"\.(?:(?:qkv|proj|linear_fc1|linear_fc2|q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)))"
)
"""What Unsloth writes as `target_modules` when vision and language are tuned."""
FACTORY = r"^(?!.*visual.patch_embed|visual.blocks).*(?:q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj).*"
"""What LLaMA-Factory writes when the vision tower is frozen."""
FACTORY_VISION = r"^(?!.*patch_embed).*(?:up_proj|down_proj|gate_proj|q_proj|k_proj|v_proj|o_proj|qkv|fc1|proj|fc2).*"
"""And when it is not; Qwen2.5-VL's merger is left out by its names."""
PLAIN = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
"""What most others name."""


def write_foreign(folder: Path, base: Path, targets: Any, *, quantization: str = "none", **options: Any) -> Any:
    """Save an adapter as peft does and return the wrapped model that it was saved from."""
    model = load_model(base, quantization=quantization, device="cpu").model
    wrapped = get_peft_model(model, LoraConfig(r=2, target_modules=targets, task_type="CAUSAL_LM", **options))
    generator = torch.Generator().manual_seed(0)
    for parameter in wrapped.parameters():
        if parameter.requires_grad:
            parameter.data.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    wrapped.eval().save_pretrained(folder)
    configure(folder, base_model_name_or_path=str(base), auto_mapping={"unsloth_fixed": True})
    return wrapped


def configure(folder: Path, **fields: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def rename(folder: Path, change: Callable[[str], str]) -> None:
    path = folder / "adapter_model.safetensors"
    save_file({change(name): value for name, value in load_file(path).items()}, path)


def keep_own_name(name: str) -> str:
    """As in a state dict from memory: the adapter's name is part of every name."""
    return re.sub(r"(lora_[AB])\.weight", r"\1.default.weight", name)


def age(name: str) -> str:
    """As transformers 4 called the parts of Qwen2.5-VL."""
    return name.replace(".model.language_model.", ".model.").replace(".model.model.visual.", ".model.visual.")
