"""Optimizers by name, and their state as plain named tensors.

Those of bitsandbytes keep the two averages of Adam in 8 bits, in blocks (Dettmers et al. 2022, "8-bit Optimizers via
Block-wise Quantization"); small weights stay in 32. `paged` ones move them to the CPU when a card is full.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vlm_agent.errors import ConfigError, DataError
from vlm_agent.training.config import OptimizerName
from vlm_agent.training.trained import copy_whole, share_like

_PACKED = "__bnb_optimizer_quant_state__"
"""Under this, bitsandbytes hides tensors that are to keep their dtype."""


def make_optimizer(name: OptimizerName, parameters: Sequence[Tensor]) -> torch.optim.Optimizer:
    """Return an AdamW without weight decay; its rate is set before every step.

    Raises:
        ConfigError: it can't run where the weights are.
    """
    if name == "adamw":
        return torch.optim.AdamW(parameters, lr=0.0, weight_decay=0.0)
    on_card = bool(parameters) and parameters[0].device.type == "cuda"
    if name == "paged-adamw-8bit" and not on_card:
        raise ConfigError("--train.optimizer paged-adamw-8bit needs a CUDA card; adamw-8bit runs on a CPU too")
    from bitsandbytes.optim import AdamW8bit, PagedAdamW8bit

    kind = PagedAdamW8bit if name == "paged-adamw-8bit" else AdamW8bit
    made: torch.optim.Optimizer = kind(parameters, lr=0.0, weight_decay=0.0)
    return made


def flatten_state(optimizer: torch.optim.Optimizer, names: Sequence[str]) -> dict[str, Tensor]:
    """Return the state as whole tensors on the CPU under `weight/kind`; numbers become tensors too."""
    found = {}
    for index, values in optimizer.state_dict()["state"].items():
        for kind, value in {**values, **values.get(_PACKED, {})}.items():
            if kind != _PACKED:
                kept = copy_whole(value) if isinstance(value, Tensor) else torch.tensor(value)
                found[f"{names[index]}/{kind}"] = kept
    return found


def restore_state(
    optimizer: torch.optim.Optimizer,
    names: Sequence[str],
    parameters: Sequence[Tensor],
    state: dict[str, Tensor],
    source: Path,
) -> None:
    """Put a state that `flatten_state` gave in place.

    Raises:
        DataError: it is that of other weights; `source` is named.
    """
    numbers = {name: index for index, name in enumerate(names)}
    own: dict[int, dict[str, Any]] = {}
    for key, value in state.items():
        name, kind = key.rsplit("/", 1)
        if name not in numbers:
            raise DataError(f"{source}: optimizer state of an unknown weight {name}")
        parameter = parameters[numbers[name]]
        is_like = value.shape == parameter.shape
        own.setdefault(numbers[name], {})[kind] = share_like(value, parameter) if is_like else value
    if not isinstance(optimizer, torch.optim.AdamW):
        own = {index: _pack(values) for index, values in own.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        optimizer.load_state_dict({"state": own, "param_groups": optimizer.state_dict()["param_groups"]})


def _pack(values: dict[str, Any]) -> dict[str, Any]:
    packed = {kind: value for kind, value in values.items() if kind != "step"}
    return {"step": int(values["step"]), _PACKED: packed}
