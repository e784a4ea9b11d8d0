"""Dropout whose randomness is a seed given for one pass, not a state shared by all.

Passes may then run in any order, in several threads, or after a restart, and drop the same values. It also draws masks
in a third of the time: torch's own draw takes an eighth of a training step of a small model on a CPU.
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

_pass = threading.local()


@contextmanager
def dropout_seed(seed: int) -> Iterator[None]:
    """Set what `SeededDropout` draws from in this thread, within the context."""
    _pass.seed, _pass.generators = seed, {}
    try:
        yield
    finally:
        del _pass.seed, _pass.generators


class SeededDropout(nn.Module):
    """Drops each value with a probability and scales the others up; in training only, under `dropout_seed`."""

    def __init__(self, probability: float) -> None:
        """Take the probability, rounded to 16 bits."""
        super().__init__()
        self._num_dropped = round(probability * _LEVELS)

    def forward(self, x: Tensor) -> Tensor:
        """Return x with values dropped.

        Raises:
            ModelError: in training without a seed.
        """
        if not self.training or not self._num_dropped:
            return x
        draws = torch.empty(-(-x.numel() // 4), dtype=torch.int64, device=x.device)
        draws.random_(-(1 << 63), None, generator=_generator(x.device))
        levels = draws.view(torch.int16)[: x.numel()].view(x.shape)
        keep = (levels >= self._num_dropped - _LEVELS // 2).to(x.dtype)
        return x * keep.mul_(_LEVELS / (_LEVELS - self._num_dropped))


def seed_dropout(wrapped: PeftModel) -> None:
    """Put `SeededDropout` in place of torch's dropout in every adapted layer; saved adapters are not touched by it."""
    probability = wrapped.peft_config["default"].lora_dropout
    for module in wrapped.modules():
        if isinstance(module, LoraLayer):
            module.lora_dropout["default"] = SeededDropout(probability)


def _generator(device: torch.device) -> torch.Generator:
    generators: dict[torch.device, torch.Generator] | None = getattr(_pass, "generators", None)
    if generators is None:
        raise ModelError("an adapter in training mode needs dropout_seed() around each pass")
    if device not in generators:
        generators[device] = torch.Generator(device).manual_seed(_pass.seed)
    return generators[device]
