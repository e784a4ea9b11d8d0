"""Names of an adapter's weights as others save them, brought to those that peft has for the model in memory.

Some save what lies in memory, where the adapter's own name is part of every name. And adapters of Qwen2.5-VL from the
days of transformers 4 name its layers `model.layers` and `visual`, which are `model.language_model.layers` and
`model.visual` now. Qwen3-VL never had those: such names are of a text model, and stay as they are, to be refused.
"""

from __future__ import annotations

import re
from typing import Any

from peft import PeftConfig
from peft.tuners.tuners_utils import check_target_module_exists
from peft.utils.other import get_pattern_key
from torch import Tensor

_PREFIX = "base_model.model."
_OWN_NAME = re.compile(r"(\.(?:lora_[AB]|lora_embedding_[AB]|lora_magnitude_vector))\.(?!weight$|bias$)\w+(?=\.|$)")
_RENAMED = "qwen2_5_vl"


def settle_names(weights: dict[str, Tensor], config: PeftConfig, model: Any) -> dict[str, Tensor]:
    """Return an adapter's weights under peft's names; what its config says by older names is changed along.

    Args:
        weights: by the names they were saved under.
        config: the adapter's; changed in place.
        model: what it is to be put on.
    """
    plain = {_OWN_NAME.sub(r"\1", name): value for name, value in weights.items()}
    if model.config.model_type != _RENAMED:
        return plain
    renamed = {_renew(name): value for name, value in plain.items()}
    if renamed.keys() != plain.keys():
        _renew_targets(config, [name for name, _ in model.named_modules()])
    return renamed


def list_names(model: Any) -> list[str]:
    """Return the names of all modules of a model, and those that they had in transformers 4."""
    names = [name for name, _ in model.named_modules() if name]
    return list(dict.fromkeys((*names, *map(_age, names))))


def _renew(name: str) -> str:
    bare = name.removeprefix(_PREFIX)
    if bare.startswith("visual."):
        bare = f"model.{bare}"
    elif bare.startswith("model.") and not bare.startswith(("model.language_model.", "model.visual.")):
        bare = f"model.language_model.{bare.removeprefix('model.')}"
    return f"{_PREFIX}{bare}" if name.startswith(_PREFIX) else bare


def _age(name: str) -> str:
    """Return what a module was called in transformers 4."""
    if name.startswith("model.visual."):
        return name.removeprefix("model.")
    return name.replace("model.language_model.", "model.", 1)


def _renew_targets(config: PeftConfig, names: list[str]) -> None:
    """Have a config mean the layers that it meant when they had their older names."""
    if (
        not isinstance(getattr(config, "target_modules", None), (str, list, set))
        or config.target_modules == "all-linear"
    ):
        return
    meant = [name for name in names if check_target_module_exists(config, _age(name))]
    config.target_modules = set(meant)
    for field in ("rank_pattern", "alpha_pattern"):
        pattern = getattr(config, field, None) or {}
        keys = {name: get_pattern_key(list(pattern), _age(name)) for name in meant}
        if pattern:
            setattr(config, field, {name: pattern[key] for name, key in keys.items() if key in pattern})
