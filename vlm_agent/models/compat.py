"""The few places where supported versions of transformers differ; told apart by what they offer, never by version."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch


def join_pictures(features: torch.Tensor | Sequence[torch.Tensor]) -> torch.Tensor:
    """Return vision features of several pictures as one (tokens, hidden) tensor.

    Newer releases return one tensor per picture where older ones return them joined.
    """
    return features if isinstance(features, torch.Tensor) else torch.cat(tuple(features))


def enable_activation_checkpointing(model: Any) -> None:
    """Recompute layer activations in the backward pass instead of keeping them (the method was renamed)."""
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable()


def is_recomputing(model: Any) -> bool:
    """Tell whether activations are recomputed (renamed likewise)."""
    is_renamed = hasattr(type(model), "is_activation_checkpointing")
    return bool(model.is_activation_checkpointing if is_renamed else model.is_gradient_checkpointing)
