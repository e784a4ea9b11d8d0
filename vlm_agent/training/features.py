"""Vision features of frames, computed once and kept while memory lasts: the vision tower is frozen."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import torch

from vlm_agent.models.forward import ImageFeatures, see_images
from vlm_agent.models.images import RgbFrame, pixel_values
from vlm_agent.models.loading import LoadedModel


class FeatureCache:
    """Gives the vision features of pictures by key.

    Every picture goes through the tower alone, so its features are the same bits whether they were kept or computed
    anew, and whatever else is in the batch. What no longer fits is computed each time; nothing is ever thrown out.
    May be used from several threads.
    """

    def __init__(self, loaded: LoadedModel, load_frame: Callable[[str], RgbFrame], limit_bytes: int) -> None:
        """Take the model, how to get a resized frame by key, and how many bytes may be kept."""
        self._loaded = loaded
        self._load_frame = load_frame
        self.limit_bytes = limit_bytes
        """Most memory held."""
        self._kept: dict[str, ImageFeatures] = {}
        self._lock = threading.Lock()
        self.num_bytes = 0
        """Memory held."""
        self.num_computed = 0
        """How often the tower was run."""

    def get(self, keys: Sequence[str]) -> list[ImageFeatures]:
        """Return the features of pictures in the order of their keys."""
        return [self._kept.get(key) or self._compute(key) for key in keys]

    def _compute(self, key: str) -> ImageFeatures:
        images = self._loaded.encoder.images
        frame = self._load_frame(key)
        height, width = frame.shape[:2]
        grids = torch.tensor([images.grid(width, height)])
        device = self._loaded.device
        [features] = see_images(self._loaded.model, pixel_values([frame], images).to(device), grids.to(device))
        with self._lock:
            self.num_computed += 1
            if key not in self._kept and self.num_bytes + features.num_bytes <= self.limit_bytes:
                self._kept[key] = features
                self.num_bytes += features.num_bytes
        return features
