"""Videos of other recorders: measured before they are decoded, and their frames one at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from vlm_agent.errors import DataError
from vlm_agent.importing.reading import check_file
from vlm_agent.sessions.video_files import open_video


def check_video(root: Path, path: Path) -> tuple[int, int]:
    """Return (width, height) of a Matroska or MP4 file's video.

    Raises:
        DataError: It lies outside, is neither, holds no video, or its frames are larger than they may be.
    """
    with open_video(check_file(root, path)) as container:
        context = container.streams.video[0].codec_context
        return int(context.width), int(context.height)


def decode_frames(path: Path) -> Iterator[NDArray[np.uint8]]:
    """Yield the frames of a video, (height, width, 3) uint8, one at a time.

    Raises:
        DataError: It does not decode.
    """
    try:
        with open_video(path) as container:
            container.streams.video[0].thread_count = 1
            for frame in container.decode(video=0):
                yield np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)
    except (av.error.FFmpegError, ValueError) as error:
        raise DataError(f"{path} does not decode ({error})") from error
