"""The model that a plan is for: its folder, its tokenizer and its shape; weights only where they are there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vlm_agent.chat import Recipe
from vlm_agent.models.adapters import read_lora_rank
from vlm_agent.models.chat_templates import check_trained_template
from vlm_agent.models.checkpoints import BUNDLED_NAMES, find_adapter, find_checkpoint, find_tuned
from vlm_agent.models.encoding import ChatEncoder
from vlm_agent.models.identity import check_base, read_identity
from vlm_agent.models.loading import Family, read_encoder
from vlm_agent.models.records import find_record
from vlm_agent.models.refusals import Quantization, inspect_base
from vlm_agent.training.planning.shapes import ModelShape, read_shape


@dataclass(frozen=True)
class Candidate:
    """A model by its config and tokenizer alone."""

    name: str
    """What it was asked for as."""
    encoder: ChatEncoder
    """Messages and picture sizes to ids."""
    shape: ModelShape
    """How large its parts are."""
    quantization: Quantization
    """What its language layers are loaded in."""
    has_weights: bool
    """Whether its weights are there, so that it can be measured."""
    recipe: Recipe | None = None
    """What an earlier run brings along."""
    rank: int | None = None
    """Rank of its adapter."""

    @property
    def family(self) -> Family:
        """Its generation."""
        return self.shape.family


def read_candidate(name: str, quantization: Quantization) -> Candidate:
    """Return the model that a name means; of a model on the hub only config and tokenizer are fetched.

    Args:
        name: as `models.loading.load_model` takes it; a folder may lack weights.
        quantization: precision of the language layers; an earlier run brings its own.

    Raises:
        ModelError: no such model, no usable config or tokenizer, or no layers that an adapter can be put on.
    """
    adapter = find_adapter(Path(name)) if name not in BUNDLED_NAMES else None
    tuned = adapter if name in BUNDLED_NAMES else adapter or find_tuned(Path(name))
    recipe, rank, base = None, None, name
    if tuned is not None:
        record = find_record(tuned)
        recipe, quantization = Recipe.from_json(record.get("recipe", {})), record["base"]["quantization"]
    if adapter is not None:
        rank, base = read_lora_rank(adapter), record["base"]["source"]
    _, folder = find_checkpoint(base, with_weights=False, told_by=adapter)
    described = inspect_base(folder, quantization)
    shape, encoder = read_shape(folder), read_encoder(folder)
    if tuned is not None:
        check_trained_template(encoder.template, record["base"], tuned)
        if described.stored.files:
            check_base(record["base"], read_identity(folder, encoder), tuned)
    return Candidate(
        name,
        encoder,
        shape,
        quantization,
        bool(described.stored.files),
        recipe,
        rank,
    )
