"""The one geometry: conversion between pixels of a captured frame and the coordinates a model writes."""

from __future__ import annotations

from dataclasses import dataclass, replace

from vlm_agent.actions.types import Action, ActionChunk, Key
from vlm_agent.errors import ConfigError


@dataclass(frozen=True)
class CoordinateSpace:
    """Maps frame pixels to model coordinates and back; both are integers, origin top left.

    A model coordinate names a cell of the frame: x covers [x, x + 1) * frame_width / extent_width, and is executed at
    the cell's centre, so at extent 1000 a round trip stays within half a cell plus half a pixel.
    """

    frame_width_px: int
    """Width of the captured frame."""
    frame_height_px: int
    """Height of the captured frame."""
    extent_width: int = 1000
    """Model x runs over 0 <= x < extent_width (Qwen3-VL: 1000; Qwen2.5-VL: pixels of the resized image)."""
    extent_height: int = 1000
    """Model y runs over 0 <= y < extent_height."""

    def __post_init__(self) -> None:
        """Raise ConfigError for an empty frame or extent."""
        if min(self.frame_width_px, self.frame_height_px, self.extent_width, self.extent_height) < 1:
            raise ConfigError(f"frame and extent must be at least 1x1, got {self}")

    def to_model(self, x_px: float, y_px: float) -> tuple[int, int]:
        """Return the model coordinates of a frame pixel, clamped into the extent."""
        return (
            _cell(x_px, self.frame_width_px, self.extent_width),
            _cell(y_px, self.frame_height_px, self.extent_height),
        )

    def to_frame(self, x: int, y: int) -> tuple[int, int]:
        """Return the frame pixel at the centre of a model coordinate."""
        return (
            _pixel(x, self.extent_width, self.frame_width_px),
            _pixel(y, self.extent_height, self.frame_height_px),
        )

    def chunk_to_model(self, chunk: ActionChunk) -> ActionChunk:
        """Return a chunk in frame pixels rewritten in model coordinates (absolute pointers)."""
        return replace(chunk, actions=tuple(self._convert(a, to_model=True) for a in chunk.actions))

    def chunk_to_frame(self, chunk: ActionChunk) -> ActionChunk:
        """Return a chunk in model coordinates rewritten in frame pixels (absolute pointers)."""
        return replace(chunk, actions=tuple(self._convert(a, to_model=False) for a in chunk.actions))

    def _convert(self, action: Action, *, to_model: bool) -> Action:
        if isinstance(action, Key):
            return action
        x, y = self.to_model(action.x, action.y) if to_model else self.to_frame(action.x, action.y)
        return replace(action, x=x, y=y)


def _cell(value: float, size_px: int, extent: int) -> int:
    # The pixel's centre decides its cell: with extent < size the edges of cells fall between pixels.
    return min(max(int((value + 0.5) * extent / size_px), 0), extent - 1)


def _pixel(value: int, extent: int, size_px: int) -> int:
    return min(max(int((value + 0.5) * size_px / extent), 0), size_px - 1)
