"""One growing sequence in front of a Qwen-VL model: which tokens its cache holds, and where they stand.

Guarantees that every hidden state equals the one a full recomputation would give. Two things would break that silently
and are therefore always done here: all passes carry explicit positions, because the model's own guess goes wrong after
a cached prefix; and a prefix is reused beyond the first picture only where all pictures are the same as before, because
the same tokens may stand for another picture. It does not know what the tokens mean, nor how the next one is chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vlm_agent.decoding.lean import LeanStack, is_lean_enough
from vlm_agent.decoding.stacks import Stack, TransformersStack
from vlm_agent.models.encoding import Encoded
from vlm_agent.models.forward import rope_positions, see_images
from vlm_agent.models.loading import LoadedModel


@dataclass(frozen=True)
class ModelPrompt:
    """A prompt as a model takes it."""

    encoded: Encoded
    """Token ids and picture grids."""
    pixel_values: Tensor | None = None
    """Patches of all pictures, float of shape (patches, values); None without pictures."""


def make_stack(loaded: LoadedModel) -> Stack:
    """Return the faster of the two stacks for a model."""
    return LeanStack(loaded.model) if is_lean_enough(loaded.model) else TransformersStack(loaded.model)


class CachedSequence:
    """Runs a prompt, then tokens after it, and keeps the constant start of the prompt for the next one."""

    def __init__(self, loaded: LoadedModel, stack: Stack | None = None, *, reuse_prefix: bool = True) -> None:
        """Take a model, and the stack to run it on (by default the faster one)."""
        self._loaded = loaded
        self._stack = stack or make_stack(loaded)
        self._reuse_prefix = reuse_prefix
        self._ids: tuple[int, ...] = ()
        self._pixels: Tensor | None = None
        self._next_position = 0
        self._forks: list[tuple[int, ...]] = []
        self.num_reused_tokens = 0
        """How many tokens of the last prompt came from the prompt before."""

    @torch.inference_mode()
    def start(self, prompt: ModelPrompt, then: Sequence[int] = ()) -> Tensor:
        """Run a prompt and the tokens that follow it in any case; return the last hidden state, (hidden,)."""
        encoded, device = prompt.encoded, self._loaded.device
        ids = (*encoded.input_ids, *then)
        positions = rope_positions(encoded, self._loaded.encoder.images, self._loaded.encoder.image_token_id)
        after = int(positions.max()) + 1
        positions = torch.cat([positions, torch.arange(after, after + len(then)).expand(3, -1)], dim=1)
        keep = self._common_prefix(prompt) if self._reuse_prefix else 0
        features = []
        if prompt.pixel_values is not None and self._loaded.encoder.image_token_id in encoded.input_ids[keep:]:
            pixels = prompt.pixel_values.to(device, self._loaded.dtype)
            features = see_images(self._loaded.model, pixels, encoded.grid_tensor().to(device))
        # Forgotten while the model runs: a pass that fails halfway leaves a cache that must not be used again.
        self._ids, self._forks = (), []
        self._stack.crop(keep)
        hidden = self._stack.run(torch.tensor(ids[keep:], device=device), positions[:, keep:].to(device), features)
        self._ids, self._next_position, self.num_reused_tokens = ids, after + len(then), keep
        self._pixels = prompt.pixel_values
        return hidden

    @torch.inference_mode()
    def append(self, ids: Sequence[int]) -> Tensor:
        """Run further tokens in one pass; return the last hidden state, (hidden,)."""
        if not self._ids:
            raise RuntimeError("append() needs a sequence: call start() first")
        known, self._ids, self._forks = self._ids, (), []
        self._stack.crop(len(known))
        device = self._loaded.device
        positions = torch.arange(self._next_position, self._next_position + len(ids), device=device).expand(3, -1)
        hidden = self._stack.run(torch.tensor(tuple(ids), device=device), positions)
        self._ids = (*known, *ids)
        self._next_position += len(ids)
        return hidden

    @property
    def num_forked_tokens(self) -> int:
        """How many tokens have been forked off so far."""
        return len(self._forks)

    @torch.inference_mode()
    def fork(self, runs: Sequence[tuple[int, Sequence[int]]]) -> Tensor:
        """Run tokens that fork off behind the sequence, all in one pass; return their hidden states, (tokens, hidden).

        Forks are forgotten when the sequence goes on or starts anew.

        Args:
            runs: each the number of the token it follows, counted over all forks since then (-1 is the sequence
                itself), and the tokens that follow one another.
        """
        if not self._ids:
            raise RuntimeError("fork() needs a sequence: call start() first")
        known, self._ids = self._ids, ()
        first = len(self._forks)
        ids: list[int] = []
        for parent, run in runs:
            path = self._forks[parent] if parent >= 0 else ()
            for token in run:
                path = (*path, first + len(ids))
                ids.append(token)
                self._forks.append(path)
        sees = torch.zeros(len(ids), len(known) + len(self._forks), dtype=torch.bool)
        sees[:, : len(known)] = True
        for row, path in enumerate(self._forks[first:]):
            sees[row, [len(known) + place for place in path]] = True
        depths = torch.tensor([len(path) - 1 for path in self._forks[first:]])
        device = self._loaded.device
        positions = (self._next_position + depths).expand(3, -1).to(device)
        hidden = self._stack.run_tree(torch.tensor(ids, device=device), positions, sees.to(device))
        self._ids = known
        return hidden

    def _common_prefix(self, prompt: ModelPrompt) -> int:
        """How many tokens both prompts begin with; pictures count only if all of them are there and the same."""
        ids, image = prompt.encoded.input_ids, self._loaded.encoder.image_token_id
        # At least the last token is run again: its hidden state is what the caller wants.
        limit = min(len(self._ids), len(ids) - 1)
        shared = next((index for index in range(limit) if ids[index] != self._ids[index]), limit)
        if image not in ids[:shared] or (image not in ids[shared:] and self._has_same_pictures(prompt)):
            return shared
        return ids.index(image)

    def _has_same_pictures(self, prompt: ModelPrompt) -> bool:
        before, now = self._pixels, prompt.pixel_values
        return before is not None and now is not None and before.shape == now.shape and torch.equal(before, now)
