"""Weights that processes share, each holding a part (FSDP2), for what doesn't fit one card.

Every decoder layer is gathered when it runs and let go after; what is outside of them is gathered for a whole pass. A
pass is run through the outermost module, so that torch knows when it begins: the parts of the model are then called as
always. All processes run as many passes, at the same time (see `passes`), and gradients are summed, not averaged: each
pass already counts by its share of the step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

from vlm_agent.errors import ConfigError
from vlm_agent.models.loading import LoadedModel
from vlm_agent.training.processes import Processes


class _Outermost(nn.Module):
    """Holds a model, and runs a function as its forward pass."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, run: Callable[[], Any]) -> Any:
        return run()


def share_weights(loaded: LoadedModel, processes: Processes) -> LoadedModel:
    """Part the weights of a model among the processes, each keeping its share.

    Args:
        loaded: a model that is all here, with what is to be trained marked as such; not in 4 bits.
        processes: who shares them.

    Raises:
        ConfigError: there is one process alone.
    """
    if processes.count == 1:
        raise ConfigError("--train.shard parts weights among processes; start them: torchrun --nproc-per-node 2 …")
    mesh = init_device_mesh(loaded.device.type, (processes.count,))
    policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32) if loaded.mixes else None
    options: dict[str, Any] = {"mesh": mesh} if policy is None else {"mesh": mesh, "mp_policy": policy}
    for layer in loaded.model.model.language_model.layers:
        fully_shard(layer, **options)
    outermost = _Outermost(loaded.model)
    fully_shard(outermost, **options)
    for module in outermost.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            # An average is more than some backends know; with a divisor of 1 the sum is all that is wanted.
            module.set_force_sum_reduction_for_comms(True)
    return replace(loaded, runner=outermost, mixes=False)
