"""Contact sheets: every moment in its place, with its time."""

from __future__ import annotations

import numpy as np
import pytest

from labeling.contact_sheet import SheetConfig, make_contact_sheet, sheet_times
from vlm_agent.clips import Clip
from vlm_agent.errors import ConfigError


def test_times_are_spread_from_the_first_moment_to_the_last():
    times = sheet_times(Clip(0, 1000, 2001), 5)
    assert times == [1000, 1250, 1500, 1750, 2000]
    assert sheet_times(Clip(0, 1000, 2001), 1) == [1000]
    assert all(1000 <= t < 1003 for t in sheet_times(Clip(0, 1000, 1003), 6))


def test_frames_are_tiled_in_reading_order():
    frames = [np.full((50, 100, 3), 40 * shade, np.uint8) for shade in range(1, 6)]
    sheet = make_contact_sheet(frames, [0.0, 1.0, 2.0, 3.0, 4.0], SheetConfig(columns=3, tile_width_px=64))
    assert sheet.shape == (32 * 2 + 4, 64 * 3 + 8, 3)
    assert sheet.dtype == np.uint8
    corners = [(31, 63 + 68 * column) for column in range(3)] + [(67, 63 + 68 * column) for column in range(2)]
    assert [int(sheet[y, x, 0]) for y, x in corners] == [40, 80, 120, 160, 200]
    assert int(sheet[67, 199, 0]) == 0


def test_each_tile_carries_its_own_time():
    frame = np.full((200, 300, 3), 128, np.uint8)
    sheet = make_contact_sheet([frame, frame], [0.0, 3.9], SheetConfig(columns=1))
    half = sheet.shape[0] // 2 + 2
    assert not np.array_equal(sheet[:30, :80], sheet[half : half + 30, :80])
    assert sheet[:30, :80].max() == 255


def test_a_sheet_shows_something():
    with pytest.raises(ConfigError, match="at least 1 frame"):
        SheetConfig(num_frames=0)
