"""Loading and adapting through Unsloth's `FastVisionModel`: its kernels and its saving of memory, our loop.

Unsloth is imported, never copied: parts of it are under the LGPL and the AGPL. It needs a CUDA card, replaces parts of
transformers and peft when it is imported, and so must be imported before them (see `training.engines`).
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from peft import PeftModel
from torch import nn

from vlm_agent.errors import ModelError
from vlm_agent.models.adapters import choose_modules


def read_with_unsloth(folder: Path, options: dict[str, Any], *, in_4bit: bool) -> nn.Module:
    """Return the model of a checkpoint's folder.

    Args:
        folder: exactly this one is loaded; Unsloth would rather take a checkpoint of its own for many names.
        options: what transformers' `from_pretrained` takes, `dtype` and `device_map` among them.
        in_4bit: whether the language layers are, or are to be, in 4 bits.

    Raises:
        ModelError: Unsloth can't load it.
    """
    try:
        model, _ = _fast_vision_model().from_pretrained(
            str(folder),
            load_in_4bit=in_4bit,
            load_in_16bit=not in_4bit,
            use_exact_model_name=True,
            # Pictures and texts are tokenized by our encoder, and nothing is cut off.
            max_seq_length=_longest(folder),
            use_gradient_checkpointing=False,  # set with the adapter
            **options,
        )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, NotImplementedError) as error:
        raise ModelError(f"{folder}: Unsloth can't load it: {_first_line(error)}") from error
    if not isinstance(model, nn.Module):
        raise ModelError(f"{folder}: Unsloth gave no model")
    return model


def attach_with_unsloth(
    model: nn.Module, *, rank: int, alpha: int, dropout: float, seed: int, vision: bool, recompute: bool
) -> PeftModel:
    """Put a fresh LoRA in through Unsloth, on the layers that `attach_lora` takes.

    Its dropout is torch's own, drawn from the state that all share: Unsloth compiles what stands around it.

    Raises:
        ModelError: Unsloth can't put it in.
    """
    try:
        wrapped: PeftModel = _fast_vision_model().get_peft_model(
            model,
            r=rank,
            lora_alpha=alpha,
            lora_dropout=dropout,
            bias="none",
            finetune_vision_layers=vision,
            finetune_language_layers=True,
            finetune_attention_modules=True,
            finetune_mlp_modules=True,
            target_modules=choose_modules(vision=vision),
            random_state=seed,
            use_gradient_checkpointing="unsloth" if recompute else False,
        )
    except (ValueError, RuntimeError, KeyError, TypeError, NotImplementedError) as error:
        raise ModelError(f"Unsloth can't put an adapter in: {_first_line(error)}") from error
    for name, parameter in wrapped.named_parameters():
        if parameter.requires_grad and ".lora_" not in name:
            raise ModelError(f"{name}: Unsloth made a weight trainable that is none of the adapter's")
    return wrapped


def _fast_vision_model() -> Any:
    return importlib.import_module("unsloth").FastVisionModel


def _longest(folder: Path) -> int:
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    return int(config.get_text_config().max_position_embeddings)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or repr(error)).splitlines()[0]
