"""How much arithmetic a training pass takes: a formula, to choose between layouts and to hold measurements against.

A product with a frozen matrix of n weights takes 2n operations a token forwards and 2n backwards (the gradient of its
input; Kaplan et al. 2020, "Scaling laws for neural language models", section 2.1, less the gradient of the weights);
those of an adapter, or of trained weights, take 6n. Attention takes 4 operations a head channel and visible pair
forwards, and two and a half times that backwards, where scores are computed anew (Dao 2023, "FlashAttention-2", section
4.1). The vision tower runs forwards alone. Norms, activations and embeddings are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vlm_agent.models.loading import LoadedModel
from vlm_agent.training.batches import count_masked_pairs, count_pairs, count_tokens
from vlm_agent.training.planning.shapes import ModelShape, shape_of
from vlm_agent.training.rows import Row

ATTENTION_PASSES = 3.5
"""Forwards once, backwards two and a half times."""


@dataclass(frozen=True)
class TrainingFlops:
    """What one token, one visible pair, one target and one picture cost in training, operations."""

    per_token: float
    """Products of the language layers."""
    per_pair: float
    """Attention of all language layers for one token that sees one other (or itself)."""
    per_target: float
    """The head, where a token is to be predicted."""
    per_patch: float
    """Products of the vision tower for one patch, before merging."""
    per_patch_pair: float
    """Its attention."""

    def count(self, rows: Sequence[Row], *, is_masked: bool = False) -> float:
        """Return the operations of a pass over rows as they were laid out; padding counts, the vision tower doesn't.

        Args:
            rows: of one pass.
            is_masked: whether attention of padded rows is told by a mask, as transformers does: all pairs are computed
                then, hidden ones too. This project pads on the right alone, where causal attention needs no mask.
        """
        num_targets = sum(row.num_target_tokens for row in rows)
        pairs = count_masked_pairs(rows) if is_masked else count_pairs(rows)
        language = count_tokens(rows) * self.per_token + pairs * self.per_pair
        return language + num_targets * self.per_target

    def count_picture(self, num_patches: int) -> float:
        """Return the operations of the vision tower over one picture (as if every layer saw all of it)."""
        return num_patches * self.per_patch + num_patches**2 * self.per_patch_pair


def measure_flops(loaded: LoadedModel) -> TrainingFlops:
    """Return what training a model costs as it stands: its adapter, or without one all its language weights."""
    rank = 0 if loaded.peft is None else loaded.peft.peft_config["default"].r
    return count_training(shape_of(loaded.family, loaded.model.config), rank, full=loaded.peft is None)


def count_training(shape: ModelShape, rank: int, *, full: bool = False) -> TrainingFlops:
    """Return what training costs, from a shape alone.

    Args:
        shape: the model's.
        rank: of the adapter on all its language layers.
        full: whether the language layers themselves are trained, and there is no adapter.
    """
    weights = 6 * shape.matrices if full else 4 * shape.matrices + 6 * shape.count_lora(rank)
    return TrainingFlops(
        per_token=weights,
        per_pair=4 * shape.query_width * shape.layers * ATTENTION_PASSES,
        per_target=(6 if full else 4) * shape.vocabulary * shape.hidden,
        per_patch=2 * shape.vision_matrices,
        per_patch_pair=4 * shape.vision_hidden * shape.vision_layers,
    )
