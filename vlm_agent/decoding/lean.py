"""Language layers without the machinery, for small models on a CPU.

For a model of a few million parameters most of a pass is spent on the way to the arithmetic: module calls, adapters,
cache classes, masks. This stack reads the weights out once (4-bit ones unpacked, adapters added in) and runs the same
formulas straight through, each product in the precision that the layer it stands for multiplies in. It gives the hidden
states of `TransformersStack` up to rounding in that precision; a test sees to that.
It knows plain layers and plain LoRA. `is_lean_enough` looks at every module it would stand for and says no to any
other: peft can attach more than can be written out here, and a term left out would be a silently wrong answer.
The weights are a copy: a stack made before training goes on does not follow it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from bitsandbytes.functional import dequantize_4bit
from bitsandbytes.nn import Linear4bit
from peft.tuners.lora import Linear as LoraLinear
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.bnb import Linear4bit as LoraLinear4bit
from torch import Tensor, nn
from transformers import Qwen3VLForConditionalGeneration
from transformers.activations import ACT2FN
from transformers.models.qwen3_vl import modeling_qwen3_vl as qwen3_vl

from vlm_agent.models.forward import ImageFeatures
from vlm_agent.models.quantized import UnpackedLinear4bit, multiply

LEAN_LIMIT_PARAMETERS = 200_000_000
"""Models up to this size are copied out on a CPU."""

_FIRST_CAPACITY = 512


_PROJECTIONS = (nn.Linear, Linear4bit, UnpackedLinear4bit)
_ADAPTED = (LoraLinear, LoraLinear4bit)
"""What peft puts around these for LoRA; its other kinds have classes of their own."""


def is_lean_enough(model: Any) -> bool:
    """Return whether a model should run on a `LeanStack`: a small Qwen3-VL in float32 on a CPU, adapted by LoRA or not.

    The modules decide, not what a config says of them: each must be of a class whose formula is written out here.
    """
    if not _is_untouched(model, Qwen3VLForConditionalGeneration):
        return False
    text = model.model.language_model
    if not _is_untouched(text, qwen3_vl.Qwen3VLTextModel) or model.get_input_embeddings() is not text.embed_tokens:
        return False
    is_known = (
        model.config.get_text_config().hidden_act == "silu"
        and _is_untouched(text.embed_tokens, nn.Embedding)
        and text.embed_tokens.max_norm is None
        and _is_untouched(text.norm, qwen3_vl.Qwen3VLTextRMSNorm)
        and _is_untouched(text.rotary_emb, qwen3_vl.Qwen3VLTextRotaryEmbedding)
        and all(map(_is_known_layer, text.layers))
    )
    if not is_known or not all(map(_is_plain_number, text.parameters())):
        return False
    return sum(parameter.numel() for parameter in model.parameters()) <= LEAN_LIMIT_PARAMETERS


def _is_untouched(module: Any, *classes: type[nn.Module]) -> bool:
    """Tell whether a module computes what its class says: no subclass, no replaced `forward`, no hooks."""
    hooks = module._forward_hooks or module._forward_pre_hooks
    return type(module) in classes and "forward" not in vars(module) and not hooks


def _is_plain_number(parameter: Tensor) -> bool:
    """Tell whether a weight is float32 (or packed), on a CPU."""
    is_packed = not parameter.is_floating_point()
    return parameter.device.type == "cpu" and (is_packed or parameter.dtype == torch.float32)


def _is_known_layer(layer: Any) -> bool:
    if not _is_untouched(layer, qwen3_vl.Qwen3VLTextDecoderLayer):
        return False
    attention, feed_forward = layer.self_attn, layer.mlp
    if not _is_untouched(attention, qwen3_vl.Qwen3VLTextAttention):
        return False
    if not _is_untouched(feed_forward, qwen3_vl.Qwen3VLTextMLP):
        return False
    norms = (layer.input_layernorm, layer.post_attention_layernorm, attention.q_norm, attention.k_norm)
    return (
        attention.scaling == attention.head_dim**-0.5
        and _is_untouched(feed_forward.act_fn, type(ACT2FN["silu"]))
        and all(_is_untouched(norm, qwen3_vl.Qwen3VLTextRMSNorm) for norm in norms)
        and all(map(_is_known_projection, _projections_of(layer)))
    )


def _projections_of(layer: Any) -> tuple[nn.Module, ...]:
    attention, feed_forward = layer.self_attn, layer.mlp
    return (
        attention.q_proj,
        attention.k_proj,
        attention.v_proj,
        attention.o_proj,
        feed_forward.gate_proj,
        feed_forward.up_proj,
        feed_forward.down_proj,
    )


def _is_known_projection(module: Any) -> bool:
    """Tell whether a projection is a matrix without a bias, plain or in 4 bits, or one under nothing but plain LoRA."""
    if not isinstance(module, LoraLayer):
        return _is_untouched(module, *_PROJECTIONS) and module.bias is None
    if not _is_untouched(module, *_ADAPTED) or not _is_known_projection(module.base_layer):
        return False
    if module.merged or module.disable_adapters:
        # Merged weights are taken out again at the next pass where adapters are disabled; only peft keeps that book.
        return not module.merged
    return all(_is_plain_lora(module, name) for name in module.active_adapters if name in module.lora_A)


def _is_plain_lora(module: Any, name: str) -> bool:
    """Tell whether an adapter adds two matrices and a factor, and nothing else (DoRA, a bias, a router)."""
    parts = (module.lora_A[name], module.lora_B[name])
    has_more = name in module.lora_variant or name in module.lora_magnitude_vector or module.fan_in_fan_out
    return not has_more and all(_is_untouched(part, nn.Linear) and part.bias is None for part in parts)


FEW_TOKENS = 4
"""So few tokens are multiplied more quickly in float32: filling up and turning values costs more than it saves."""


@dataclass(frozen=True)
class _Matrix:
    """What a projection multiplies by, (out, in)."""

    exact: Tensor
    """In float32."""
    coarse: Tensor | None
    """In the precision that a 4-bit layer multiplies in, where that is another."""


@dataclass(frozen=True)
class _Layer:
    """Weights of one decoder layer; projections that read the same input are joined."""

    input_norm: Tensor
    qkv: _Matrix
    head_norm: Tensor
    """Scales of the query heads, then of the key heads, (heads, 1, head_dim)."""
    out: _Matrix
    post_norm: Tensor
    gate_up: _Matrix
    down: _Matrix


class LeanStack:
    """The same layers as plain tensor operations over a preallocated cache."""

    def __init__(self, model: Any) -> None:
        """Copy the language weights out of a Qwen-VL model, with the adapters that are active now."""
        text = model.model.language_model
        config = model.config.get_text_config()
        self._eps = float(config.rms_norm_eps)
        self._num_heads = int(config.num_attention_heads)
        self._num_kv_heads = int(config.num_key_value_heads)
        self._embeddings: Tensor = text.embed_tokens.weight.detach()
        self._rotary = text.rotary_emb
        self._image_token_id = int(model.config.image_token_id)
        with torch.no_grad():
            self._layers = [_read_layer(layer, self._num_heads, self._num_kv_heads) for layer in text.layers]
            self._norm: Tensor = text.norm.weight.detach()
        self._head_dim = self._layers[0].out.exact.shape[1] // self._num_heads
        self._num_tokens = 0
        self._keys = self._values = torch.empty(0)
        self._grow(_FIRST_CAPACITY)

    @property
    def num_tokens(self) -> int:
        """How many tokens the cache holds."""
        return self._num_tokens

    def crop(self, num_tokens: int) -> None:
        """Forget all but the first tokens."""
        self._num_tokens = min(self._num_tokens, num_tokens)

    @torch.inference_mode()
    def run(self, input_ids: Tensor, positions: Tensor, features: Sequence[ImageFeatures] = ()) -> Tensor:
        """Run tokens behind those in the cache; see `Stack.run`."""
        hidden = F.embedding(input_ids, self._embeddings)
        is_image = input_ids == self._image_token_id
        if features:
            hidden[is_image] = torch.cat([part.tokens for part in features])
        levels = [torch.cat(level) for level in zip(*(part.deepstack for part in features), strict=True)]
        end = self._num_tokens + len(input_ids)
        if end > self._keys.shape[2]:
            self._grow(2 * end)
        cos, sin = self._rotation(hidden, positions)
        mask = self._mask(len(input_ids), end)
        last = len(self._layers) - 1
        for index, layer in enumerate(self._layers):
            queries = self._attend(index, layer, hidden, cos, sin)
            if index == last:
                # Only the last token's state is wanted: behind the last keys and values nothing reads the others.
                queries, hidden, mask = queries[:, -1:], hidden[-1:], None if mask is None else mask[-1:]
            hidden = self._finish(index, layer, hidden, queries, mask, end)
            if index < len(levels):
                hidden[is_image] += levels[index]
        self._num_tokens = end
        return F.rms_norm(hidden[-1], self._norm.shape, self._norm, self._eps)

    @torch.inference_mode()
    def run_tree(self, input_ids: Tensor, positions: Tensor, sees: Tensor) -> Tensor:
        """Run text tokens of which each sees some of those before; see `Stack.run_tree`."""
        hidden = F.embedding(input_ids, self._embeddings)
        end = self._num_tokens + len(input_ids)
        if end > self._keys.shape[2]:
            self._grow(2 * end)
        cos, sin = self._rotation(hidden, positions)
        mask = _as_bias(sees)
        for index, layer in enumerate(self._layers):
            queries = self._attend(index, layer, hidden, cos, sin)
            hidden = self._finish(index, layer, hidden, queries, mask, end)
        self._num_tokens = end
        return F.rms_norm(hidden, self._norm.shape, self._norm, self._eps)

    def _attend(self, index: int, layer: _Layer, hidden: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Write keys and values of the tokens into the cache; return their queries, (heads, tokens, head_dim)."""
        normed = F.rms_norm(hidden, layer.input_norm.shape, layer.input_norm, self._eps)
        joined = _multiply(normed, layer.qkv).view(len(hidden), -1, self._head_dim).transpose(0, 1)
        num_rotated = self._num_heads + self._num_kv_heads
        rotated = F.rms_norm(joined[:num_rotated], (self._head_dim,), None, self._eps) * layer.head_norm
        rotated = torch.addcmul(rotated * cos, rotated.roll(self._head_dim // 2, -1), sin)
        place = slice(self._num_tokens, self._num_tokens + len(hidden))
        self._keys[index, :, place] = rotated[self._num_heads :]
        self._values[index, :, place] = joined[num_rotated:]
        return rotated[: self._num_heads]

    def _finish(
        self, index: int, layer: _Layer, hidden: Tensor, queries: Tensor, mask: Tensor | None, end: int
    ) -> Tensor:
        """Attend over the cache, then the feed-forward part; both add to `hidden`, (tokens, hidden)."""
        attended = F.scaled_dot_product_attention(
            queries.unsqueeze(0),
            self._keys[index, :, :end].unsqueeze(0),
            self._values[index, :, :end].unsqueeze(0),
            attn_mask=mask,
            enable_gqa=True,
        )
        attended = attended[0].transpose(0, 1).reshape(len(hidden), -1)
        hidden = hidden + _multiply(attended, layer.out)
        normed = F.rms_norm(hidden, layer.post_norm.shape, layer.post_norm, self._eps)
        gate, up = _multiply(normed, layer.gate_up).chunk(2, dim=-1)
        return hidden + _multiply(F.silu(gate) * up, layer.down)

    def _rotation(self, hidden: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return cosines and sines, (tokens, head_dim), sines signed for a roll in place of rotate-half."""
        cos, sin = self._rotary(hidden, positions.unsqueeze(1))
        half = self._head_dim // 2
        return cos[0], torch.cat([-sin[0, :, :half], sin[0, :, half:]], dim=-1)

    def _mask(self, num_new: int, end: int) -> Tensor | None:
        if num_new == 1:
            return None
        return _as_bias(torch.ones(num_new, end, dtype=torch.bool).tril(diagonal=end - num_new))

    def _grow(self, capacity: int) -> None:
        shape = (len(self._layers), self._num_kv_heads, capacity, self._head_dim)
        keys, values = torch.zeros(shape), torch.zeros(shape)
        if self._num_tokens:
            keys[:, :, : self._num_tokens] = self._keys[:, :, : self._num_tokens]
            values[:, :, : self._num_tokens] = self._values[:, :, : self._num_tokens]
        self._keys, self._values = keys, values


def _multiply(values: Tensor, matrix: _Matrix) -> Tensor:
    """Return float32 products with (tokens, in) values."""
    if matrix.coarse is None or len(values) <= FEW_TOKENS:
        return F.linear(values, matrix.exact)
    return multiply(values.to(matrix.coarse.dtype), matrix.coarse).float()


def _as_bias(sees: Tensor) -> Tensor:
    """What is added to attention scores; made once a pass, where a mask of booleans is made into it in every layer."""
    return torch.zeros(sees.shape).masked_fill_(~sees, float("-inf"))


def _read_layer(layer: Any, num_heads: int, num_kv_heads: int) -> _Layer:
    attention, feed_forward = layer.self_attn, layer.mlp
    head_norm = [attention.q_norm.weight] * num_heads + [attention.k_norm.weight] * num_kv_heads
    return _Layer(
        input_norm=layer.input_layernorm.weight.detach(),
        qkv=_read_matrix(attention.q_proj, attention.k_proj, attention.v_proj),
        head_norm=torch.stack(head_norm).unsqueeze(1),
        out=_read_matrix(attention.o_proj),
        post_norm=layer.post_attention_layernorm.weight.detach(),
        gate_up=_read_matrix(feed_forward.gate_proj, feed_forward.up_proj),
        down=_read_matrix(feed_forward.down_proj),
    )


def _read_matrix(*modules: nn.Module) -> _Matrix:
    """What projections of the same input multiply by, one below the other."""
    exact = torch.cat([_read_weight(module) for module in modules])
    base = modules[0].base_layer if isinstance(modules[0], LoraLayer) else modules[0]
    dtype = base.compute_dtype if isinstance(base, Linear4bit) else exact.dtype
    return _Matrix(exact, None if dtype == exact.dtype else exact.to(dtype))


def _read_weight(module: Any) -> Tensor:
    """The matrix a projection multiplies by: unpacked, and with what its active adapters add."""
    if isinstance(module, LoraLayer):
        weight = _read_weight(module.base_layer)
        names = [] if module.disable_adapters else [name for name in module.active_adapters if name in module.lora_A]
        for name in names:
            weight = weight + module.lora_B[name].weight @ module.lora_A[name].weight * module.scaling[name]
        return weight
    if isinstance(module, Linear4bit):
        unpacked: Tensor = dequantize_4bit(module.weight.data, module.weight.quant_state).float()
        return unpacked
    plain: Tensor = module.weight.detach()
    return plain
