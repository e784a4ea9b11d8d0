"""Trying the encoder before a recording rests on it."""

from __future__ import annotations

import time

import numpy as np

from vlm_agent.errors import ConfigError

_PICTURES = 4
_CLOSE = 6.0
"""Mean difference of a decoded picture that is still the same picture: colours are stored at half resolution."""


def probe_encoder(width_px: int, height_px: int, fps: float) -> float:
    """Encode a few pictures of a size and decode one again; return the milliseconds that one took.

    Raises:
        ConfigError: the encoder is missing, refuses the size, or does not give the picture back.
    """
    # Imported here because it brings the video library along.
    import av

    from vlm_agent.sessions.damage import DamagedError
    from vlm_agent.sessions.video import BlockDecoder, PictureEncoder

    gradient = np.linspace(0, 255, width_px, dtype=np.uint8)
    picture = np.repeat(np.tile(gradient, (height_px, 1))[:, :, None], 3, axis=2)
    try:
        encoder = PictureEncoder(width_px, height_px, fps)
        began_s = time.perf_counter()
        blocks = [
            encoder.encode(np.roll(picture, 8 * number, axis=1), number * 100, is_keyframe=not number)
            for number in range(_PICTURES)
        ]
        each_ms = (time.perf_counter() - began_s) * 1000 / _PICTURES
        decoded = BlockDecoder(encoder.codec_private).decode(blocks[0]).to_ndarray(format="rgb24")
    except (av.error.FFmpegError, DamagedError, ValueError) as error:
        raise ConfigError(
            f"H.264 video of {width_px}x{height_px} can't be encoded here: {error}; reinstall the package av, or record"
            " a smaller window"
        ) from error
    if np.abs(decoded[:height_px, :width_px].astype(int) - picture).mean() > _CLOSE:
        raise ConfigError("the video encoder gives back another picture than it was given; reinstall the package av")
    return each_ms
