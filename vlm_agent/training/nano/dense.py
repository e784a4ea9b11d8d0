"""The dense vision stage: for every patch of the screen, which thing is there and where its centre is, digit by digit.

A language model asked one question a picture takes very long to find out that its eyes are of use. This stage opens
them first: each merged vision token predicts, for its four patches, the class of the thing at the patch and the three
decimal digits of the thing's centre in x and in y. The head is thrown away afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from vlm_agent.training.nano.samples import Thing

PATCHES_PER_TOKEN = 4
DIGITS = 3
NOTHING = 0
"""Class of a patch with no named thing on it."""


class DenseHead(nn.Module):
    """Reads merged vision tokens (batch, tokens, width) into class and digit logits for each patch."""

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.norm = nn.LayerNorm(width)
        self.hidden = nn.Linear(width, 256)
        self.out = nn.Linear(256, PATCHES_PER_TOKEN * (num_classes + 2 * DIGITS * 10))

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return class logits (..., 4, classes) and digit logits (..., 4, 6, 10)."""
        raw = self.out(functional.gelu(self.hidden(self.norm(features)))).float()
        raw = raw.unflatten(-1, (PATCHES_PER_TOKEN, self.num_classes + 2 * DIGITS * 10))
        return raw[..., : self.num_classes], raw[..., self.num_classes :].unflatten(-1, (2 * DIGITS, 10))


@dataclass(frozen=True)
class DenseTargets:
    """What the head should say, in the order of merged tokens and the patches within them."""

    classes: np.ndarray
    """(tokens, 4) int64; 0 where there is nothing."""
    digits: np.ndarray
    """(tokens, 4, 6) int64: three digits of x, three of y, in thousandths of the screen."""


def dense_targets(things: Sequence[Thing], names: dict[str, int], rows: int, columns: int) -> DenseTargets:
    """Paint the things into the patch grid, large ones first so that small ones on top of them win.

    Args:
        things: What is on the screen, boxes in thousandths.
        names: Class of each known name; unknown names count as nothing.
        rows: Patches from top to bottom, even.
        columns: Patches from left to right, even.
    """
    classes = np.zeros((rows, columns), dtype=np.int64)
    digits = np.zeros((rows, columns, 2 * DIGITS), dtype=np.int64)
    middles = patch_middles(rows, columns)
    own_digits = np.array([place_digits(x, y) for x, y in middles]).reshape(rows, columns, -1)
    centres_x = np.array([x for x, _ in middles[:columns]])
    centres_y = np.array([y for _, y in middles[::columns]])
    for thing in sorted(things, key=lambda thing: -thing.area):
        inside = ((centres_y >= thing.top) & (centres_y < thing.bottom))[:, None] & (
            (centres_x >= thing.left) & (centres_x < thing.right)
        )[None]
        x, y = thing.centre
        digits[inside] = own_digits[inside] if thing.is_anywhere else place_digits(x, y)
        middle = patch_of(x, y, rows, columns)
        if not inside[middle]:
            inside[middle] = True
            digits[middle] = place_digits(*(coarse_place(x, y, rows, columns) if thing.is_anywhere else (x, y)))
        classes[inside] = names.get(thing.name, NOTHING)
    return DenseTargets(_by_token(classes), _by_token(digits))


def patch_of(x: int, y: int, rows: int, columns: int) -> tuple[int, int]:
    """Return row and column of the patch that a place, in thousandths of the screen, lies in."""
    return min(y * rows // 1000, rows - 1), min(x * columns // 1000, columns - 1)


def patch_middle(row: int, column: int, rows: int, columns: int) -> tuple[int, int]:
    """Return x and y of a patch's middle in thousandths of the screen."""
    return (2 * column + 1) * 500 // columns, (2 * row + 1) * 500 // rows


@lru_cache(maxsize=4)
def patch_middles(rows: int, columns: int) -> tuple[tuple[int, int], ...]:
    """Return those of all patches, row by row."""
    return tuple(patch_middle(row, column, rows, columns) for row in range(rows) for column in range(columns))


def coarse_place(x: int, y: int, rows: int, columns: int) -> tuple[int, int]:
    """Return a place to within half a patch: what a patch can tell of a thing that is smaller than itself."""
    finer = 2 * rows, 2 * columns
    return patch_middle(*patch_of(x, y, *finer), *finer)


def place_digits(x: int, y: int) -> list[int]:
    """Return the three decimal digits of x and those of y."""
    return [*decimal_digits(x), *decimal_digits(y)]


def decimal_digits(value: int) -> list[int]:
    """Return the three decimal digits of 0..999."""
    return [value // 100, value // 10 % 10, value % 10]


def _by_token(grid: np.ndarray) -> np.ndarray:
    # Qwen orders patches by merged cell, then row and column within the 2 x 2 cell.
    rows, columns, *rest = grid.shape
    cells = grid.reshape(rows // 2, 2, columns // 2, 2, *rest).swapaxes(1, 2)
    return np.ascontiguousarray(cells.reshape(rows * columns // 4, PATCHES_PER_TOKEN, *rest))


def balance(classes: torch.Tensor, num_classes: int) -> torch.Tensor:
    """Return a weight for each patch, so that a class counts as the square root of how often it comes in the batch.

    Most patches are empty ground or one of a few common things; counted alike, the rest is taken for those.
    """
    counts = torch.bincount(classes.flatten(), minlength=num_classes)
    return counts.clamp(min=1).rsqrt()[classes]


def weigh_patches(logits: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """Return the loss of classes (…,) against logits (…, classes)."""
    weights = balance(classes, logits.shape[-1])
    by_patch = functional.cross_entropy(logits.flatten(0, -2), classes.flatten(), reduction="none")
    return (by_patch * weights.flatten()).sum() / weights.sum()


def dense_loss(
    head: DenseHead, features: torch.Tensor, classes: torch.Tensor, digits: torch.Tensor
) -> tuple[torch.Tensor, dict[str, float]]:
    """Return the loss and the accuracies (class on things, first, second and third digit) as plain numbers."""
    class_logits, digit_logits = head(features)
    there = classes != NOTHING
    class_loss = weigh_patches(class_logits, classes)
    if not there.any():  # blank screens
        return class_loss, {}
    chosen, wanted = digit_logits[there], digits[there]
    digit_loss = functional.cross_entropy(chosen.flatten(0, -2), wanted.flatten())
    right = (chosen.argmax(-1) == wanted).float().mean(0)
    scores = {
        "class": (class_logits.argmax(-1) == classes)[there].float().mean().item(),
        "digit1": right[[0, 3]].mean().item(),
        "digit2": right[[1, 4]].mean().item(),
        "digit3": right[[2, 5]].mean().item(),
    }
    return class_loss + 2.0 * digit_loss, scores
