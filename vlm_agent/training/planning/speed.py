"""How long passes take, from operations and bytes: for machines that are not at hand.

Operations are counted as in PaLM (Chowdhery et al. 2022, appendix B): two for each weight and token of a forward pass,
and four for each pair of tokens and each value of the queries in a layer. A backward pass through frozen weights costs
as much again as the forward pass, for gradients of activations alone; gradients of trained weights, an adapter's or the
layers' own, as much once more.
Where layers are recomputed, a third forward pass comes on top.

A single token is bound by reading: all weights of the language layers, and what is cached of the tokens before.
"""

from __future__ import annotations

from dataclasses import dataclass

from vlm_agent.training.planning.cards import Assumptions, Card
from vlm_agent.training.planning.memory import NF4_BYTES, Setting
from vlm_agent.training.planning.shapes import ModelShape
from vlm_agent.training.planning.work import Work


@dataclass(frozen=True)
class CardRun:
    """A model on a card that is not at hand."""

    shape: ModelShape
    """The model's."""
    setting: Setting
    """How it runs there."""
    card: Card
    """Where."""
    assumed: Assumptions
    """How much of what the card is said to do is reached."""


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
    return 2.0 * shape.matrices * tokens + 4.0 * shape.layers * shape.query_width * tokens * seen


def count_vision_flops(shape: ModelShape, patches: int) -> float:
    """Return the operations of the vision tower over one picture."""
    return 2.0 * shape.vision_matrices * patches + 4.0 * shape.vision_layers * shape.vision_hidden * patches**2


def predict_decision(run: CardRun, *, new_tokens: int, prompt_tokens: int, patches: int, passes: int) -> DecisionTime:
    """Return how long a decision takes on a card.

    Args:
        run: what, and where.
        new_tokens: of the prompt, without the start that is kept from the decision before.
        prompt_tokens: of the whole prompt.
        patches: of its pictures.
        passes: over the answer.
    """
    shape, assumed, card = run.shape, run.assumed, run.card
    operations = count_language_flops(shape, new_tokens, seen_tokens=prompt_tokens) + count_vision_flops(shape, patches)
    calls_ms = assumed.layer_call_ms * shape.layers
    prefill_ms = 1000 * operations / (assumed.share_of_peak * card.tflops * 1e12) + calls_ms
    read_bytes = count_pass_bytes(shape, run.setting, prompt_tokens)
    read_ms = 1000 * read_bytes / (assumed.share_of_bandwidth * card.bandwidth_gb_s * 1e9)
    return DecisionTime(assumed.prepare_ms, prefill_ms, passes * max(read_ms, calls_ms))


def predict_training(run: CardRun, work: Work, rank: int, *, patches: int) -> float:
    """Return how many seconds a run takes on a card, evaluations included.

    Args:
        run: what, and where.
        work: the run's.
        rank: of the adapter; 0 where the language layers are trained themselves.
        patches: of one picture; features are not kept on a card.
    """
    shape = run.shape
    forwards = 3 if run.setting.recomputes else 2
    linear = 2.0 * shape.matrices * (forwards * work.tokens + work.evaluated_tokens)
    attention = 4.0 * shape.layers * shape.query_width * forwards * work.pairs
    trained = (6.0 * shape.count_lora(rank) if rank else 2.0 * shape.matrices) * work.tokens
    head = (4.0 if rank else 6.0) * shape.vocabulary * shape.hidden * work.targets
    vision = count_vision_flops(shape, patches) * work.picture_visits
    seconds = (linear + attention + trained + head + vision) / (run.assumed.share_of_peak * run.card.tflops * 1e12)
    # Short passes wait for their launches.
    return max(seconds, work.passes * forwards * shape.layers * run.assumed.layer_call_ms / 1000)


def count_pass_bytes(shape: ModelShape, setting: Setting, cached_tokens: int) -> float:
    """Return what a pass over one token reads: language layers and cache. Of the head a few rows are read."""
    whole = shape.language - (shape.packed if setting.is_packed else 0)
    packed = NF4_BYTES * shape.packed if setting.is_packed else 0.0
    cache = 2.0 * shape.layers * shape.kv_width * cached_tokens * setting.value_bytes
    return setting.value_bytes * whole + packed + cache
