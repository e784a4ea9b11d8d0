"""Files of a recording, read so that nothing leads out of its folder and nothing takes more memory than it may.

What breaks a limit or a format ends in a `DataError`. Knows no kind of recording.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from vlm_agent.errors import DataError
from vlm_agent.importing.limits import MAX_STREAM_BYTES
from vlm_agent.regular_files import open_regular
from vlm_agent.sessions.limits import check_picture_size as check_picture_size
from vlm_agent.sessions.stills import BROKEN_STILL, Mend, open_still, read_rgb, read_size

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_PICTURE_FORMATS = ("PNG", "JPEG")


def check_file(root: Path, path: Path) -> Path:
    """Return the path of a regular file that lies in a folder, links followed.

    Raises:
        DataError: It lies outside, or is no file (a pipe would never end).
    """
    try:
        if not path.resolve().is_relative_to(root.resolve()):
            raise DataError(f"{path} links out of {root}; only what lies in the recording's own folder is read")
        if not path.is_file():
            raise DataError(f"{path} is not a file")
    except (OSError, RuntimeError, ValueError) as error:  # a link in a circle, a name no system takes
        raise DataError(f"{path} can't be followed ({error})") from error
    return path


def follow(root: Path, folder: Path, name: str) -> Path:
    """Return the file that a recording's own file names, relative to its folder; it need not be there.

    Raises:
        DataError: It is absolute, an address, or leads out of the recording's folder, through a link too.
    """
    parts = name.replace("\\", "/").split("/")
    if _ADDRESS.match(name) or not parts[0] or ".." in parts or "\0" in name:
        raise DataError(f"{folder} names {name!r}; only files in the recording's own folder are read")
    path = folder.joinpath(*parts)
    try:
        is_inside = path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(f"{folder} names {name!r}, which can't be followed ({error})") from error
    if not is_inside:
        raise DataError(f"{folder} names {name!r}, which links out of {root}")
    return path


def read_whole(root: Path, path: Path, max_bytes: int) -> bytes:
    """Return the contents of a small file.

    Raises:
        DataError: It lies outside, is no file, is too large, or can't be read.
    """
    with open_file(root, path, max_bytes) as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise DataError(f"{path} is larger than {max_bytes} bytes")
    return data


def read_head(root: Path, path: Path, num_bytes: int) -> bytes:
    """Return the beginning of a file of any size; raises DataError as `read_whole` does."""
    with open_file(root, path, None) as file:
        return file.read(num_bytes)


def read_lines(root: Path, path: Path, max_line_bytes: int) -> Iterator[bytes | None]:
    """Yield the lines of a file without their ends, None for one that is too long; one line is in memory at a time.

    Raises:
        DataError: It lies outside, is no file, is too large, or can't be read.
    """
    with open_file(root, path, MAX_STREAM_BYTES) as file:
        while line := file.readline(max_line_bytes + 2):
            if line.endswith(b"\n"):
                line = line.rstrip(b"\r\n")
            elif len(line) == max_line_bytes + 2:
                _skip_line(file, max_line_bytes)
            yield line if len(line) <= max_line_bytes else None


def measure_picture(data: bytes) -> tuple[int, int]:
    """Return (width, height) in pixels of a PNG or JPEG as it is seen upright, without decoding it.

    Raises:
        DataError: It is none, or larger than a frame may be.
    """
    with open_still(data, _PICTURE_FORMATS) as image:
        return read_size(image)


def decode_picture(data: bytes) -> tuple[NDArray[np.uint8], list[Mend]]:
    """Return a PNG or JPEG as (height, width, 3) uint8, and what was mended, see `read_rgb`.

    Raises:
        DataError: It is none, damaged, or larger than a frame may be.
    """
    try:
        with open_still(data, _PICTURE_FORMATS) as image:
            return read_rgb(image)
    except BROKEN_STILL as error:
        raise DataError(f"a picture does not decode ({error})") from error


def open_file(root: Path, path: Path, max_bytes: int | None) -> BinaryIO:
    """Open a file of a recording; of any size where `max_bytes` is None.

    Raises:
        DataError: It lies outside, is no file, is too large, or can't be read.
    """
    try:
        file = open_regular(check_file(root, path))
    except OSError as error:
        raise DataError(f"{path} can't be read ({error.strerror})") from error
    if max_bytes is not None and path.stat().st_size > max_bytes:
        file.close()
        raise DataError(f"{path} is larger than {max_bytes} bytes")
    return file


def _skip_line(file: BinaryIO, piece_bytes: int) -> None:
    while piece := file.readline(piece_bytes):
        if piece.endswith(b"\n"):
            return
