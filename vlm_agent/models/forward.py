"""Running a Qwen-VL model in its three parts: vision tower, language layers, head.

Calling the parts instead of the whole lets vision features be computed once and reused, and the head be applied to the
few positions that need it; both work the same on every supported transformers. Equal to the model's own forward pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vlm_agent.models.compat import join_pictures
from vlm_agent.models.encoding import Encoded
from vlm_agent.models.images import ImageSettings
from vlm_agent.models.token_trees import TokenTree, enable_token_trees


@dataclass(frozen=True)
class ImageFeatures:
    """What the vision tower gives for one picture."""

    tokens: Tensor
    """Stand in for the picture's placeholders, (tokens, hidden)."""
    deepstack: tuple[Tensor, ...] = ()
    """Added at the same positions after the first language layers, each (tokens, hidden); Qwen3-VL only."""

    @property
    def num_bytes(self) -> int:
        """Memory held."""
        return sum(part.numel() * part.element_size() for part in (self.tokens, *self.deepstack))


def see_images(model: Any, pixel_values: Tensor, grids: Tensor, *, with_gradients: bool = False) -> list[ImageFeatures]:
    """Run the vision tower over pictures.

    Args:
        model: a Qwen-VL `…ForConditionalGeneration` (not wrapped by peft).
        pixel_values: (patches of all pictures, values), on the model's device.
        grids: `image_grid_thw`, (pictures, 3).
        with_gradients: whether the tower is trained; else nothing is kept for a backward pass.
    """
    with nullcontext() if with_gradients else torch.no_grad():
        seen = model.model.get_image_features(pixel_values, grids, return_dict=True)
    sizes = (grids.prod(-1) // model.model.visual.spatial_merge_size**2).tolist()
    tokens = join_pictures(seen.pooler_output).split(sizes)
    levels = [join_pictures(level).split(sizes) for level in getattr(seen, "deepstack_features", None) or ()]
    return [ImageFeatures(part, tuple(level[i] for level in levels)) for i, part in enumerate(tokens)]


def rope_positions(encoded: Encoded, images: ImageSettings, image_token_id: int) -> Tensor:
    """Return the M-RoPE positions of a conversation with still pictures, int64 of shape (3, tokens).

    Text counts up in all three rows. A picture's tokens share one time position and count rows and columns; the text
    after it goes on behind the longer side. The next generated token stands at `positions.max() + 1`.
    """
    ids = torch.tensor(encoded.input_ids)
    positions = torch.empty(3, len(ids), dtype=torch.long)
    starts = _picture_starts(ids == image_token_id, encoded, images)
    cursor, position = 0, 0
    for start, (_, rows, columns) in zip(starts, encoded.image_grids, strict=True):
        positions[:, cursor:start] = torch.arange(position, position + start - cursor)
        position += start - cursor
        height, width = rows // images.merge, columns // images.merge
        cursor = start + height * width
        positions[0, start:cursor] = position
        positions[1, start:cursor] = position + torch.arange(height).repeat_interleave(width)
        positions[2, start:cursor] = position + torch.arange(width).repeat(height)
        position += max(height, width)
    positions[:, cursor:] = torch.arange(position, position + len(ids) - cursor)
    return positions


def _picture_starts(is_image: Tensor, encoded: Encoded, images: ImageSettings) -> list[int]:
    """Index of every picture's first placeholder; neighbouring pictures may touch."""
    places = is_image.nonzero().flatten().tolist()
    starts, taken = [], 0
    for _, rows, columns in encoded.image_grids:
        starts.append(places[taken])
        taken += rows * columns // images.merge**2
    return starts


def run_language(
    model: Any,
    input_ids: Tensor,
    positions: Tensor,
    features: Sequence[ImageFeatures] = (),
    *,
    attention_mask: Tensor | None = None,
    past_key_values: Any = None,
    tree: TokenTree | None = None,
) -> Tensor:
    """Run the language layers and return the last hidden states, (batch, tokens, hidden), after the final norm.

    Args:
        model: a Qwen-VL `…ForConditionalGeneration`; adapters inside it take part.
        input_ids: (batch, tokens).
        positions: (3, batch, tokens), see `rope_positions`.
        features: of every picture of the batch, in the order of their placeholders, row by row.
        attention_mask: (batch, tokens) for padding, or 4-D; none means causal over everything.
        past_key_values: a transformers cache, extended in place; none keeps no cache.
        tree: how one sequence is cut into conversations that don't see each other; takes neither mask nor cache.
    """
    embeddings = model.get_input_embeddings()(input_ids)
    extra: dict[str, Any] = {}
    if tree is not None:
        enable_token_trees(model)
        extra["token_tree"] = tree
    if features:
        is_image = input_ids == model.config.image_token_id
        seen = torch.cat([part.tokens for part in features]).to(embeddings.device, embeddings.dtype)
        embeddings = embeddings.masked_scatter(is_image.unsqueeze(-1), seen)
        if features[0].deepstack:
            levels = zip(*(part.deepstack for part in features), strict=True)
            extra["visual_pos_masks"] = is_image
            extra["deepstack_visual_embeds"] = [torch.cat(level).to(embeddings.device) for level in levels]
    outputs = model.model.language_model(
        inputs_embeds=embeddings,
        position_ids=positions,
        attention_mask=attention_mask,
        past_key_values=past_key_values,
        use_cache=past_key_values is not None,
        **extra,
    )
    hidden: Tensor = outputs.last_hidden_state
    return hidden


def apply_head(model: Any, hidden: Tensor) -> Tensor:
    """Return the logits of hidden states, float32 of shape (…, vocabulary)."""
    # As rows: some adapters on a head take no single vector.
    logits: Tensor = model.lm_head(hidden.reshape(-1, hidden.shape[-1]))
    return logits.float().view(*hidden.shape[:-1], -1)
