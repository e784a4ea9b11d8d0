"""How long passes take, from operations and bytes: for machines that are not at hand.

Operations are counted as in PaLM (Chowdhery et al. 2022, appendix B): two for each weight and token of a forward pass,
and four for each pair of tokens and each value of the queries in a layer. A backward pass through frozen weights costs
as much again as the forward pass, for gradients of activations alone; weights' gradients are those of the adapter.
Where layers are recomputed, a third forward pass comes on top.

A single token is bound by reading: all weights of the language layers, and what is cached of the tokens before.
"""

from __future__ import annotations

from dataclasses import dataclass

from vlm_agent.training.planning.cards import Card
from vlm_agent.training.planning.memory import NF4_BYTES, Setting
from vlm_agent.training.planning.shapes import ModelShape


@dataclass(frozen=True)
class Assumptions:
    """What is taken for granted where nothing can be measured."""

    share_of_peak: float = 0.35
    """So much of a card's stated operations is reached in long passes. 4-bit weights are unpacked for every pass, and
    adapters are many small products."""
    share_of_bandwidth: float = 0.6
    """So much of its stated bandwidth is reached in passes over a single token."""
    layer_call_ms: float = 0.7
    """Python and launches of one decoder layer with adapters, which a card waits for in passes over a few tokens."""
    prepare_ms: float = 20.0
    """Resizing and cutting the picture, writing and tokenizing the prompt."""


@dataclass(frozen=True)
class DecisionTime:
    """Where the time of one decision goes, milliseconds."""

    prepare_ms: float
    """Picture and prompt, before the model."""
    prefill_ms: float
    """The pass over picture and prompt."""
    decode_ms: float
    """The passes over the answer, one for each choice."""

    @property
    def total_ms(self) -> float:
        """All of it."""
        return self.prepare_ms + self.prefill_ms + self.decode_ms


def count_language_flops(shape: ModelShape, tokens: int, *, seen_tokens: float | None = None) -> float:
    """Return the operations of a forward pass through the language layers, the head left out.

    Args:
        shape: the model's.
        tokens: of one sequence.
        seen_tokens: how many tokens each looks at; by default all (masked ones are computed too).
    """
    seen = tokens if seen_tokens is None else seen_tokens
    return 2.0 * shape.language * tokens + 4.0 * shape.layers * shape.query_width * tokens * seen


def count_vision_flops(shape: ModelShape, patches: int) -> float:
    """Return the operations of the vision tower over one picture."""
    return 2.0 * shape.vision * patches + 4.0 * shape.vision_layers * shape.vision_hidden * patches**2


def count_training_flops(
    shape: ModelShape, setting: Setting, rank: int, *, tokens: int, targets: int, patches: int
) -> float:
    """Return the operations of training on one row.

    Args:
        shape: the model's.
        setting: says whether layers are recomputed.
        rank: of the adapter.
        tokens: of the row.
        targets: learnt tokens: the head is applied to no others.
        patches: of all its pictures that go through the vision tower; 0 where features are kept.
    """
    forwards = 3 if setting.recomputes else 2
    adapter = 6.0 * shape.count_lora(rank) * tokens
    head = 4.0 * shape.vocabulary * shape.hidden * targets
    return forwards * count_language_flops(shape, tokens) + adapter + head + count_vision_flops(shape, patches)


def predict_decision(
    shape: ModelShape,
    setting: Setting,
    card: Card,
    assumed: Assumptions,
    *,
    new_tokens: int,
    prompt_tokens: int,
    patches: int,
    passes: int,
) -> DecisionTime:
    """Return how long a decision takes on a card.

    Args:
        shape: the model's.
        setting: how it runs there.
        card: where.
        assumed: shares of what the card is said to do.
        new_tokens: of the prompt, without the start that is kept from the decision before.
        prompt_tokens: of the whole prompt.
        patches: of its pictures.
        passes: over the answer.
    """
    operations = count_language_flops(shape, new_tokens, seen_tokens=prompt_tokens) + count_vision_flops(shape, patches)
    calls_ms = assumed.layer_call_ms * shape.layers
    prefill_ms = 1000 * operations / (assumed.share_of_peak * card.tflops * 1e12) + calls_ms
    read = count_pass_bytes(shape, setting, prompt_tokens) / (assumed.share_of_bandwidth * card.bandwidth_gb_s * 1e9)
    return DecisionTime(assumed.prepare_ms, prefill_ms, passes * max(1000 * read, calls_ms))


def count_pass_bytes(shape: ModelShape, setting: Setting, cached_tokens: int) -> float:
    """Return what a pass over one token reads: language layers and cache. Of the head a few rows are read."""
    whole = shape.language - (shape.packed if setting.is_packed else 0)
    packed = NF4_BYTES * shape.packed if setting.is_packed else 0.0
    cache = 2.0 * shape.layers * shape.kv_width * cached_tokens * setting.value_bytes
    return setting.value_bytes * whole + packed + cache
