"""The one geometry: from the coordinates a model writes to pixels of a captured frame, and on to the screen."""

from __future__ import annotations

from dataclasses import dataclass, replace

from vlm_agent.actions.placement import Placement
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
    placement: Placement | None = None
    """Where the frame is on the screen; None for a frame that is on none, such as a recorded or simulated one."""

    def __post_init__(self) -> None:
        """Raise ConfigError for an empty frame or extent, and for the placement of a frame of another size."""
        if min(self.frame_width_px, self.frame_height_px, self.extent_width, self.extent_height) < 1:
            raise ConfigError(f"frame and extent must be at least 1x1, got {self}")
        placed = self.placement
        if placed is not None and (placed.frame_width_px, placed.frame_height_px) != self._frame_size:
            width_px, height_px = self._frame_size
            raise ConfigError(
                f"expected the placement of a {width_px}x{height_px} px frame, got that of a "
                f"{placed.frame_width_px}x{placed.frame_height_px} px one"
            )

    @property
    def _frame_size(self) -> tuple[int, int]:
        return self.frame_width_px, self.frame_height_px

    def on(self, placement: Placement) -> CoordinateSpace:
        """Return the same geometry of a frame that is on the screen.

        Raises:
            ConfigError: the placement is that of a frame of another size.
        """
        return replace(self, placement=placement)

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

    def to_screen(self, x: int, y: int) -> tuple[int, int]:
        """Return where on the screen a model coordinate is executed, in units of pointer events.

        Raises:
            ConfigError: the frame is on no screen.
        """
        return self._placed().to_screen(*self.to_frame(x, y))

    def from_screen(self, x: int, y: int) -> tuple[int, int]:
        """Return the model coordinates of a pointer event's place, clamped into the extent.

        Raises:
            ConfigError: the frame is on no screen.
        """
        return self.to_model(*self._placed().to_frame(x, y))

    def _placed(self) -> Placement:
        if self.placement is None:
            raise ConfigError(f"a frame of {self.frame_width_px}x{self.frame_height_px} px that is on no screen")
        return self.placement

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
