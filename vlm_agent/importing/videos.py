"""Videos of other recorders: opened only as what their first bytes say, measured before they are decoded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from vlm_agent.errors import DataError
from vlm_agent.importing.reading import check_picture_size, read_head

_MATROSKA, _MP4 = b"\x1a\x45\xdf\xa3", b"ftyp"


def check_video(root: Path, path: Path) -> tuple[int, int]:
    """Return (width, height) of a Matroska or MP4 file's video.

    Raises:
        DataError: It is neither, holds no video, or its frames are larger than they may be.
    """
    head = read_head(root, path, 12)
    if not head.startswith(_MATROSKA) and head[4:8] != _MP4:
        raise DataError(f"{path} is no Matroska or MP4 file: expected the video of a recording")
    try:
        with av.open(str(path), format="matroska" if head.startswith(_MATROSKA) else "mp4") as container:
            if not container.streams.video:
                raise DataError(f"{path} has no video track")
            context = container.streams.video[0].codec_context
            if context is None:
                raise DataError(f"{path} has a video of a codec that isn't known")
            size = int(context.width), int(context.height)
    except (av.error.FFmpegError, ValueError) as error:
        raise DataError(f"{path} is not a readable video ({error})") from error
    check_picture_size(*size)
    return size


def decode_frames(path: Path) -> Iterator[NDArray[np.uint8]]:
    """Yield the frames of an MP4 file, (height, width, 3) uint8, one at a time.

    Raises:
        DataError: It does not decode.
    """
    try:
        with av.open(str(path), format="mp4") as container:
            container.streams.video[0].thread_count = 1
            for frame in container.decode(video=0):
                yield np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)
    except (av.error.FFmpegError, ValueError) as error:
        raise DataError(f"{path} does not decode ({error})") from error
