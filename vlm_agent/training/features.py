"""Vision features of frames, computed once and kept while memory lasts, as long as the vision tower is frozen."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence

import torch

from vlm_agent.models.forward import ImageFeatures, see_images
from vlm_agent.models.images import RgbFrame, normalise_patches
from vlm_agent.models.loading import LoadedModel
from vlm_agent.training.pictures import PictureReader


class FeatureCache:
    """Gives the vision features of pictures by key.

    Every picture goes through the tower alone, so its features are the same bits whether they were kept or computed
    anew, and whatever else is in the batch. What no longer fits is computed each time; nothing is ever thrown out.
    Where the tower is trained nothing is kept, and features have gradients. May be used from several threads.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        load_frame: Callable[[str], RgbFrame],
        limit_bytes: int,
        num_threads: int = 1,
        is_passing: Callable[[str], bool] = lambda _: False,
    ) -> None:
        """Take a model and where its pictures come from.

        Args:
            loaded: the model.
            load_frame: gives a resized frame by key.
            limit_bytes: how many bytes may be kept.
            num_threads: threads that read ahead.
            is_passing: tells of a key whether its picture won't come again, and is not to be kept.
        """
        self._loaded = loaded
        self._is_trained = loaded.sees_anew
        self._pictures = PictureReader(load_frame, loaded.encoder.images, num_threads)
        self.limit_bytes = 0 if self._is_trained else limit_bytes
        """Most memory held."""
        self._kept: dict[str, ImageFeatures] = {}
        self._lock = threading.Lock()
        self._is_passing = is_passing
        self.num_bytes = 0
        """Memory held."""
        self.num_computed = 0
        """How often the tower was run."""

    def expect(self, keys: Iterable[str]) -> None:
        """Begin to read the pictures of the coming steps whose features are not kept; forget those of past ones."""
        self._pictures.expect(key for key in keys if key not in self._kept)

    def get(self, keys: Sequence[str]) -> list[ImageFeatures]:
        """Return the features of pictures in the order of their keys; one that comes twice is computed once."""
        found = {key: self._kept.get(key) or self._compute(key) for key in dict.fromkeys(keys)}
        return [found[key] for key in keys]

    def _compute(self, key: str) -> ImageFeatures:
        device = self._loaded.device
        picture = self._pictures.get(key)
        values = normalise_patches(picture.patches.to(device, non_blocking=True), self._loaded.encoder.images)
        grids = torch.tensor([picture.grid], device=device)
        [features] = see_images(self._loaded.model, values, grids, with_gradients=self._is_trained)
        with self._lock:
            self.num_computed += 1
            has_room = self.num_bytes + features.num_bytes <= self.limit_bytes
            if key not in self._kept and has_room and not self._is_passing(key):
                self._kept[key] = features
                self.num_bytes += features.num_bytes
        return features
