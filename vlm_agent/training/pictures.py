"""Pictures on their way from disk to the vision tower: read and cut once a step, ahead of the step that needs them.

They travel as bytes, an eighth of what the tower takes; they become floats on the model's device.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from torch import Tensor

from vlm_agent.models.images import ImageSettings, RgbFrame, cut_patches


@dataclass(frozen=True)
class CutPicture:
    """A picture as the vision tower takes it, before it becomes floats."""

    patches: Tensor
    """(patches, 3, patch_px, patch_px) uint8."""
    grid: tuple[int, int, int]
    """(time, rows, columns) in patches."""


class PictureReader:
    """Gives pictures cut into patches; those that are expected are read once, however often they are asked for.

    Decoding and resizing let go of Python's lock, so threads are enough. May be used from several threads.
    """

    def __init__(self, load_frame: Callable[[str], RgbFrame], images: ImageSettings, num_threads: int) -> None:
        """Take how to get a resized frame by key, how it is cut, and how many threads read ahead, 1 or more."""
        self._load_frame = load_frame
        self._images = images
        self._pool = ThreadPoolExecutor(num_threads, "picture")
        self._expected: dict[str, Future[CutPicture]] = {}
        self._lock = threading.Lock()

    def expect(self, keys: Iterable[str]) -> None:
        """Begin to read pictures that will be asked for, and forget those that no longer will."""
        with self._lock:
            before = self._expected
            self._expected = {key: before.get(key) or self._pool.submit(self._read, key) for key in dict.fromkeys(keys)}

    def get(self, key: str) -> CutPicture:
        """Return a picture, cut; waits while it is being read.

        Raises:
            DataError: it can't be read.
        """
        with self._lock:
            future = self._expected.get(key)
        return self._read(key) if future is None else future.result()

    def _read(self, key: str) -> CutPicture:
        frame = self._load_frame(key)
        height, width = frame.shape[:2]
        return CutPicture(cut_patches(frame, self._images), self._images.grid(width, height))
