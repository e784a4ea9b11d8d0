"""Files and folders that are there whole or not at all, also when the disk is full or the program is killed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

PARTIAL_SUFFIX = ".partial"
"""Ends the name of what is not finished; left behind by a kill alone, and overwritten by the next try."""


def write_text(place: Path, text: str) -> None:
    """Write a file beside its place and rename it into it."""
    beside = place.with_name(place.name + PARTIAL_SUFFIX)
    try:
        beside.write_text(text, encoding="utf-8")
        _flush(beside)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
    beside.replace(place)


def write_folder(place: Path, fill: Callable[[Path], None]) -> Path:
    """Write a folder beside its place by `fill`, flush its files, and rename it into place; return the place."""
    beside = place.with_name(place.name + PARTIAL_SUFFIX)
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        fill(beside)
        for path in beside.rglob("*"):
            if path.is_file():
                _flush(path)
        shutil.rmtree(place, ignore_errors=True)
        return beside.rename(place)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def write_tensors(place: Path, tensors: dict[str, Tensor]) -> None:
    """Write tensors as safetensors; a full disk is an OSError here, not the safetensors library's own error."""
    from safetensors.torch import save  # imports torch, which whoever reads a run's measurements has no use for

    place.write_bytes(save(tensors, metadata={"format": "pt"}))


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
