"""Videos of other recorders, opened as what their first bytes say and as nothing else.

ffmpeg guesses what a file is from its content, and some contents (play lists, lists of files to be joined, patterns of
names) make it open other files or addresses. So the container's format is named here, and what it may open is itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av

from vlm_agent.errors import DataError
from vlm_agent.regular_files import open_regular
from vlm_agent.sessions.limits import MAX_PICTURE_PX, check_picture_size

_MATROSKA, _MP4 = b"\x1a\x45\xdf\xa3", b"ftyp"
_HEAD_BYTES = 12
_OPTIONS = {"protocol_whitelist": "file", "enable_drefs": "0", "use_absolute_path": "0"}
"""A file of MP4 may name others that hold its pictures; they are not followed."""


def open_video(path: Path) -> Any:
    """Return the opened container of a Matroska or MP4 file, its first video track ready to be decoded.

    Raises:
        DataError: it is neither, no file, not readable, holds no video, or its frames are larger than they may be.
    """
    try:
        with open_regular(path) as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise DataError(f"{path} can't be read ({error.strerror})") from error
    if not head.startswith(_MATROSKA) and head[4:8] != _MP4:
        raise DataError(f"{path} is not a readable video, no Matroska or MP4 file: expected the video of a recording")
    format_name = "matroska" if head.startswith(_MATROSKA) else "mp4"
    try:
        container = av.open(str(path), format=format_name, container_options=_OPTIONS)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise DataError(f"{path} is not a readable video ({error})") from error
    try:
        _check(container, path)
    except DataError:
        container.close()
        raise
    return container


def limit_pixels(context: Any) -> None:
    """Have a decoder refuse frames that are larger than they may be, whatever size its container told."""
    context.options = {**context.options, "max_pixels": str(MAX_PICTURE_PX)}


def _check(container: Any, path: Path) -> None:
    if not container.streams.video:
        raise DataError(f"{path} has no video track")
    context = container.streams.video[0].codec_context
    if context is None:
        raise DataError(f"{path} has a video of a codec that isn't known")
    limit_pixels(context)
    try:
        check_picture_size(int(context.width), int(context.height))
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
