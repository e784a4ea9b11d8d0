"""The graphics cards of this machine."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Card:
    """One CUDA card."""

    name: str
    """What its maker calls it."""
    memory_bytes: int
    """All of its memory."""
    has_bf16: bool
    """Whether it computes in bfloat16 itself."""

    def __str__(self) -> str:
        return f"{self.name}, {self.memory_bytes / 2**30:.0f} GiB, {'bfloat16' if self.has_bf16 else 'no bfloat16'}"


def list_cards() -> list[Card]:
    """Return the CUDA cards that torch can use; none where torch is a build for processors."""
    if not torch.cuda.is_available():
        return []
    cards = []
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        # Ampere (8.0) is the first generation with bfloat16 in its tensor cores.
        cards.append(Card(properties.name, properties.total_memory, properties.major >= 8))
    return cards
