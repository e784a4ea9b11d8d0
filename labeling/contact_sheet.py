"""Contact sheets: the moments of a clip in one picture, each with its time burnt in.

One picture costs a model far fewer tokens than a video, and every vision-language model can read one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vlm_agent.clips import Clip
from vlm_agent.errors import ConfigError

if TYPE_CHECKING:
    from vlm_agent.chat import RgbFrame

_GAP_PX = 4


@dataclass(frozen=True)
class SheetConfig:
    """What a contact sheet shows."""

    num_frames: int = 6
    """Moments of the clip, spread evenly, first and last included."""
    columns: int = 3
    """Pictures in a row."""
    tile_width_px: int = 384
    """Width of one picture on the sheet; the height follows."""

    def __post_init__(self) -> None:
        """Raise ConfigError for a sheet that shows nothing."""
        if min(self.num_frames, self.columns) < 1 or self.tile_width_px < 32:
            raise ConfigError(f"a sheet needs at least 1 frame, 1 column and tiles of 32 px, got {self}")


def sheet_times(clip: Clip, num_frames: int) -> list[int]:
    """Return the moments of a clip to show, ascending; the last is just before the clip's end."""
    last = clip.stop_ns - 1 - clip.start_ns
    return [clip.start_ns + last * i // max(num_frames - 1, 1) for i in range(num_frames)]


def make_contact_sheet(frames: Sequence[RgbFrame], times_s: Sequence[float], config: SheetConfig) -> RgbFrame:
    """Tile frames in reading order and write each one's time into its corner.

    Args:
        frames: pictures of one size, (height, width, 3) uint8; at least one.
        times_s: seconds since the clip's start, one a frame.
        config: columns and tile width.

    Returns:
        The sheet, (height, width, 3) uint8.
    """
    from PIL import Image, ImageDraw, ImageFont

    height_px, width_px = frames[0].shape[:2]
    tile = (config.tile_width_px, max(round(config.tile_width_px * height_px / width_px), 1))
    columns = min(config.columns, len(frames))
    rows = math.ceil(len(frames) / columns)
    size = (columns * (tile[0] + _GAP_PX) - _GAP_PX, rows * (tile[1] + _GAP_PX) - _GAP_PX)
    sheet = Image.new("RGB", size, (0, 0, 0))
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=max(tile[1] // 14, 10))
    for index, (frame, time_s) in enumerate(zip(frames, times_s, strict=True)):
        left = index % columns * (tile[0] + _GAP_PX)
        top = index // columns * (tile[1] + _GAP_PX)
        sheet.paste(Image.fromarray(frame).resize(tile, Image.Resampling.BILINEAR), (left, top))
        text = f"{time_s:.1f} s"
        box = draw.textbbox((left + 3, top + 2), text, font=font)
        draw.rectangle((left, top, box[2] + 3, box[3] + 3), fill=(0, 0, 0))
        draw.text((left + 3, top + 2), text, font=font, fill=(255, 255, 255))
    return np.asarray(sheet)
