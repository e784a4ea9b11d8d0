"""Trying the encoder before a recording rests on it, and choosing how hard it may work."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vlm_agent.errors import ConfigError

if TYPE_CHECKING:
    from vlm_agent.sessions.video import Preset

_PRESETS: tuple[Preset, ...] = ("veryfast", "superfast", "ultrafast")
_SHARE = 0.5
"""Of the time between two frames that the encoder may take: a game needs the processor as well."""
_PICTURES = 4
_BLOCK_PX = 16
_CLOSE = 6.0
"""Difference of a decoded picture's mean that is still the same picture."""


class Probe(NamedTuple):
    """How a size can be encoded here."""

    preset: Preset
    """The most thorough one that is quick enough, else the quickest."""
    each_ms: float
    """Milliseconds that a picture took with it."""


def probe_encoder(width_px: int, height_px: int, fps: float) -> Probe:
    """Encode a few pictures of a size with one preset after another, and decode one again, until one is quick enough.

    Raises:
        ConfigError: the encoder is missing, refuses the size, or does not give the picture back.
    """
    # Imported here because it brings the video library along.
    import av

    from vlm_agent.sessions.damage import DamagedError

    pictures = _draw(width_px, height_px)
    try:
        for preset in _PRESETS:
            probe = Probe(preset, _try(pictures, fps, preset))
            if probe.each_ms <= _SHARE * 1000 / fps:
                break
    except (av.error.FFmpegError, DamagedError, ValueError) as error:
        raise ConfigError(
            f"H.264 video of {width_px}x{height_px} can't be encoded here: {error}; reinstall the package av, or record"
            " a smaller window"
        ) from error
    return probe


def _draw(width_px: int, height_px: int) -> list[NDArray[np.uint8]]:
    """Return pictures of crisp blocks that move, about the hardest that a screen gives."""
    rng = np.random.default_rng(0)
    shape = (height_px // _BLOCK_PX + 1, (width_px + 8 * _PICTURES) // _BLOCK_PX + 1, 3)
    wide = rng.integers(0, 256, shape, np.uint8).repeat(_BLOCK_PX, axis=0).repeat(_BLOCK_PX, axis=1)
    return [wide[:height_px, 8 * number : 8 * number + width_px] for number in range(_PICTURES)]


def _try(pictures: list[NDArray[np.uint8]], fps: float, preset: Preset) -> float:
    """Return the milliseconds that a picture takes after the first, which is a keyframe and rare."""
    from vlm_agent.sessions.video import BlockDecoder, PictureEncoder

    height_px, width_px, _ = pictures[0].shape
    encoder = PictureEncoder(width_px, height_px, fps, preset)
    first = encoder.encode(pictures[0], 0, is_keyframe=True)
    began_s = time.perf_counter()
    for number, picture in enumerate(pictures[1:], 1):
        encoder.encode(picture, number * 100, is_keyframe=False)
    each_ms = (time.perf_counter() - began_s) * 1000 / (len(pictures) - 1)
    decoded = BlockDecoder(encoder.codec_private).decode(first).to_ndarray(format="rgb24")
    # By mean colours of blocks: colours are stored at half resolution, so edges between them are not exact.
    if abs(decoded[:height_px, :width_px].mean() - pictures[0].mean()) > _CLOSE:
        raise ConfigError("the video encoder gives back another picture than it was given; reinstall the package av")
    return each_ms
