"""The language layers behind one growing sequence: plain transformers, for any model on any device.

A stack runs tokens and remembers them; `sequence` tells it which ones and at which positions. `lean` holds the other
implementation, for small models on a CPU, where the time goes into calling layers rather than into arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import DynamicCache

from vlm_agent.models.forward import ImageFeatures, run_language


class Stack(Protocol):
    """Language layers with their key-value cache."""

    @property
    def num_tokens(self) -> int:
        """How many tokens the cache holds."""

    def run(self, input_ids: Tensor, positions: Tensor, features: Sequence[ImageFeatures] = ()) -> Tensor:
        """Run tokens behind those in the cache and return the last hidden state, (hidden,), after the final norm.

        Args:
            input_ids: (tokens,), int64.
            positions: (3, tokens): time, row, column.
            features: of the pictures whose placeholders are among the tokens.
        """

    def run_tree(self, input_ids: Tensor, positions: Tensor, sees: Tensor) -> Tensor:
        """Run text tokens of which each sees some of those before; return all their states, (tokens, hidden).

        Args:
            input_ids: (tokens,), int64.
            positions: (3, tokens).
            sees: (tokens, cached tokens + tokens), bool: who may look at whom; everyone at itself.
        """

    def crop(self, num_tokens: int) -> None:
        """Forget all but the first tokens."""


class TransformersStack:
    """Transformers' own layers and cache."""

    def __init__(self, model: Any) -> None:
        """Take a Qwen-VL `…ForConditionalGeneration`, adapters in it or none."""
        self._model = model
        self._cache: Any = self._new_cache()

    @property
    def num_tokens(self) -> int:
        """How many tokens the cache holds."""
        return int(self._cache.get_seq_length())

    @torch.inference_mode()
    def run(self, input_ids: Tensor, positions: Tensor, features: Sequence[ImageFeatures] = ()) -> Tensor:
        """Run tokens behind those in the cache; see `Stack.run`."""
        # Explicit positions, always: the model's own guess is silently wrong behind a cached prefix.
        hidden = run_language(
            self._model,
            input_ids.unsqueeze(0),
            positions.unsqueeze(1),
            features,
            past_key_values=self._cache,
        )
        last: Tensor = hidden[0, -1]
        return last

    @torch.inference_mode()
    def run_tree(self, input_ids: Tensor, positions: Tensor, sees: Tensor) -> Tensor:
        """Run text tokens of which each sees some of those before; see `Stack.run_tree`."""
        hidden = run_language(
            self._model,
            input_ids.unsqueeze(0),
            positions.unsqueeze(1),
            attention_mask=sees[None, None],
            past_key_values=self._cache,
        )
        return hidden[0]

    def crop(self, num_tokens: int) -> None:
        """Forget all but the first tokens."""
        if num_tokens == 0:
            # Also the way back from a pass that failed halfway: its layers may disagree about their length.
            self._cache = self._new_cache()
        elif num_tokens < self.num_tokens:
            # A negative length means "remove so many" in every release; a positive one does not.
            self._cache.crop(num_tokens - self.num_tokens)

    def _new_cache(self) -> DynamicCache:
        return DynamicCache(config=self._model.config.get_text_config())
