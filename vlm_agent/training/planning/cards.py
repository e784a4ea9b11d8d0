"""What graphics cards can do, as their vendor states it. Imports nothing heavy.

Sources: NVIDIA's data sheets of H200, H100, A100, A10, L40S, L4 and T4; for GeForce cards the appendices of the white
papers on the Ada, Ampere and Blackwell architectures (dense, float32 accumulation). Stated figures are ceilings: a plan
takes a share of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from vlm_agent.errors import ConfigError


@dataclass(frozen=True)
class Card:
    """One kind of card."""

    name: str
    """What it is asked for as."""
    memory_gb: float
    """Memory, 10^9 bytes (a "24 GB" card holds 24 GiB)."""
    tflops: float
    """Dense matrix products in the precision that models run in there, 10^12 operations a second."""
    bandwidth_gb_s: float
    """Reading memory, 10^9 bytes a second."""
    value_bytes: int = 2
    """Size of a value in that precision: bfloat16, or float32 on cards that have no bfloat16."""


@dataclass(frozen=True)
class Assumptions:
    """What a plan for a card that is not at hand takes for granted."""

    share_of_peak: float = 0.35
    """So much of the card's stated operations is reached in long passes. 4-bit weights are unpacked for every pass, and
    adapters are many small products."""
    share_of_bandwidth: float = 0.6
    """So much of its stated bandwidth is reached in passes over a single token."""
    layer_call_ms: float = 0.7
    """Python and launches of one decoder layer with adapters; in passes over a few tokens the card waits for them."""
    prepare_ms: float = 20.0
    """Resizing and cutting the picture, writing and tokenizing the prompt."""

    def __post_init__(self) -> None:
        """Raise ConfigError for a share that is none, or a negative time."""
        for name in ("share_of_peak", "share_of_bandwidth"):
            if not 0 < getattr(self, name) <= 1:
                raise ConfigError(f"--assume.{name.replace('_', '-')} must be in (0, 1], got {getattr(self, name)}")
        if min(self.layer_call_ms, self.prepare_ms) < 0:
            raise ConfigError("--assume.layer-call-ms and .prepare-ms must not be negative")


def _gib(count: float) -> float:
    return count * 2**30 / 1e9


CARDS = {
    card.name: card
    for card in (
        Card("h200", 141.0, 989.0, 4800),
        Card("h100", _gib(80), 989.0, 3350),
        Card("a100-80gb", _gib(80), 312.0, 2039),
        Card("a100-40gb", _gib(40), 312.0, 1555),
        Card("l40s", _gib(48), 362.0, 864),
        Card("a10", _gib(24), 125.0, 600),
        Card("l4", _gib(24), 121.0, 300),
        Card("t4", _gib(16), 8.1, 320, value_bytes=4),
        Card("rtx-5090", _gib(32), 209.5, 1792),
        Card("rtx-4090", _gib(24), 165.2, 1008),
        Card("rtx-4080", _gib(16), 97.5, 717),
        Card("rtx-4060-ti", _gib(16), 44.1, 288),
        Card("rtx-3090", _gib(24), 71.0, 936),
        Card("rtx-3060", _gib(12), 25.5, 360),
    )
}
"""By name."""


def find_card(name: str) -> Card:
    """Return a card by its name, however it is spelt: `RTX 4090` is `rtx-4090`.

    Raises:
        ConfigError: it is not in the table.
    """
    key = "-".join(name.lower().replace("_", "-").removeprefix("nvidia").split()).strip("-")
    if key not in CARDS:
        raise ConfigError(f"--gpu {name}: not in the table; there are {', '.join(CARDS)}")
    return CARDS[key]
