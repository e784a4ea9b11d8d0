"""Choosing among a few allowed tokens: greedy, or nucleus sampling with a temperature."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from vlm_agent.errors import ConfigError


@dataclass(frozen=True)
class SamplingConfig:
    """How a token is chosen."""

    temperature: float = 0.0
    """0 takes the likeliest token; 1 samples from the model's own distribution."""
    top_p: float = 1.0
    """Sample from the likeliest tokens that together reach this probability, 0 < top_p <= 1."""

    def __post_init__(self) -> None:
        """Raise ConfigError out of range."""
        if self.temperature < 0:
            raise ConfigError(f"temperature must be at least 0, got {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p must be in (0, 1], got {self.top_p}")


def make_generator(seed: int) -> torch.Generator:
    """Return a source of chance for `pick_index`."""
    return torch.Generator().manual_seed(seed)


def pick_index(logits: torch.Tensor, config: SamplingConfig, generator: torch.Generator | None = None) -> int:
    """Return the index of the chosen entry of `logits`, float of shape (choices,).

    The generator must live on the CPU: the draw is the same there whatever the model runs on. Without one there is no
    chance: the likeliest is taken.
    """
    if generator is None or config.temperature == 0 or logits.numel() == 1:
        return int(logits.argmax())
    probabilities = torch.softmax(logits.float().cpu() / config.temperature, dim=-1)
    if config.top_p < 1:
        probabilities = _nucleus(probabilities, config.top_p)
    return int(torch.multinomial(probabilities, 1, generator=generator))


def _nucleus(probabilities: torch.Tensor, top_p: float) -> torch.Tensor:
    ordered, order = probabilities.sort(descending=True, stable=True)
    # The token that crosses top_p belongs to the nucleus, so the mass before each one decides.
    dropped = order[ordered.cumsum(0) - ordered >= top_p]
    kept = probabilities.clone()
    kept[dropped] = 0
    return kept / kept.sum()
