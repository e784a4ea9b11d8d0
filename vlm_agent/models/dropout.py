"""Dropout whose randomness is a seed given for one pass, not a state shared by all.

Passes may then run in any order, in several threads, or after a restart, and drop the same values; and a layer that is
run again in the backward pass, to save memory, drops what it dropped before. It also draws masks in a third of the
time: torch's own draw takes an eighth of a training step of a small model on a CPU.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from vlm_agent.errors import ModelError

_LEVELS = 1 << 16
"""Masks are drawn from 16-bit numbers."""

_SEED_STRIDE = 1_000_003
"""Parts the seeds of layers from those of passes, which count up by one."""

_pass = threading.local()
_latest: list[int] = []
"""The seed of the pass that began last: autograd runs layers anew in threads of its own where a card computes."""


@contextmanager
def dropout_seed(seed: int) -> Iterator[None]:
    """Set what `SeededDropout` draws from in this thread, within the context."""
    _pass.seed = seed
    _latest[:] = [seed]
    try:
        yield
    finally:
        del _pass.seed
        _latest.clear()


class SeededDropout(nn.Module):
    """Drops each value with a probability and scales the others up; in training only, under `dropout_seed`."""

    def __init__(self, probability: float, number: int = 0) -> None:
        """Take the probability, rounded to 16 bits, and the layer's number, which tells its draws from others'."""
        super().__init__()
        self._num_dropped = round(probability * _LEVELS)
        self._number = number

    def forward(self, x: Tensor) -> Tensor:
        """Return x with values dropped.

        Raises:
            ModelError: in training without a seed.
        """
        if not self.training or not self._num_dropped:
            return x
        draws = torch.empty(-(-x.numel() // 4), dtype=torch.int64, device=x.device)
        seed = (_find_seed() * _SEED_STRIDE + self._number) % (1 << 63)
        generator = torch.Generator(x.device).manual_seed(seed)
        draws.random_(-(1 << 63), None, generator=generator)
        levels = draws.view(torch.int16)[: x.numel()].view(x.shape)
        keep = (levels >= self._num_dropped - _LEVELS // 2).to(x.dtype)
        return x * keep.mul_(_LEVELS / (_LEVELS - self._num_dropped))


def seed_dropout(wrapped: PeftModel) -> None:
    """Put `SeededDropout` in place of torch's dropout in every layer with LoRA; what is saved is not touched by it."""
    probability = getattr(wrapped.peft_config["default"], "lora_dropout", 0.0)
    layers = [module for module in wrapped.modules() if isinstance(module, LoraLayer)]
    for number, layer in enumerate(layers):
        layer.lora_dropout["default"] = SeededDropout(probability, number)


def leave_dropout_to_torch(wrapped: PeftModel) -> None:
    """Put torch's own dropout back, for a trainer that knows no seeds of passes."""
    probability = wrapped.peft_config["default"].lora_dropout
    for module in wrapped.modules():
        if isinstance(module, LoraLayer):
            module.lora_dropout["default"] = nn.Dropout(probability) if probability else nn.Identity()


def _find_seed() -> int:
    seed: int | None = getattr(_pass, "seed", None)
    if seed is None:
        if not _latest:
            raise ModelError("an adapter in training mode needs dropout_seed() around each pass")
        [seed] = _latest
    return seed
