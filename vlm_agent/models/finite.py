"""Refuses weights that are not all numbers: one NaN in a base and everything after it is NaN, in play and training.

Files are looked through before they are loaded: packing to 4 bits can hide a NaN.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from vlm_agent.errors import ModelError
from vlm_agent.terminal import track

SHOWN_BYTES = 4_000_000_000
"""Files above this size are looked through under a progress bar: two gigabytes take a second."""


def check_finite(files: Sequence[Path]) -> None:
    """Check that all floating tensors of weight files are finite: weights, and the scales of packed ones.

    Args:
        files: safetensors files.

    Raises:
        ModelError: a tensor holds NaN or Inf, or a file can't be read.
    """
    is_shown = sum(path.stat().st_size for path in files) > SHOWN_BYTES and sys.stderr.isatty()
    for path in track(files, "checking weights", is_shown=is_shown):
        for name in find_not_finite(path):
            raise ModelError(f"{path}: {name} holds NaN or Inf; these weights are damaged, fetch or save them again")


def find_not_finite(path: Path) -> Iterator[str]:
    """Yield the names of tensors in a safetensors file that are not all finite.

    Raises:
        ModelError: the file can't be read.
    """
    try:
        with safe_open(path, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118 (it is no dictionary)
                tensor = opened.get_tensor(name)
                # The least and the largest value carry NaN along; this reads the memory once and needs no more of it.
                if tensor.is_floating_point() and tensor.numel() and not is_finite(tensor):
                    yield name
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path}: the weights can't be read: {error}") from error


def is_finite(tensor: torch.Tensor) -> bool:
    """Tell whether a floating tensor holds neither NaN nor Inf; it must not be empty."""
    least, largest = torch.aminmax(tensor)
    return bool(torch.isfinite(least) and torch.isfinite(largest))
