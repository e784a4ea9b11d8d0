"""How much memory training and play take, in bytes, from a model's shape and the longest pass.

What autograd keeps of a decoder layer is counted tensor by tensor and agrees to the byte with what it really keeps (a
test looks); what is alive only for a moment is the sum of the largest such tensors. What allocators hold beyond that
is not among these: see `Setting.heap_share`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from vlm_agent.models.loading import pick_compute_dtype
from vlm_agent.models.quantized import UNPACKED_LIMIT_PARAMETERS
from vlm_agent.models.refusals import Quantization
from vlm_agent.models.token_trees import NO_PARENT, TokenTree
from vlm_agent.training.config import OptimizerName, TrainConfig
from vlm_agent.training.planning.shapes import ModelShape

NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)
"""A weight in NF4 with double quantisation: half a byte, a byte for every 64, and four for every 256 of those (Dettmers
et al. 2023, "QLoRA", section 3)."""
FLOAT_BYTES = 4
"""Adapters, weights that are trained, their gradients and the optimizer are float32 everywhere."""
STATE_BYTES: Mapping[OptimizerName, float] = {
    "adamw": 2 * FLOAT_BYTES,
    "adamw-8bit": 2 * (1 + FLOAT_BYTES / 256),
    "paged-adamw-8bit": 0.0,
}
"""The two averages of a trained parameter: in 8 bits with a scale for every block of 256 (Dettmers et al. 2022, "8-bit
Optimizers via Block-wise Quantization", section 2). Paged ones leave a card that is full."""
LEAST_8BIT = 4096
"""Weights with fewer parameters keep averages in 32 bits (bitsandbytes' `min_8bit_size`)."""
CARD_RESERVE_BYTES = 1_200_000_000
"""CUDA's context, its libraries' workspaces and the kernels take so much of any card before a model is loaded; an
estimate, to be measured on the card at hand."""
CARD_SHARE = 0.92
"""A pass needs blocks of many sizes, and the allocator can't fill a card to the brim."""
CPU_RESERVE_BYTES = 70_000_000
"""Pages of the libraries that the first pass touches, 20 MB measured, and what they set up for themselves."""
CPU_HEAP_SHARE = 0.35
"""The C library's heap has holes, which grow with what one pass keeps. Passes that run side by side on one heap (see
`models.heap`) fill each other's, so there are no more of them. It and the reserve are fitted to `bench/planning.py`."""


@dataclass(frozen=True)
class Setting:
    """Where and in which precision a model runs."""

    value_bytes: int
    """Size of an activation, and of a weight that is not packed."""
    is_packed: bool
    """Whether language layers are in 4 bits."""
    unpacked_bytes: int
    """Size of a 4-bit weight's unpacked copy (see `models.quantized`); 0 where none is kept."""
    recomputes: bool
    """Whether layers are run again in the backward pass instead of keeping what they computed."""
    reserve_bytes: int = 0
    """Taken before a model is loaded."""
    heap_share: float = 0.0
    """What the allocator holds beyond what is alive, as a share of what comes and goes with one pass."""
    keeps_float: bool = False
    """Whether weights are in float32 and products in `value_bytes`, as full training has it on a card."""

    @property
    def weight_bytes(self) -> int:
        """Size of a weight that is not packed."""
        return FLOAT_BYTES if self.keeps_float else self.value_bytes


def cuda_setting(value_bytes: int, quantization: Quantization, *, recomputes: bool = True) -> Setting:
    """Return how a model runs on a card that computes in values of so many bytes."""
    is_packed = quantization == "nf4"
    return Setting(value_bytes, is_packed, unpacked_bytes=0, recomputes=recomputes, reserve_bytes=CARD_RESERVE_BYTES)


def cpu_setting(shape: ModelShape, quantization: Quantization) -> Setting:
    """Return how a model runs on a CPU."""
    is_packed = quantization == "nf4"
    keeps = is_packed and shape.total <= UNPACKED_LIMIT_PARAMETERS
    return Setting(
        FLOAT_BYTES,
        is_packed,
        unpacked_bytes=pick_compute_dtype(torch.device("cpu")).itemsize if keeps else 0,
        recomputes=False,
        reserve_bytes=CPU_RESERVE_BYTES,
        heap_share=CPU_HEAP_SHARE,
    )


@dataclass(frozen=True)
class Trained:
    """What is trained, and by what."""

    parameters: int
    """How many."""
    rank: int
    """Of the adapter; 0 where there is none, and the model's own weights are trained."""
    has_dropout: bool = False
    """Whether the adapter drops values."""
    state_bytes: float = 2 * FLOAT_BYTES
    """What the optimizer keeps of each parameter."""
    processes: int = 1
    """So many hold a share each of all weights (see `training.sharding`)."""


def describe_trained(shape: ModelShape, config: TrainConfig, rank: int, processes: int = 1) -> Trained:
    """Return what settings train of a model.

    Args:
        shape: the model's.
        config: how it is trained.
        rank: of the adapter, where there is one.
        processes: how many run; they share weights where the settings say so.
    """
    shares = processes if config.shard else 1
    state_bytes = STATE_BYTES[config.optimizer]
    if config.full:
        parameters = shape.total - (0 if config.lora.vision else shape.vision)
        return Trained(parameters, 0, False, state_bytes, shares)
    if rank * shape.hidden < LEAST_8BIT:
        state_bytes = STATE_BYTES["adamw"]
    return Trained(shape.count_lora(rank), rank, config.lora.dropout > 0, state_bytes, shares)


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
    """The base's weights; where processes share them, this one's, and those that it has gathered."""
    adapter: int
    """The adapter, gradients and the optimizer's two averages; in play the adapter alone."""
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
    return round(setting.weight_bytes * whole + packed) + setting.unpacked_bytes * shape.packed


def count_gathered(shape: ModelShape, setting: Setting, trained: Trained) -> int:
    """Return the bytes that a process holds for a while of the others' weights, and of their gradients before the sum.

    What lies outside of decoder layers is gathered for a whole pass; a layer while it runs, and the next one with it.
    """
    if trained.processes == 1:
        return 0
    outside = shape.total - shape.language
    gathered = outside + 2 * shape.language // shape.layers
    return setting.value_bytes * gathered * (1 if trained.rank else 2)


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


def count_saved(shape: ModelShape, setting: Setting, trained: Trained, pass_size: PassSize) -> int:
    """Return the bytes that autograd keeps of one decoder layer.

    Norms keep their input in float32. An adapter keeps its input in float32: where the model computes in that too and
    nothing is dropped, adapters on one input share it; else each has its own, and dropout keeps a mask beside it.
    Weights that are trained themselves need the inputs of their products in what is computed in, and norms what they
    scale.
    """
    hidden, query, kv = shape.hidden, shape.query_width, shape.kv_width
    own_inputs = 2 * hidden + shape.intermediate + query * pass_size.is_tree
    norms = 2 * hidden + query + kv + 2 + shape.heads + shape.kv_heads
    values = 2 * query + 2 * kv + 3 * shape.intermediate
    if not trained.rank:
        inputs, values = 2 * hidden + query + kv, values + own_inputs
    elif setting.value_bytes == FLOAT_BYTES and not trained.has_dropout:
        inputs = own_inputs
    else:
        inputs = (5 * hidden + query + shape.intermediate) * (2 if trained.has_dropout else 1)
    floats = norms + shape.heads + 7 * trained.rank + inputs
    copies = setting.value_bytes * (pass_size.gathered * 2 * kv + pass_size.masked)
    return pass_size.tokens * (FLOAT_BYTES * floats + setting.value_bytes * values) + copies


def estimate_training(
    shape: ModelShape, setting: Setting, trained: Trained, pass_size: PassSize, *, kept_bytes: int
) -> MemoryUse:
    """Return what training takes at its peak: the beginning of the backward pass."""
    tokens = pass_size.tokens
    layer = count_saved(shape, setting, trained, pass_size)
    streams = setting.weight_bytes * tokens * shape.hidden
    # Without recomputing, every layer keeps its own; with it, its input alone, and one layer at a time is run again.
    layers = shape.layers * streams + layer if setting.recomputes else shape.layers * layer
    # Embeddings as looked up and with features put in, and the last hidden states before and after their norm.
    saved = layers + 4 * streams
    if setting.keeps_float and trained.processes == 1:
        # Weights as they are multiplied are kept for the whole pass.
        saved += setting.value_bytes * (shape.matrices + shape.vocabulary * shape.hidden)
    one = _count_head(shape, setting, pass_size) + _count_layer_moment(shape, setting, tokens)
    unpacking = _count_unpacking(shape, setting)
    return MemoryUse(
        weights=count_weights(shape, setting) // trained.processes + count_gathered(shape, setting, trained),
        adapter=_count_trained(trained, pass_size.at_once),
        activations=saved * pass_size.at_once,
        moment=max(one * pass_size.at_once, unpacking),
        kept=kept_bytes,
        reserve=setting.reserve_bytes + round(setting.heap_share * (saved + max(one, unpacking))),
    )


def _count_trained(trained: Trained, at_once: int) -> int:
    """Return the bytes of an adapter, of gradients, and of the optimizer."""
    own = FLOAT_BYTES if trained.rank else 0
    # Those of the step so far, and each pass's own; processes that share weights add to what there is.
    gradients = FLOAT_BYTES * (1 if trained.processes > 1 else 1 + at_once)
    return round(trained.parameters * (own + gradients + trained.state_bytes) / trained.processes)


def estimate_play(shape: ModelShape, setting: Setting, rank: int, prompt_tokens: int, answer_tokens: int) -> MemoryUse:
    """Return what playing takes at its peak: the pass over the longest prompt."""
    tokens = prompt_tokens + answer_tokens
    # A small model on a CPU runs on a copy of its weights, and on one more where it multiplies in other values (see
    # `decoding.lean`).
    sizes = {FLOAT_BYTES, setting.unpacked_bytes} if setting.unpacked_bytes else set()
    copied = sum(sizes) * shape.language
    setting = replace(setting, keeps_float=False)
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
    if not setting.is_packed or setting.unpacked_bytes:
        return 0
    return setting.value_bytes * shape.hidden * shape.intermediate
