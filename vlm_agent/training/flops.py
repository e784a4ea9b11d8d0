"""How much arithmetic a training pass takes: a formula, to choose between layouts and to hold measurements against.

A product with a frozen matrix of n weights takes 2n operations a token forwards and 2n backwards (the gradient of its
input; Kaplan et al. 2020, "Scaling laws for neural language models", section 2.1, less the gradient of the weights);
an adapter's take 6n. Attention takes 4 operations a head channel and visible pair forwards, and two and a half times
that backwards, where scores are computed anew (Dao 2023, "FlashAttention-2", section 4.1). The vision tower runs
forwards alone. Norms, activations and embeddings are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vlm_agent.models.loading import LoadedModel
from vlm_agent.training.batches import count_pairs, count_tokens
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

    def count(self, rows: Sequence[Row]) -> float:
        """Return the operations of a pass over rows as they were laid out; padding counts, the vision tower doesn't."""
        num_targets = sum(row.num_target_tokens for row in rows)
        language = count_tokens(rows) * self.per_token + count_pairs(rows) * self.per_pair
        return language + num_targets * self.per_target

    def count_picture(self, num_patches: int) -> float:
        """Return the operations of the vision tower over one picture (as if every layer saw all of it)."""
        return num_patches * self.per_patch + num_patches**2 * self.per_patch_pair


def measure_flops(loaded: LoadedModel) -> TrainingFlops:
    """Read what training a model costs off its modules."""
    text, vision = loaded.model.config.get_text_config(), loaded.model.config.vision_config
    head_dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    frozen, adapters = _count_weights(loaded.model.model.language_model)
    visual = loaded.model.model.visual
    # Mergers see one token for each square of patches.
    mergers = sum(_count_weights(part)[0] for name, part in visual.named_children() if "merger" in name)
    frozen_vision = _count_weights(visual)[0] - mergers + mergers / loaded.encoder.images.merge**2
    return TrainingFlops(
        per_token=4 * frozen + 6 * adapters,
        per_pair=4 * text.num_attention_heads * head_dim * text.num_hidden_layers * ATTENTION_PASSES,
        per_target=4 * loaded.head_weight.shape[0] * text.hidden_size,
        per_patch=2 * frozen_vision,
        per_patch_pair=4 * vision.hidden_size * vision.depth,
    )


def _count_weights(part: Any) -> tuple[int, int]:
    """Return how many weights the matrices of a module and of the adapters in it have; 4-bit ones unpacked."""
    frozen, adapters = 0, 0
    for name, module in part.named_modules():
        if not hasattr(module, "in_features") or hasattr(module, "base_layer"):
            continue
        size = module.in_features * module.out_features
        if "lora_" in name:
            adapters += size
        else:
            frozen += size
    return frozen, adapters
