"""A model by its config alone: what it is made of, counted on torch's `meta` device, where weights take no memory."""

from __future__ import annotations

import re
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vlm_agent.errors import ModelError
from vlm_agent.models.adapters import TARGET_MODULES
from vlm_agent.models.loading import FAMILIES, Family, read_model_config
from vlm_agent.models.quantized import is_kept_whole
from vlm_agent.models.refusals import inspect_base

_LAYERS = "model.language_model.layers."
_VISION = "model.visual."


@dataclass(frozen=True)
class ModelShape:
    """How large a model's parts are."""

    family: Family
    """Its generation."""
    packed: int
    """Parameters of the language layers that 4-bit loading packs."""
    language: int
    """All parameters of the language layers and their norms, packed ones included."""
    embedding: int
    """Parameters of the token table."""
    head: int
    """Parameters of the output head; 0 where it is the token table."""
    vision: int
    """Parameters of the vision tower."""
    matrices: int
    """Parameters of the language layers that every token is multiplied with."""
    vision_matrices: int
    """Parameters of the vision tower that every patch is multiplied with; mergers see one token for several patches,
    and count by that share."""
    adapted_widths: int
    """Inputs and outputs of all adapted layers, added up: an adapter of rank r has r times as many parameters."""
    hidden: int
    """Width of the language layers."""
    intermediate: int
    """Width inside their MLPs."""
    layers: int
    """How many there are."""
    heads: int
    """Query heads."""
    kv_heads: int
    """Key and value heads."""
    head_size: int
    """Width of a head."""
    vocabulary: int
    """Rows of the output head."""
    context_tokens: int
    """Longest sequence that the model was made for."""
    vision_hidden: int
    """Width of the vision tower."""
    vision_intermediate: int
    """Width inside its MLPs."""
    vision_layers: int
    """Its layers."""
    picture_levels: int
    """So many feature vectors are kept for each token of a picture: one, and one for each DeepStack level."""

    @property
    def total(self) -> int:
        """All parameters."""
        return self.language + self.embedding + self.head + self.vision

    @property
    def query_width(self) -> int:
        """Width of all query heads."""
        return self.heads * self.head_size

    @property
    def kv_width(self) -> int:
        """Width of all key heads, and of all value heads."""
        return self.kv_heads * self.head_size

    def count_lora(self, rank: int) -> int:
        """Return the parameters of an adapter."""
        return rank * self.adapted_widths


def read_shape(folder: Path) -> ModelShape:
    """Return the shape of a model by its folder's config.json and the headers of its weights, if they are there.

    Raises:
        ModelError: it can't be used, or its layers are not called what they should be.
    """
    base = inspect_base(folder, "nf4")
    family = FAMILIES[base.model_type]
    shape = shape_of(family, read_model_config(base))
    if not shape.adapted_widths:
        raise ModelError(f"{base.folder}: {family.model_class.__name__} has no layers that an adapter can be put on")
    return shape


def shape_of(family: Family, config: Any) -> ModelShape:
    """Return the shape of a model of that transformers config; of one that was quantised before, what was packed."""
    config = deepcopy(config)  # a model writes into its config
    with torch.device("meta"):
        model = family.model_class(config)
    counts = _count(model, _read_kept(config))
    text, vision = config.get_text_config(), config.vision_config
    heads = text.num_attention_heads
    return ModelShape(
        family=family,
        packed=counts.packed,
        language=counts.language,
        embedding=counts.embedding,
        head=counts.head,
        vision=counts.vision,
        matrices=counts.matrices,
        vision_matrices=counts.patch_matrices + counts.mergers // config.vision_config.spatial_merge_size**2,
        adapted_widths=counts.adapted_widths,
        hidden=text.hidden_size,
        intermediate=text.intermediate_size,
        layers=text.num_hidden_layers,
        heads=heads,
        kv_heads=text.num_key_value_heads,
        head_size=getattr(text, "head_dim", None) or text.hidden_size // heads,
        vocabulary=text.vocab_size,
        context_tokens=text.max_position_embeddings,
        vision_hidden=vision.hidden_size,
        vision_intermediate=vision.intermediate_size,
        vision_layers=vision.depth,
        picture_levels=1 + len(getattr(vision, "deepstack_visual_indexes", ())),
    )


def _read_kept(config: Any) -> list[str] | None:
    packed = getattr(config, "quantization_config", None)
    if packed is None:
        return None
    return packed.get("llm_int8_skip_modules") if isinstance(packed, dict) else packed.llm_int8_skip_modules


@dataclass
class _Counts:
    packed: int = 0
    language: int = 0
    embedding: int = 0
    head: int = 0
    vision: int = 0
    matrices: int = 0
    patch_matrices: int = 0
    mergers: int = 0
    adapted_widths: int = 0
    seen: set[int] = field(default_factory=set)


def _count(model: nn.Module, kept_whole: list[str] | None) -> _Counts:
    counts = _Counts()
    for name, module in model.named_modules():
        own = [parameter for parameter in module.parameters(recurse=False) if id(parameter) not in counts.seen]
        counts.seen.update(map(id, own))
        number = sum(parameter.numel() for parameter in own)
        if name.startswith(_VISION) or f"{name}." == _VISION:
            counts.vision += number
            if isinstance(module, nn.Linear | nn.Conv3d):
                _count_patch_matrix(counts, name.removeprefix(_VISION), module)
        elif isinstance(module, nn.Embedding):
            counts.embedding += number
        elif name == "lm_head":
            counts.head += number
        else:
            counts.language += number
        if isinstance(module, nn.Linear) and name.startswith(_LAYERS):
            counts.matrices += module.weight.numel()
            counts.packed += 0 if is_kept_whole(name, kept_whole) else module.weight.numel()
            if re.fullmatch(TARGET_MODULES, name):
                counts.adapted_widths += module.in_features + module.out_features
    return counts


def _count_patch_matrix(counts: _Counts, name: str, module: nn.Linear | nn.Conv3d) -> None:
    if "merger" in name.split(".")[0]:
        counts.mergers += module.weight.numel()
    else:
        counts.patch_matrices += module.weight.numel()
