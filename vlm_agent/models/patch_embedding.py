"""The vision tower's first layer as the matrix product that it is.

Qwen-VL cuts pictures into patches beforehand and then convolves each with a kernel of its own size: one output a patch,
so a product of the flattened patch and the flattened kernel. Convolution routines are built for kernels that slide and
take several times as long (torch 2.9 had them thousands of times slower on some cards, pytorch#174051). Parameters stay
where and as they are: checkpoints, adapters and gradients know nothing of it.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn


def multiply_patches(model: Any) -> None:
    """Have a Qwen-VL model multiply its patches instead of convolving them, where that is the same.

    Args:
        model: a `…ForConditionalGeneration`; changed in place.
    """
    embed = model.model.visual.patch_embed
    proj = getattr(embed, "proj", None)
    if isinstance(proj, nn.Conv3d) and proj.kernel_size == proj.stride and proj.groups == 1 and not any(proj.padding):
        embed.forward = MethodType(_multiply, embed)


def _multiply(embed: Any, hidden_states: Tensor) -> Tensor:
    """Patches (patches, values) to their embeddings, (patches, embed_dim)."""
    weight = embed.proj.weight
    kernel = weight.flatten(1)
    return F.linear(hidden_states.reshape(-1, kernel.shape[1]).to(weight.dtype), kernel, embed.proj.bias)
