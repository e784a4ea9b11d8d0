"""The weights that a run trains: an adapter's, or the model's own; read, written and counted in one way.

They leave this module as whole tensors on the CPU under the names they are saved under, also where processes share them
(see `sharding`): then every process has to read and write at the same moment.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import get_peft_model_state_dict
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from vlm_agent.errors import ModelError
from vlm_agent.models.adapters import write_adapter_weights
from vlm_agent.models.loading import LoadedModel

Weights = dict[str, Tensor]
"""Trained weights under their saved names, on the CPU."""


class TrainedWeights:
    """What of a model is trained."""

    def __init__(self, loaded: LoadedModel) -> None:
        """Take a model with a trainable adapter, or without one and with trainable weights."""
        self._peft = loaded.peft
        module: nn.Module = loaded.model if loaded.peft is None else loaded.peft
        trained = [(name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad]
        self.names = [name for name, _ in trained]
        """In the order of `parameters`; optimizer state is kept under these."""
        self.parameters = [parameter for _, parameter in trained]
        """Those that get gradients."""

    def read(self) -> Weights:
        """Return a copy of all of them."""
        return {name: copy_whole(value) for name, value in self._saved().items()}

    def write(self, weights: Weights, source: Path) -> None:
        """Overwrite all of them.

        Raises:
            ModelError: a name is missing or unknown, or a shape differs; `source` is named.
        """
        own = self._saved()
        if self._peft is not None and not any(isinstance(value, DTensor) for value in own.values()):
            write_adapter_weights(self._peft, weights, source)
            return
        wrong = sorted(
            name for name in own.keys() | weights.keys() if _shape(own.get(name)) != _shape(weights.get(name))
        )
        if wrong:
            raise ModelError(f"{source}: weights of another model: {len(wrong)} don't fit, the first {wrong[0]}")
        with torch.no_grad():
            for name, value in own.items():
                value.copy_(share_like(weights[name], value))

    def _saved(self) -> dict[str, Tensor]:
        if self._peft is None:
            return dict(zip(self.names, self.parameters, strict=True))
        return dict(get_peft_model_state_dict(self._peft))

    def are_finite(self) -> bool:
        """Tell whether all are numbers."""
        return all(bool(as_whole(parameter.detach().isfinite().all())) for parameter in self.parameters)


def as_whole(value: Tensor) -> Tensor:
    """Return a tensor of which each process may hold a share as one that is all here."""
    whole: Any = value.full_tensor() if isinstance(value, DTensor) else value
    return whole


def copy_whole(value: Tensor) -> Tensor:
    """Return a copy of all of a tensor on the CPU."""
    return as_whole(value.detach()).to("cpu", copy=True).contiguous()


def share_like(whole: Tensor, like: Tensor) -> Tensor:
    """Return a tensor that is all here as another is: on its device, and shared among processes as it is."""
    moved = whole.to(like.device)
    if not isinstance(like, DTensor):
        return moved
    shared: Tensor = distribute_tensor(moved, like.device_mesh, like.placements)
    return shared


def _shape(value: Tensor | None) -> tuple[int, ...] | None:
    return None if value is None else tuple(value.shape)
