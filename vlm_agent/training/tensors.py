"""Tensors on disk: safetensors alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def write_tensors(place: Path, tensors: dict[str, Tensor]) -> None:
    """Write tensors as safetensors; a full disk is an OSError here, not the safetensors library's own error."""
    from safetensors.torch import save  # imports torch, which whoever reads a run's measurements has no use for

    place.write_bytes(save(tensors, metadata={"format": "pt"}))
