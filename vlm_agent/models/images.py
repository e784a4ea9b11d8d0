"""Pictures on their way into a Qwen-VL vision tower: one resize for training and play, patches, normalisation.

Gives the same numbers as transformers' `Qwen2VLImageProcessor` without torchvision: frames are cut into patches as
bytes (an eighth of the memory) and become floats only where the model runs.
This module does not know prompts or tokens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from vlm_agent.errors import ConfigError, DataError, ModelError
from vlm_agent.models.checkpoints import MAX_CONFIG_BYTES
from vlm_agent.regular_files import read_json

RgbFrame = NDArray[np.uint8]
"""A picture of shape (height, width, 3), RGB."""

CHANNELS = 3

_MOST_SIDE = 256
_BICUBIC = int(Image.Resampling.BICUBIC)
_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
_CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
_SIZE = {"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 1280}
"""What `Qwen2VLImageProcessor` of transformers does where a checkpoint does not tell."""
_MUST_TELL = (
    *("patch_size", "merge_size", "temporal_patch_size", "image_mean", "image_std", "resample", "rescale_factor"),
)
"""What it can't do without where a checkpoint names it."""


@dataclass(frozen=True)
class ImageSettings:
    """How one checkpoint wants its pictures (its `preprocessor_config.json`)."""

    patch_px: int = 16
    """Side of a patch: 16 for Qwen3-VL, 14 for Qwen2.5-VL."""
    merge: int = 2
    """So many patches by so many become one token."""
    temporal_patch: int = 2
    """A still picture is repeated so often in time."""
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    """Subtracted from values in [0, 1], per channel."""
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    """Divided by after that, per channel."""
    min_pixels: int = 65_536
    """Smallest area that `fit_size` gives; smaller pictures are enlarged."""
    max_pixels: int = 16_777_216
    """Largest area `fit_size` gives."""

    @property
    def factor_px(self) -> int:
        """Both sides of a picture must be multiples of this."""
        return self.patch_px * self.merge

    @property
    def min_tokens(self) -> int:
        """So many tokens the smallest picture takes at least."""
        return math.ceil(self.min_pixels / self.factor_px**2)

    def grid(self, width_px: int, height_px: int) -> tuple[int, int, int]:
        """Return (time, rows, columns) of patches of a picture.

        Raises:
            ConfigError: a side is not a multiple of `factor_px`.
        """
        if min(width_px, height_px) < 1 or width_px % self.factor_px or height_px % self.factor_px:
            raise ConfigError(
                f"picture size must be a multiple of {self.factor_px} px for this model, got {width_px}x{height_px}"
            )
        return (1, height_px // self.patch_px, width_px // self.patch_px)

    def num_tokens(self, width_px: int, height_px: int) -> int:
        """Return how many tokens a picture of that size takes in the prompt."""
        _, rows, columns = self.grid(width_px, height_px)
        return rows * columns // self.merge**2

    def with_tokens(self, max_tokens: int) -> ImageSettings:
        """Return the same settings for pictures of up to so many tokens, even if that is more than these allow."""
        return replace(self, max_pixels=max_tokens * self.factor_px**2)

    def fit_size(self, width_px: int, height_px: int, max_tokens: int | None = None) -> tuple[int, int]:
        """Return the (width, height) that Qwen's own tools resize a picture to, or fewer pixels by `max_tokens`.

        It is `smart_resize` of qwen-vl-utils; transformers' differs from that where a side is below half a token, and
        by half. However few tokens are asked for, a picture gets no smaller than `min_pixels`: whoever serves the model
        by those tools would enlarge it again.

        A frame of 765x503 becomes 768x512 with patches of 16 px and 756x504 with patches of 14 px.
        """
        if max(width_px, height_px) > 200 * min(width_px, height_px):
            raise ConfigError(f"picture must not be longer than 200 times its width, got {width_px}x{height_px}")
        factor = self.factor_px
        ceiling = self.max_pixels if max_tokens is None else min(self.max_pixels, max_tokens * factor**2)
        width, height = (max(factor, round(side / factor) * factor) for side in (width_px, height_px))
        if width * height > ceiling:
            shrink = math.sqrt(width_px * height_px / ceiling)
            width, height = _floor(width_px / shrink, factor), _floor(height_px / shrink, factor)
            if ceiling == self.max_pixels:
                return width, height
        if width * height < self.min_pixels:
            grow = math.sqrt(self.min_pixels / (width_px * height_px))
            return _ceil(width_px * grow, factor), _ceil(height_px * grow, factor)
        return width, height

    def keeps(self, width_px: int, height_px: int) -> bool:
        """Tell whether whoever serves the model by Qwen's own tools leaves a picture of that size as it is."""
        return self.fit_size(width_px, height_px) == (width_px, height_px)

    def to_preprocessor_json(self) -> dict[str, Any]:
        """Return the `preprocessor_config.json` that says the same to transformers."""
        return {
            "image_processor_type": "Qwen2VLImageProcessor",
            "patch_size": self.patch_px,
            "merge_size": self.merge,
            "temporal_patch_size": self.temporal_patch,
            "image_mean": list(self.mean),
            "image_std": list(self.std),
            "size": {"shortest_edge": self.min_pixels, "longest_edge": self.max_pixels},
        }


def read_image_settings(folder: Path) -> ImageSettings:
    """Read how a checkpoint wants its pictures, from `processor_config.json` or else `preprocessor_config.json`.

    What is missing there is as `Qwen2VLImageProcessor` has it, and of two smallest sizes its choice is taken.

    Raises:
        ModelError: neither file tells, it is broken, or it asks for what is not done here.
    """
    path, config = _read_processor(folder)
    if nulls := [name for name in _MUST_TELL if name in config and config[name] is None]:
        raise ModelError(f"{path}: {', '.join(nulls)} must not be null; take the published file")
    given = {name: value for name, value in config.items() if value is not None}
    size = {name: value for name, value in (given.get("size") or _SIZE).items() if value is not None}
    given = {"image_mean": _CLIP_MEAN, "image_std": _CLIP_STD, **size, **given}
    if given.get("do_normalize") is False:
        given |= {"image_mean": 0.0, "image_std": 1.0}
    try:
        settings = ImageSettings(
            patch_px=int(given.get("patch_size", 14)),
            merge=int(given.get("merge_size", 2)),
            temporal_patch=int(given.get("temporal_patch_size", 2)),
            mean=_triple(given["image_mean"]),
            std=_triple(given["image_std"]),
            min_pixels=int(given["min_pixels"] if "min_pixels" in given else given["shortest_edge"]),
            max_pixels=int(given["max_pixels"] if "max_pixels" in given else given["longest_edge"]),
        )
        fault = _find_fault(settings, given)
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise ModelError(f"{path}: no usable picture settings ({error!r})") from error
    if fault:
        raise ModelError(f"{path}: {fault}")
    return settings


def _read_processor(folder: Path) -> tuple[Path, dict[str, Any]]:
    """Return the file that tells how pictures are prepared, and what it says; newer transformers nest it."""
    for name in ("processor_config.json", "preprocessor_config.json"):
        path = folder / name
        if not path.is_file():
            continue
        try:
            config = read_json(path, MAX_CONFIG_BYTES)
        except (OSError, ValueError) as error:
            raise ModelError(f"{path}: can't be read ({error}); fetch it again") from error
        if name == "processor_config.json" and isinstance(config, dict):
            config = config.get("image_processor")
            if config is None:
                continue
        if not isinstance(config, dict) or not isinstance(config.get("size") or {}, dict):
            raise ModelError(f"{path}: expected picture settings, with `size` as an object")
        return path, config
    raise ModelError(f"{folder}: no preprocessor_config.json here, nor a processor_config.json with picture settings")


def _find_fault(settings: ImageSettings, given: dict[str, Any]) -> str:
    """Return what keeps settings from being used, or what they ask for that is not done here; empty if nothing."""
    sizes = (settings.patch_px, settings.merge, settings.temporal_patch, settings.min_pixels)
    if max(settings.patch_px, settings.merge, settings.temporal_patch) > _MOST_SIDE:
        return f"patches, merges and temporal patches are at most {_MOST_SIDE}, got {settings}"
    if min(sizes) < 1 or settings.max_pixels < settings.min_pixels:
        return f"sizes must be at least 1, and the largest picture not below the smallest, got {settings}"
    if not all(map(math.isfinite, settings.mean + settings.std)) or min(settings.std) <= 0:
        return f"image_mean and image_std must be numbers, std above 0, got {settings.mean} and {settings.std}"
    if given.get("resample", _BICUBIC) != _BICUBIC:
        return f"resample must be {_BICUBIC} (bicubic), got {given['resample']!r}"
    scale = given.get("rescale_factor", 1 / 255)
    if given.get("do_rescale") is False or not math.isclose(scale, 1 / 255, rel_tol=1e-6):
        return f"pixels must be divided by 255, got do_rescale {given.get('do_rescale')} by {scale!r}"
    return ""


def resize_frame(rgb: RgbFrame, width_px: int, height_px: int) -> RgbFrame:
    """Return a frame at another size: bicubic with area support, as Qwen's processor does it.

    The only resize between a captured frame and a model, in training and in play.

    Raises:
        DataError: the frame is not (height, width, 3) uint8.
    """
    if rgb.ndim != 3 or rgb.shape[2] != CHANNELS or rgb.dtype != np.uint8:
        raise DataError(f"a frame must be (height, width, 3) uint8, got {rgb.shape} {rgb.dtype}")
    if rgb.shape[:2] == (height_px, width_px):
        return rgb
    picture = Image.fromarray(rgb).resize((width_px, height_px), Image.Resampling.BICUBIC)
    return np.asarray(picture)


def cut_patches(rgb: RgbFrame, settings: ImageSettings) -> torch.Tensor:
    """Return a resized frame as patches, uint8 of shape (patches, 3, patch_px, patch_px), in the model's order.

    Patches that merge into one token are neighbours: order is (token row, token column, row in it, column in it).
    """
    height, width = rgb.shape[:2]
    _, rows, columns = settings.grid(width, height)
    side, merge = settings.patch_px, settings.merge
    cells = rgb.reshape(rows // merge, merge, side, columns // merge, merge, side, CHANNELS)
    ordered = np.ascontiguousarray(cells.transpose(0, 3, 1, 4, 6, 2, 5))
    return torch.from_numpy(ordered.reshape(rows * columns, CHANNELS, side, side))


def normalise_patches(patches: torch.Tensor, settings: ImageSettings) -> torch.Tensor:
    """Return `pixel_values` of shape (patches, 3 * temporal_patch * patch_px**2), float32 on the patches' device.

    Takes what `cut_patches` gives, of one or more pictures along the first axis.
    """
    shape = (1, CHANNELS, 1, 1)
    mean = torch.tensor(settings.mean, device=patches.device).view(shape)
    std = torch.tensor(settings.std, device=patches.device).view(shape)
    values = patches.float().mul_(1 / 255).sub_(mean).div_(std)
    repeated = values.unsqueeze(2).expand(-1, -1, settings.temporal_patch, -1, -1)
    return repeated.reshape(patches.shape[0], -1)


def pixel_values(frames: Sequence[RgbFrame], settings: ImageSettings) -> torch.Tensor:
    """Return the `pixel_values` of resized frames, one after the other, float32."""
    return normalise_patches(torch.cat([cut_patches(frame, settings) for frame in frames]), settings)


def _triple(values: Sequence[float] | float) -> tuple[float, float, float]:
    red, green, blue = [values] * 3 if isinstance(values, (int, float)) else values
    return float(red), float(green), float(blue)


def _floor(value: float, factor: int) -> int:
    return max(factor, math.floor(value / factor) * factor)


def _ceil(value: float, factor: int) -> int:
    return math.ceil(value / factor) * factor
