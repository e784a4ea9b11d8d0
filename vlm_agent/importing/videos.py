"""Videos of other recorders: measured before they are decoded, frames one at a time, upright, with their times."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from numpy.typing import NDArray

from vlm_agent.errors import DataError
from vlm_agent.importing.reading import check_file
from vlm_agent.sessions.upright import AS_STORED, Orientation, read_orientation, turn_upright
from vlm_agent.sessions.video_files import open_video

_MOST_REORDERED = 64
_FOREVER_NS = 1 << 62


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


class VideoPicture(NamedTuple):
    """One frame of a video."""

    pts_ns: int
    """When it is to be shown, from the beginning of the video."""
    rgb: NDArray[np.uint8]
    """(height, width, 3) uint8, upright."""
    is_turned: bool
    """Whether it is stored otherwise."""


def decode_frames(path: Path) -> Iterator[VideoPicture]:
    """Yield the frames of a video, one at a time.

    Raises:
        DataError: It does not decode, or is to be shown at an angle.
    """
    try:
        with open_video(path) as container:
            container.streams.video[0].thread_count = 1
            orientation: Orientation | None = None
            for frame in container.decode(video=0):
                orientation = orientation or read_orientation(frame)
                rgb = np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)
                pts_ns = round((frame.pts or 0) * frame.time_base * 10**9)
                yield VideoPicture(pts_ns, turn_upright(rgb, orientation), orientation != AS_STORED)
    except (av.error.FFmpegError, ValueError) as error:
        raise DataError(f"{path} does not decode ({error})") from error


class Timing(NamedTuple):
    """When the frames of a video are to be shown."""

    frames: int
    """How many there are."""
    first_ns: int
    """When the first is shown."""
    shortest_ns: int
    """Between one and the next, at least."""
    longest_ns: int
    """Between one and the next, at most."""
    last_ns: int
    """When the last is shown."""


def measure_times(path: Path) -> Timing | None:
    """Return when the frames of a video are to be shown, without decoding them; None of fewer than two.

    Raises:
        DataError: It can't be read.
    """
    count, first_ns, before_ns, shortest_ns, longest_ns = 0, 0, 0, _FOREVER_NS, 0
    for t_ns in _shown_times(path):
        if count == 0:
            first_ns = t_ns
        else:
            shortest_ns, longest_ns = min(shortest_ns, t_ns - before_ns), max(longest_ns, t_ns - before_ns)
        before_ns, count = t_ns, count + 1
    return Timing(count, first_ns, shortest_ns, longest_ns, before_ns) if count > 1 else None


def _shown_times(path: Path) -> Iterator[int]:
    """Yield them in order: packets lie in the order in which they are decoded."""
    waiting: list[int] = []
    try:
        with open_video(path) as container:
            stream = container.streams.video[0]
            for packet in container.demux(stream):
                if packet.pts is not None:
                    heappush(waiting, round(packet.pts * stream.time_base * 10**9))
                if len(waiting) > _MOST_REORDERED:
                    yield heappop(waiting)
    except (av.error.FFmpegError, ValueError) as error:
        raise DataError(f"{path} does not decode ({error})") from error
    while waiting:
        yield heappop(waiting)
