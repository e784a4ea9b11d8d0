"""4-bit NF4 weights through bitsandbytes: what to quantise, what really was, and a fast exact path on CPU."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from bitsandbytes.functional import dequantize_4bit
from bitsandbytes.nn import Embedding4bit, Linear4bit, Linear8bitLt, Params4bit
from torch import Tensor, nn
from transformers import BitsAndBytesConfig
from transformers.quantizers.quantizers_utils import should_convert_module

from vlm_agent.errors import ModelError
from vlm_agent.models.packed import name_modules

KEPT_MODULES = ["lm_head", "model.visual"]
"""Left in full precision. Transformers 5 matches these from the start of a name: `visual` alone would quantise both."""

TOKEN_BLOCK = 64
"""Numbers of tokens are filled up to a multiple of this, where code is made for each."""
UNPACKED_LIMIT_PARAMETERS = 200_000_000
"""Models up to this size keep an unpacked copy of their 4-bit weights on CPU (four bytes a parameter)."""


def nf4_config(compute_dtype: torch.dtype) -> BitsAndBytesConfig:
    """Return the settings that quantise the language layers to NF4 with double quantisation, and nothing else."""
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute_dtype,
        llm_int8_skip_modules=list(KEPT_MODULES),
    )


def set_quantization(config: Any, kept_modules: Sequence[str] | None) -> None:
    """Have a transformers config say what the weights are, instead of what it was saved with.

    Args:
        config: is changed in place.
        kept_modules: the weights are in NF4, but for these layers; none: they are plain.
    """
    for part in (config, config.get_text_config()):
        if hasattr(part, "quantization_config"):
            del part.quantization_config
    if kept_modules is not None:
        config.quantization_config = {**nf4_config(torch.bfloat16).to_dict(), "llm_int8_skip_modules": [*kept_modules]}


def list_whole_layers(model: nn.Module, packed: Iterable[str]) -> list[str]:
    """Return the linear layers that are not packed, by their full names: releases read shorter ones differently.

    Args:
        model: on torch's `meta` device is enough.
        packed: the others, as the weight files name them.
    """
    names = set(name_modules(model, packed).values())
    return [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and name not in names]


def is_kept_whole(name: str, kept_modules: Sequence[str] | None = None) -> bool:
    """Tell whether 4-bit loading leaves a layer alone.

    Args:
        name: the layer's full name.
        kept_modules: `llm_int8_skip_modules` of an already quantised checkpoint; by default `KEPT_MODULES`.
    """
    return not should_convert_module(name, list(KEPT_MODULES if kept_modules is None else kept_modules))


@dataclass(frozen=True)
class QuantisedCount:
    """What is in 4 bits and what is not."""

    packed: int
    """Linear layers in 4 bits, all of them language layers."""
    language: int
    """Linear layers of the language part."""
    whole: int
    """All other modules with a weight: vision tower, merger, token table, norms, head."""

    def __str__(self) -> str:
        """Say it in words."""
        return f"{self.packed} of {self.language} language layers in 4 bits, {self.whole} other modules whole"


def count_quantised(model: nn.Module) -> QuantisedCount:
    """Return how many modules are in 4 bits and how many are not; adapters don't count."""
    named = [(name, module) for name, module in model.named_modules() if _holds_base_weight(name, module)]
    language = [module for name, module in named if _is_language_linear(name, module)]
    packed = sum(isinstance(module, Linear4bit) for module in language)
    return QuantisedCount(packed, len(language), len(named) - len(language))


def _holds_base_weight(name: str, module: nn.Module) -> bool:
    is_adapter = ".lora_" in name or hasattr(module, "base_layer")
    return not is_adapter and isinstance(getattr(module, "weight", None), Tensor)


def _is_language_linear(name: str, module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) and ".language_model.layers." in f".{name}"


def unpack_outside_language(model: nn.Module, dtype: torch.dtype) -> None:
    """Unpack 4-bit layers that are none of the language part: some checkpoints have vision tower or head in 4 bits.

    They compute what they computed before, and then can be read, adapted and cached like those of other checkpoints,
    where these parts are whole. That costs as much memory as there.

    Args:
        model: a loaded Qwen-VL model; changed in place.
        dtype: what the unpacked weights are in.
    """
    for name, module in list(model.named_modules()):
        if isinstance(module, Linear4bit) and not _is_language_linear(name, module):
            model.set_submodule(name, _unpack(module, dtype))


def _unpack(layer: Linear4bit, dtype: torch.dtype) -> nn.Linear:
    state = getattr(layer.weight, "quant_state", None)
    values = layer.weight.data if state is None else dequantize_4bit(layer.weight.data, state)
    whole = nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None, device="meta")
    whole.weight = nn.Parameter(values.to(dtype), requires_grad=False)
    if layer.bias is not None:
        whole.bias = nn.Parameter(layer.bias.data.to(dtype), requires_grad=False)
    return whole


def cast_whole_weights(model: nn.Module, dtype: torch.dtype) -> None:
    """Bring everything that is not packed to one dtype: transformers leaves it as it was saved beside packed layers.

    Args:
        model: changed in place; buffers stay as they are.
        dtype: the dtype.
    """
    for parameter in model.parameters():
        if parameter.is_floating_point() and not isinstance(parameter, Params4bit):
            parameter.data = parameter.data.to(dtype)


def check_quantised(model: nn.Module, *, all_language_layers: bool) -> QuantisedCount:
    """Check that 4-bit layers are really packed, and that they are linear layers of the language part and no others.

    Vision tower, merger, token table, norms and head must hold plain numbers.

    Args:
        model: a loaded Qwen-VL model.
        all_language_layers: also demand that no linear of the language layers was left out; a checkpoint that was
            quantised by others may keep some on purpose.

    Raises:
        ModelError: a layer is not what it should be; the message names the first one.
    """
    for name, module in model.named_modules():
        if not _holds_base_weight(name, module):
            continue
        if not _is_language_linear(name, module):
            if isinstance(module, _QUANTISED) or not module.weight.is_floating_point():
                raise ModelError(f"{name}: was loaded in few bits and must be whole; predictions would be wrong")
        elif isinstance(module, Linear4bit):
            if module.weight.dtype != torch.uint8 or getattr(module.weight, "quant_state", None) is None:
                raise ModelError(f"{name}: a 4-bit layer that holds weights which are not packed")
        elif all_language_layers or isinstance(module, _QUANTISED):
            raise ModelError(f"{name}: was to be 4-bit and is not")
    count = count_quantised(model)
    if not count.packed:
        raise ModelError("no layer was loaded in 4 bits")
    return count


_QUANTISED = (Linear4bit, Linear8bitLt, Embedding4bit)
"""Modules of bitsandbytes that pack their weights."""


def prepare_4bit_layers(model: nn.Module, compute_dtype: torch.dtype, device: torch.device) -> None:
    """Set the dtype 4-bit layers compute in, and make them exact, trainable and quick on CPU."""
    on_cpu = device.type == "cpu"
    keep_unpacked = sum(p.numel() for p in model.parameters()) <= UNPACKED_LIMIT_PARAMETERS
    for module in model.modules():
        if not isinstance(module, Linear4bit):
            continue
        module.compute_dtype = compute_dtype
        module.compute_type_is_set = True
        # On CPUs with AVX512-BF16 bitsandbytes repacks the weights in the first pass without gradients, and from then
        # on gives no gradients at all: an evaluation would silently end the training below that layer.
        module.support_avx512bf16_for_cpu = False
        if on_cpu and keep_unpacked:
            module.__class__ = UnpackedLinear4bit


def multiply(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return products of (…, in) values with a (out, in) weight of the same dtype.

    On a CPU, bfloat16 products are code made for their sizes and kept: a run whose passes all have lengths of their own
    grew by 1.5 GB. Many tokens are filled up to a multiple of `TOKEN_BLOCK`, so that sizes come again.
    """
    is_made_to_size = x.dtype == torch.bfloat16 and x.device.type == "cpu"
    tokens = x.numel() // x.shape[-1]
    missing = -tokens % TOKEN_BLOCK
    if not is_made_to_size or not missing or tokens < TOKEN_BLOCK:
        return nn.functional.linear(x, weight, bias)
    filled = nn.functional.pad(x.reshape(tokens, -1), (0, 0, 0, missing))
    return nn.functional.linear(filled, weight, bias)[:tokens].view(*x.shape[:-1], -1)


class UnpackedLinear4bit(Linear4bit):
    """A 4-bit layer that unpacks its frozen weights once, in the precision it multiplies in.

    Gives the same bits as unpacking at every call, which for one token takes ten times as long as the product itself.
    The packed weights stay what is saved and loaded.
    """

    _unpacked: Tensor | None = None
    _unpacked_from: Any = None
    """State of the weights that were unpacked: merging an adapter puts others in their place."""

    def forward(self, x: Tensor) -> Tensor:
        """Return x times the unpacked weights, in the dtype of x."""
        if self._unpacked is None or self._unpacked_from is not self.weight.quant_state:
            # A copy made in inference mode could never be part of a pass with gradients.
            with torch.inference_mode(False):
                self._unpacked_from = self.weight.quant_state
                self._unpacked = dequantize_4bit(self.weight.data, self.weight.quant_state).to(self.compute_dtype)
        bias = None if self.bias is None else self.bias.to(self.compute_dtype)
        return multiply(x.to(self.compute_dtype), self._unpacked, bias).to(x.dtype)

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        self._unpacked = None  # moved to another device or dtype: unpack anew there
        return super()._apply(fn, recurse)
