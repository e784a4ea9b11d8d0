"""How much memory training and play take, in bytes, from a model's shape and the longest pass.

What autograd keeps of a decoder layer is counted tensor by tensor and agrees to the byte with what it really keeps (a
test looks); what is alive only for a moment is the sum of the largest such tensors. What allocators hold beyond that
is not among these: see `Setting.heap_share`.
"""

from __future__ import annotations

from dataclasses import dataclass

from vlm_agent.models.loading import Quantization
from vlm_agent.models.quantized import UNPACKED_LIMIT_PARAMETERS
from vlm_agent.models.token_trees import NO_PARENT, TokenTree
from vlm_agent.training.planning.shapes import ModelShape

NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)
"""A weight in NF4 with double quantisation: half a byte, a byte for every 64, and four for every 256 of those (Dettmers
et al. 2023, "QLoRA", section 3)."""
FLOAT_BYTES = 4
"""Adapters, their gradients and the optimizer are float32 everywhere."""
CARD_RESERVE_BYTES = 1_200_000_000
"""CUDA's context, its libraries' workspaces and the kernels take so much of any card before a model is loaded; an
estimate, to be measured on the card at hand."""
CARD_SHARE = 0.92
"""A pass needs blocks of many sizes, and the allocator can't fill a card to the brim."""
CPU_RESERVE_BYTES = 45_000_000
"""Pages of the libraries that the first pass touches, 20 MB measured, and what they set up for themselves."""
CPU_HEAP_SHARE = 0.65
"""The C library's heap has holes: measured, 0.4 to 0.9 of what one pass keeps. Passes that run side by side on one heap
(see `models.heap`) fill each other's, so there are no more of them."""


@dataclass(frozen=True)
class Setting:
    """Where and in which precision a model runs."""

    value_bytes: int
    """Size of a weight that is not packed, and of an activation."""
    is_packed: bool
    """Whether language layers are in 4 bits."""
    keeps_unpacked: bool
    """Whether 4-bit weights are also kept unpacked (see `models.quantized`)."""
    recomputes: bool
    """Whether layers are run again in the backward pass instead of keeping what they computed."""
    reserve_bytes: int = 0
    """Taken before a model is loaded."""
    heap_share: float = 0.0
    """What the allocator holds beyond what is alive, as a share of what comes and goes with one pass."""


def cuda_setting(value_bytes: int, quantization: Quantization, *, recomputes: bool = True) -> Setting:
    """Return how a model runs on a card that computes in values of so many bytes."""
    is_packed = quantization == "nf4"
    return Setting(
        value_bytes, is_packed, keeps_unpacked=False, recomputes=recomputes, reserve_bytes=CARD_RESERVE_BYTES
    )


def cpu_setting(shape: ModelShape, quantization: Quantization) -> Setting:
    """Return how a model runs on a CPU."""
    is_packed = quantization == "nf4"
    keeps = is_packed and shape.total <= UNPACKED_LIMIT_PARAMETERS
    return Setting(
        FLOAT_BYTES,
        is_packed,
        keeps_unpacked=keeps,
        recomputes=False,
        reserve_bytes=CPU_RESERVE_BYTES,
        heap_share=CPU_HEAP_SHARE,
    )


@dataclass(frozen=True)
class PassSize:
    """The largest forward and backward pass."""

    tokens: int
    """Tokens in it, padding included."""
    targets: int
    """Learnt tokens in it."""
    is_tree: bool = False
    """Whether several windows lie in one row: what segments give is then put together in a copy."""
    gathered: int = 0
    """Tokens whose keys and values are copied for the segments of trees (see `count_copies`)."""
    masked: int = 0
    """Pairs of tokens in the masks of segments (see `count_copies`)."""
    at_once: int = 1
    """So many passes run side by side."""


@dataclass(frozen=True)
class MemoryUse:
    """Bytes by what they are for."""

    weights: int
    """The base's weights."""
    adapter: int
    """The adapter, its gradients and the optimizer's two averages; in play the adapter alone."""
    activations: int
    """What the backward pass needs of the forward pass; in play the prompt's and the answer's keys and values."""
    moment: int
    """What is alive for a moment at the peak."""
    kept: int
    """Features of pictures, tokenized windows and the best weights."""
    reserve: int
    """Taken before a model is loaded, and what the allocator holds beyond what is alive."""

    @property
    def alive(self) -> int:
        """The peak of what is in use."""
        return self.total - self.reserve

    @property
    def total(self) -> int:
        """The peak."""
        return self.weights + self.adapter + self.activations + self.moment + self.kept + self.reserve


def count_weights(shape: ModelShape, setting: Setting) -> int:
    """Return the bytes of a base's weights."""
    whole = shape.total - (shape.packed if setting.is_packed else 0)
    packed = NF4_BYTES * shape.packed if setting.is_packed else 0.0
    unpacked = setting.value_bytes * shape.packed if setting.keeps_unpacked else 0
    return round(setting.value_bytes * whole + packed) + unpacked


def count_copies(tree: TokenTree) -> tuple[int, int]:
    """Return what attention within a tree keeps beside queries, keys and values.

    First the tokens whose keys and values are copied: those seen by segments that don't lie right behind them. Then the
    pairs in masks: a segment below another has one over all that it sees.
    """
    gathered = masked = 0
    for segment, (start, stop) in enumerate(tree.spans):
        path = tree.path(segment)
        seen = sum(end - begin for begin, end in path)
        gathered += seen if len(path) > 1 else 0
        masked += (stop - start) * seen if tree.parents[segment] != NO_PARENT else 0
    return gathered, masked


def count_saved(shape: ModelShape, setting: Setting, rank: int, pass_size: PassSize, *, has_dropout: bool) -> int:
    """Return the bytes that autograd keeps of one decoder layer with adapters.

    Norms keep their input in float32. An adapter keeps its input in float32: where the model computes in that too and
    nothing is dropped, adapters on one input share it; else each has its own, and dropout keeps a mask beside it.
    """
    hidden, query, kv = shape.hidden, shape.query_width, shape.kv_width
    is_shared = setting.value_bytes == FLOAT_BYTES and not has_dropout
    inputs = 5 * hidden + query + shape.intermediate
    adapters = (
        2 * hidden + shape.intermediate + query * pass_size.is_tree if is_shared else inputs * (2 if has_dropout else 1)
    )
    norms = 2 * hidden + query + kv + 2 + shape.heads + shape.kv_heads
    floats = norms + shape.heads + 7 * rank + adapters
    values = 2 * query + 2 * kv + 3 * shape.intermediate
    copies = setting.value_bytes * (pass_size.gathered * 2 * kv + pass_size.masked)
    return pass_size.tokens * (FLOAT_BYTES * floats + setting.value_bytes * values) + copies


def estimate_training(
    shape: ModelShape, setting: Setting, rank: int, pass_size: PassSize, *, has_dropout: bool, kept_bytes: int
) -> MemoryUse:
    """Return what training takes at its peak: the beginning of the backward pass."""
    lora = FLOAT_BYTES * shape.count_lora(rank)
    tokens = pass_size.tokens
    layer = count_saved(shape, setting, rank, pass_size, has_dropout=has_dropout)
    streams = setting.value_bytes * tokens * shape.hidden
    # Without recomputing, every layer keeps its own; with it, its input alone, and one layer at a time is run again.
    layers = shape.layers * streams + layer if setting.recomputes else shape.layers * layer
    # Embeddings as looked up and with features put in, and the last hidden states before and after their norm.
    saved = layers + 4 * streams
    one = _count_head(shape, setting, pass_size) + _count_layer_moment(shape, setting, tokens)
    unpacking = _count_unpacking(shape, setting)
    return MemoryUse(
        weights=count_weights(shape, setting),
        adapter=lora * (4 + pass_size.at_once),
        activations=saved * pass_size.at_once,
        moment=max(one * pass_size.at_once, unpacking),
        kept=kept_bytes,
        reserve=setting.reserve_bytes + round(setting.heap_share * (saved + max(one, unpacking))),
    )


def estimate_play(shape: ModelShape, setting: Setting, rank: int, prompt_tokens: int, answer_tokens: int) -> MemoryUse:
    """Return what playing takes at its peak: the pass over the longest prompt."""
    tokens = prompt_tokens + answer_tokens
    # A small model on a CPU runs on a copy of its weights (see `decoding.lean`).
    copied = FLOAT_BYTES * shape.language if setting.keeps_unpacked else 0
    return MemoryUse(
        weights=count_weights(shape, setting) + copied,
        adapter=FLOAT_BYTES * shape.count_lora(rank),
        activations=2 * shape.layers * shape.kv_width * tokens * setting.value_bytes,
        moment=max(3 * _count_layer_moment(shape, setting, prompt_tokens), _count_unpacking(shape, setting)),
        kept=0,
        reserve=setting.reserve_bytes,
    )


def _count_head(shape: ModelShape, setting: Setting, pass_size: PassSize) -> int:
    # Log-probabilities and their gradient in float32, beside logits that are not.
    narrow = setting.value_bytes if setting.value_bytes < FLOAT_BYTES else 0
    return pass_size.targets * shape.vocabulary * (2 * FLOAT_BYTES + narrow)


def _count_layer_moment(shape: ModelShape, setting: Setting, tokens: int) -> int:
    # Gradients within one MLP; what the layer kept is freed as they come.
    return setting.value_bytes * tokens * (shape.intermediate + 2 * shape.hidden)


def _count_unpacking(shape: ModelShape, setting: Setting) -> int:
    if not setting.is_packed or setting.keeps_unpacked:
        return 0
    return setting.value_bytes * shape.hidden * shape.intermediate
