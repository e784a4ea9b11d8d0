"""Adapters: put a LoRA in, save it, load any kind that lives in a model's layers, refuse that of another base.

Language layers are adapted, and the vision tower only if asked: while that is frozen its features can be cached, and
the adapter can be served by engines that know no vision LoRA. An adapter folder is in plain peft layout with
`recipe.json` beside it.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from vlm_agent.errors import ModelError
from vlm_agent.models.adapter_configs import read_adapter_config
from vlm_agent.models.adapter_names import list_names, settle_names
from vlm_agent.models.checkpoints import RECIPE_FILE as RECIPE_FILE
from vlm_agent.models.dropout import seed_dropout
from vlm_agent.models.module_patterns import settle_patterns

TARGET_MODULES = r"model\.language_model\.layers\.\d+\.(self_attn\.(q|k|v|o)_proj|mlp\.(gate|up|down)_proj)"
"""Full names of the adapted layers. A list of short names would also hit Qwen2.5-VL's vision tower."""
VISION_MODULES = (
    r"model\.visual\.blocks\.\d+\.(attn\.(qkv|proj)|mlp\.(linear_fc1|linear_fc2|gate_proj|up_proj|down_proj))"
)
"""Those of the vision tower, of both generations; its mergers are left alone."""

WEIGHTS_FILE = "adapter_model.safetensors"
_PICKLE_FILE = "adapter_model.bin"


def choose_modules(*, vision: bool) -> str:
    """Return the full names of the layers to be adapted, as peft takes them."""
    return f"({TARGET_MODULES})|({VISION_MODULES})" if vision else TARGET_MODULES


def adapts_vision(wrapped: PeftModel) -> bool:
    """Tell whether an adapter of any kind changes the vision tower, so that features hang on it."""
    tower = wrapped.get_base_model().model.visual
    return any(isinstance(module, (BaseTunerLayer, AuxiliaryTrainingWrapper)) for module in tower.modules())


def attach_lora(model: Any, *, rank: int, alpha: int, dropout: float, seed: int, vision: bool = False) -> PeftModel:
    """Put a fresh LoRA into the language layers of a model, and into its vision tower if asked.

    It changes nothing until trained.
    Its weights are drawn from `seed`, are float32, and are the only ones with gradients. Its dropout wants a seed for
    every pass, see `models.dropout`.

    Raises:
        ModelError: the model's language layers are not called what they should be.
    """
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=choose_modules(vision=vision),
        bias="none",
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        wrapped = _wrap(model, config)
    seed_dropout(wrapped)
    return wrapped


def load_adapter(model: Any, folder: Path, *, trainable: bool = False) -> PeftModel:
    """Put a saved adapter into a model; whether that is its base is for the caller to know.

    Raises:
        ModelError: its weights and the model don't match name for name, a weight is not a finite number, or it is of a
            kind that can't be run here.
    """
    config = read_adapter_config(folder)
    if trainable and config.peft_type != "LORA":
        raise ModelError(f"{folder}: an adapter of kind {config.peft_type} can be played, but not trained further here")
    weights = _read_weights(folder)
    names = list_names(model)
    settle_patterns(config, names, folder, trusted=(choose_modules(vision=False), choose_modules(vision=True)))
    weights = settle_names(weights, config, model)
    config.inference_mode = not trainable
    # Peft would go by its name and warn where a folder has moved.
    config.base_model_name_or_path = None
    wrapped = _wrap(model, config)
    seed_dropout(wrapped)
    write_adapter_weights(wrapped, weights, folder)
    if not trainable:
        wrapped.requires_grad_(False)  # peft leaves biases that an adapter brought along trainable
    wrapped.eval()
    return wrapped


def _read_weights(folder: Path) -> dict[str, Tensor]:
    """Return an adapter's weights as they are saved.

    Raises:
        ModelError: they are missing, broken or pickled, or one is not a finite number.
    """
    path = folder / WEIGHTS_FILE
    if not path.is_file() and (folder / _PICKLE_FILE).is_file():
        raise ModelError(
            f"{folder}: holds {_PICKLE_FILE}, a pickle, which could run code and is not read; save it anew as"
            f" {WEIGHTS_FILE} (peft's save_pretrained does)"
        )
    try:
        weights: dict[str, Tensor] = load_file(path)
    except (OSError, ValueError, TypeError, SafetensorError) as error:
        raise ModelError(f"{folder}: the adapter can't be read: {error}") from error
    broken = [name for name, value in weights.items() if value.is_floating_point() and not value.isfinite().all()]
    if broken:
        raise ModelError(
            f"{folder}: the adapter's weights are not all finite numbers: {len(broken)} of {len(weights)} hold NaN or"
            f" infinity, the first {min(broken)}; give an earlier adapter of that run, or train it again"
        )
    return weights


def read_lora_rank(folder: Path) -> int:
    """Return the rank of a saved adapter, 0 for a kind without one.

    Raises:
        ModelError: its config can't be read.
    """
    return int(getattr(read_adapter_config(folder), "r", 0))


_UNUSABLE = (
    *(ValueError, TypeError, AttributeError, LookupError, RuntimeError, ImportError, ArithmeticError),
    *(MemoryError, AssertionError, NotImplementedError),
)
"""What peft raises for a config that can't be."""


def _wrap(model: Any, config: PeftConfig) -> PeftModel:
    with warnings.catch_warnings():
        # peft asks the model about activation checkpointing by a name that transformers has replaced.
        warnings.simplefilter("ignore", FutureWarning)
        try:
            return get_peft_model(model, config)
        except _UNUSABLE as error:
            reason = (str(error).strip() or repr(error)).splitlines()[0]
            raise ModelError(
                f"{type(model).__name__}: has no layers that an adapter can be put on: {reason}"
            ) from error


def read_adapter_weights(wrapped: PeftModel) -> dict[str, Tensor]:
    """Return the adapter's weights under peft's saved names, on the CPU."""
    return {
        name: value.detach().to("cpu", copy=True).contiguous()
        for name, value in get_peft_model_state_dict(wrapped).items()
    }


def write_adapter_weights(wrapped: PeftModel, weights: dict[str, Tensor], source: Path) -> None:
    """Overwrite the adapter's weights with saved ones.

    Raises:
        ModelError: a name is missing or unknown, or a shape differs; `source` is named.
    """
    expected = {name: tuple(value.shape) for name, value in get_peft_model_state_dict(wrapped).items()}
    found = {name: tuple(value.shape) for name, value in weights.items()}
    wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    if wrong:
        raise ModelError(f"{source}: adapter of another base: {len(wrong)} weights don't fit, the first {wrong[0]}")
    set_peft_model_state_dict(wrapped, weights)
