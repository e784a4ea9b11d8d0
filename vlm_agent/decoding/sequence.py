"""One growing sequence in front of a Qwen-VL model: which tokens its cache holds, and where they stand.

Guarantees that every hidden state equals the one a full recomputation would give. Two things would break that silently
and are therefore always done here: all passes carry explicit positions, because the model's own guess goes wrong after
a cached prefix; and a prefix is reused beyond a picture only where that is the same as before, because the same tokens
may stand for another picture. So of a conversation that grew by a turn only the new turn is run, and a picture that
moved within the prompt is not seen anew. It does not know what the tokens mean, nor how the next one is chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from vlm_agent.decoding.lean import LeanStack, is_lean_enough
from vlm_agent.decoding.stacks import Stack, TransformersStack
from vlm_agent.errors import ModelError
from vlm_agent.models.adapter_configs import check_kind
from vlm_agent.models.encoding import Encoded
from vlm_agent.models.forward import ImageFeatures, rope_positions, see_images
from vlm_agent.models.loading import LoadedModel


@dataclass(frozen=True)
class Picture:
    """One picture as a model takes it."""

    grid: tuple[int, int, int]
    """(time, rows, columns) in patches."""
    pixel_values: Tensor
    """Its patches, float of shape (patches, values)."""

    def is_same(self, other: Picture) -> bool:
        """Tell whether two pictures are equal, value for value."""
        return self.grid == other.grid and torch.equal(self.pixel_values, other.pixel_values)


@dataclass(frozen=True)
class ModelPrompt:
    """A prompt as a model takes it."""

    encoded: Encoded
    """Token ids and picture grids."""
    pixel_values: Tensor | None = None
    """Patches of all pictures, float of shape (patches, values); None without pictures."""

    @property
    def pictures(self) -> list[Picture]:
        """All pictures, in order."""
        if self.pixel_values is None:
            return []
        grids = self.encoded.image_grids
        return list(map(Picture, grids, self.pixel_values.split([rows * columns for _, rows, columns in grids])))


def make_stack(loaded: LoadedModel) -> Stack:
    """Return the faster of the two stacks for a model.

    Raises:
        ModelError: its adapter works around the layers that a stack runs, and would be left out.
    """
    if loaded.peft is not None:
        for name in loaded.peft.active_adapters:
            check_kind(loaded.peft.peft_config[name], name)
    return LeanStack(loaded.model) if is_lean_enough(loaded.model) else TransformersStack(loaded.model)


class CachedSequence:
    """Runs a prompt, then tokens after it, and keeps the constant start of the prompt for the next one."""

    def __init__(self, loaded: LoadedModel, stack: Stack | None = None, *, reuse_prefix: bool = True) -> None:
        """Take a model, and the stack to run it on (by default the faster one)."""
        self._loaded = loaded
        self._stack = stack or make_stack(loaded)
        self._reuse_prefix = reuse_prefix
        self._ids: tuple[int, ...] = ()
        self._pictures: list[Picture] = []
        self._features: list[ImageFeatures] = []
        self._next_position = 0
        self._forks: list[tuple[int, ...]] = []
        self.num_reused_tokens = 0
        """How many tokens of the last prompt came from the prompt before."""

    @torch.inference_mode()
    def start(self, prompt: ModelPrompt, then: Sequence[int] = ()) -> Tensor:
        """Run a prompt and the tokens that follow it in any case; return the last hidden state, (hidden,).

        Raises:
            ModelError: they don't fit into the model's context: it was never taught what lies behind it.
        """
        encoded, device = prompt.encoded, self._loaded.device
        ids = (*encoded.input_ids, *then)
        if len(ids) > self._loaded.context_tokens:
            raise ModelError(
                f"{self._loaded.source}: a prompt of {len(ids)} tokens doesn't fit into its context of"
                f" {self._loaded.context_tokens}; show it smaller pictures, less state text or fewer earlier decisions"
            )
        positions = rope_positions(encoded, self._loaded.encoder.images, self._loaded.encoder.image_token_id)
        after = int(positions.max()) + 1
        positions = torch.cat([positions, torch.arange(after, after + len(then)).expand(3, -1)], dim=1)
        keep, num_kept_pictures = self._common_prefix(prompt) if self._reuse_prefix else (0, 0)
        features = self._see(prompt.pictures)[num_kept_pictures:]
        # Forgotten while the model runs: a pass that fails halfway leaves a cache that must not be used again.
        self._ids, self._forks = (), []
        self._stack.crop(keep)
        hidden = self._stack.run(torch.tensor(ids[keep:], device=device), positions[:, keep:].to(device), features)
        self._ids, self._next_position, self.num_reused_tokens = ids, after + len(then), keep
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

    def _see(self, pictures: list[Picture]) -> list[ImageFeatures]:
        """Return the features of a prompt's pictures; those that were in the prompt before are not computed anew."""
        known = [self._find_picture(picture) if self._reuse_prefix else None for picture in pictures]
        new = [picture for picture, features in zip(pictures, known, strict=True) if features is None]
        seen: list[ImageFeatures] = []
        if new:
            device = self._loaded.device
            pixels = torch.cat([picture.pixel_values for picture in new]).to(device, self._loaded.dtype)
            seen = see_images(
                self._loaded.model, pixels, torch.tensor([picture.grid for picture in new], device=device)
            )
        computed = iter(seen)
        self._features = [next(computed) if features is None else features for features in known]
        self._pictures = pictures
        return self._features

    def _find_picture(self, picture: Picture) -> ImageFeatures | None:
        before = zip(self._pictures, self._features, strict=True)
        return next((features for known, features in before if known.is_same(picture)), None)

    def _common_prefix(self, prompt: ModelPrompt) -> tuple[int, int]:
        """How many tokens both prompts begin with, and pictures among them; each is all there and the same."""
        encoder, encoded = self._loaded.encoder, prompt.encoded
        # At least the last token is run again: its hidden state is what the caller wants.
        limit = min(len(self._ids), len(encoded.input_ids) - 1)
        shared = next((place for place in range(limit) if encoded.input_ids[place] != self._ids[place]), limit)
        places = [place for place, token in enumerate(encoded.input_ids) if token == encoder.image_token_id]
        sizes = [rows * columns // encoder.images.merge**2 for _, rows, columns in encoded.image_grids]
        num_pictures = 0
        for now, before, stop in zip(prompt.pictures, self._pictures, accumulate(sizes), strict=False):
            if places[stop - 1] >= shared or not now.is_same(before):
                break
            num_pictures += 1
        following = sum(sizes[:num_pictures])
        return min([shared, *places[following : following + 1]]), num_pictures
