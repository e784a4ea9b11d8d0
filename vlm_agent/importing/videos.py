"""Videos of other recorders: measured before they are decoded; their frames one at a time, upright, with their times."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from numpy.typing import NDArray

from vlm_agent.errors import DataError
from vlm_agent.importing.reading import check_file
from vlm_agent.sessions.upright import turn_upright
from vlm_agent.sessions.video_files import open_video


def check_video(root: Path, path: Path) -> tuple[int, int]:
    """Return (width, height) of a Matroska or MP4 file's video, upright.

    Raises:
        DataError: It lies outside, is neither, holds no video, or its frames are larger than they may be.
    """
    with open_video(check_file(root, path)) as container:
        context = container.streams.video[0].codec_context
        size = int(context.width), int(context.height)
    first = next(decode_frames(path), None)
    return size if first is None else (first.rgb.shape[1], first.rgb.shape[0])


class Picture(NamedTuple):
    """One frame of a video."""

    pts_ns: int
    """When it is to be shown, from the beginning of the video."""
    rgb: NDArray[np.uint8]
    """(height, width, 3) uint8, upright."""
    is_turned: bool
    """Whether it is stored otherwise."""


def decode_frames(path: Path) -> Iterator[Picture]:
    """Yield the frames of a video, one at a time.

    Raises:
        DataError: It does not decode, or is to be shown at an angle.
    """
    try:
        with open_video(path) as container:
            container.streams.video[0].thread_count = 1
            for frame in container.decode(video=0):
                rgb = np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)
                pts_ns = round((frame.pts or 0) * frame.time_base * 10**9)
                upright = turn_upright(rgb, frame)
                yield Picture(pts_ns, upright, upright is not rgb)
    except (av.error.FFmpegError, ValueError) as error:
        raise DataError(f"{path} does not decode ({error})") from error


def picture_times(path: Path) -> NDArray[np.int64]:
    """Return when the frames of a video are to be shown, in ns and in order, without decoding them.

    Raises:
        DataError: It can't be read.
    """
    try:
        with open_video(path) as container:
            stream = container.streams.video[0]
            shown = (packet.pts for packet in container.demux(stream) if packet.pts is not None)
            times = np.fromiter((round(pts * stream.time_base * 10**9) for pts in shown), np.int64)
    except (av.error.FFmpegError, ValueError) as error:
        raise DataError(f"{path} does not decode ({error})") from error
    return np.sort(times)
