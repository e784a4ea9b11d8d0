"""From the reference in a `screen` message to the picture itself.

References come from files anyone may have made, so a path is followed only inside the session's own folder, and
nothing is fetched from a network. Knows no topics and no container.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from vlm_agent.errors import DataError
from vlm_agent.regular_files import read_bounded
from vlm_agent.sessions.limits import MAX_PICTURE_BYTES
from vlm_agent.sessions.stills import BROKEN_STILL, open_still, read_rgb
from vlm_agent.sessions.topics import ScreenRef
from vlm_agent.sessions.video import ClusteredVideo, ForeignVideo, Picture, Video

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_DATA_IMAGE = re.compile(r"data:image/[a-z0-9.+-]+;base64,")


def resolve_media(folder: Path, uri: str) -> Path:
    """Return the file a relative reference means.

    Raises:
        DataError: If it is absolute, a URL, or leads out of the folder, through a link too.
    """
    parts = uri.replace("\\", "/").split("/")
    if _SCHEME.match(uri) or not parts[0] or ".." in parts or "\0" in uri:
        raise DataError(f"a frame refers to {uri!r}; only files in the session's own folder are read")
    path = folder.joinpath(*parts)
    try:
        is_inside, is_file = path.resolve().is_relative_to(folder.resolve()), path.is_file()
    except (OSError, RuntimeError, ValueError) as error:  # a link in a circle, a name no system takes
        raise DataError(f"a frame refers to {uri!r:.200}, which can't be followed ({error})") from error
    if not is_inside:
        raise DataError(f"a frame refers to {uri!r}, which links to another folder")
    if not is_file:
        raise DataError(f"{path} is missing, and frames refer to it")
    return path


class PictureSource:
    """Fetches pictures for `screen` messages, cheapest in time order; a context manager."""

    def __init__(self, folder: Path, codec_private: bytes | None, mended: Counter[str]) -> None:
        """Remember where to look.

        Args:
            folder: The session's folder.
            codec_private: Set for our own sessions, whose videos carry checksums; None for other recorders'.
            mended: Counts the stills that are mended, by what is done.
        """
        self._folder = folder
        self._codec_private = codec_private
        self._open: tuple[str, Video] | None = None
        self._mended = mended

    def fetch(self, ref: ScreenRef) -> Picture:
        """Return the picture, (height, width, 3) uint8, read-only, cut to its true size.

        Raises:
            DataError: If it is not there, may not be read, or is damaged.
        """
        rgb = self._video(ref.uri).picture(ref.pts_ns) if ref.pts_ns is not None else self._still(ref.uri)
        rgb = _crop(rgb, ref)
        rgb.flags.writeable = False
        return rgb

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._open:
            self._open[1].close()
            self._open = None

    def _video(self, uri: str) -> Video:
        if self._open and self._open[0] == uri:
            return self._open[1]
        path = resolve_media(self._folder, uri)
        self.__exit__(None, None, None)
        video = ClusteredVideo(path, self._codec_private) if self._codec_private else ForeignVideo(path)
        self._open = (uri, video)
        return video

    def _still(self, uri: str) -> Picture:
        try:
            embedded = _DATA_IMAGE.match(uri)
            if embedded:
                data = base64.b64decode(uri[embedded.end() :], validate=True)
            else:
                data = read_bounded(resolve_media(self._folder, uri), MAX_PICTURE_BYTES)
            with open_still(data) as image:
                rgb, mends = read_rgb(image)
            self._mended.update(mends)
            return np.array(rgb)
        except (binascii.Error, *BROKEN_STILL) as error:
            raise DataError(f"a frame's image does not decode ({error})") from error


def _crop(rgb: Picture, ref: ScreenRef) -> Picture:
    # Encoders pad odd sizes by a pixel; a greater difference means the message speaks of something else.
    height_px, width_px = rgb.shape[:2]
    true_width_px, true_height_px = ref.width_px or width_px, ref.height_px or height_px
    if 0 <= width_px - true_width_px <= 1 and 0 <= height_px - true_height_px <= 1:
        return rgb[:true_height_px, :true_width_px]
    return rgb
