"""Where everyone pressed, over all recorded episodes, on a picture of the game."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from vlm_agent.actions.events import ButtonChanged
from vlm_agent.evaluation.comparison import Comparison
from vlm_agent.evaluation.films import RECORDED, find_recordings
from vlm_agent.evaluation.marks import shrink, to_jpeg
from vlm_agent.sessions.reader import SessionReader

WIDTH_PX = 480
"""Width of a map."""
_SPREAD_PX = 5.0
"""A press is drawn as a spot of this standard deviation, so that repeated ones add up."""
_COLD, _HOT = np.array([255.0, 45.0, 120.0]), np.array([255.0, 240.0, 120.0])

Points = NDArray[np.int64]


@dataclass(frozen=True)
class ClickMap:
    """One contender's presses."""

    name: str
    """Whose."""
    label: str
    """As the report calls it."""
    presses: int
    """How many there were, over all recorded episodes."""
    episodes: int
    """How many that were."""
    jpeg: bytes
    """The map."""


def draw_click_maps(comparison: Comparison, folder: Path) -> list[ClickMap]:
    """Return a map for everyone of whom there are recordings in `folder`.

    Raises:
        DataError: a session can't be read.
    """
    maps = []
    for name in RECORDED:
        sessions = find_recordings(comparison, name, folder)
        if sessions:
            points = np.concatenate([read_presses(path) for path in sessions])
            frame = next(SessionReader(sessions[0]).frames()).rgb
            jpeg = to_jpeg(shrink(Image.fromarray(draw_presses(frame, points)), WIDTH_PX))
            maps.append(ClickMap(name, comparison.rows[name].contender.label, len(points), len(sessions), jpeg))
    return maps


def read_presses(session: Path) -> Points:
    """Return where buttons were pressed in a session, (presses, 2) of x and y in frame pixels."""
    events = SessionReader(session).events()
    points = [(event.x, event.y) for event in events if isinstance(event, ButtonChanged) and event.pressed]
    return np.asarray(points, dtype=np.int64).reshape(-1, 2)


def draw_presses(frame: NDArray[np.uint8], points: Points | Sequence[tuple[int, int]]) -> NDArray[np.uint8]:
    """Return a frame, (height, width, 3) RGB uint8, in dim grey, with a glow where the points are."""
    height, width = frame.shape[:2]
    counts = np.zeros((height, width))
    for x, y in points:
        if 0 <= x < width and 0 <= y < height:
            counts[y, x] += 1
    # One press alone peaks at 1; many on one place saturate slowly.
    glow = gaussian_filter(counts, _SPREAD_PX, mode="constant") * 2 * np.pi * _SPREAD_PX**2
    strength = (1 - np.exp(-1.2 * glow))[..., None]
    heat = np.clip(np.log1p(glow) / np.log1p(max(float(glow.max()), 1.0)), 0, 1)[..., None]
    grey = np.repeat(frame.mean(axis=2, keepdims=True) * 0.45, 3, axis=2)
    picture = grey * (1 - strength) + (_COLD * (1 - heat) + _HOT * heat) * strength
    return picture.round().astype(np.uint8)
