"""Files that a person names, or another file does: opened by their kind, read up to a size.

A named pipe or a device never ends, and a link may lead to one; Python's `open` would wait for it.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO

MAX_JSON_FILE_BYTES = 64 << 20
"""Of a file of JSON that is read whole; a manifest of a thousand sessions has some hundred kilobytes."""

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading, links followed; never waits.

    Raises:
        OSError: it is not there, may not be read, or is of another kind than a file; `strerror` says which.
    """
    # A pipe without a writer opens at once, and is seen to be one.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "no file")
    raise OSError(errno.EINVAL, f"is {kind}: expected a file", str(path))


def read_bounded(path: Path, max_bytes: int) -> bytes:
    """Return the contents of a file.

    Raises:
        OSError: as `open_regular`, or it is larger.
    """
    with open_regular(path) as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise OSError(errno.EFBIG, f"is larger than {max_bytes} bytes", str(path))
    return data


def read_text(path: Path, max_bytes: int = MAX_JSON_FILE_BYTES) -> str:
    """Return a file of UTF-8.

    Raises:
        OSError: as `read_bounded`.
        ValueError: it is no UTF-8.
    """
    return read_bounded(path, max_bytes).decode("utf-8").replace("\r\n", "\n")


def read_json(path: Path, max_bytes: int = MAX_JSON_FILE_BYTES) -> Any:
    """Return what a file of JSON holds.

    Raises:
        OSError: as `read_bounded`.
        ValueError: it is no JSON in UTF-8, or deeper than can be read.
    """
    try:
        return json.loads(read_text(path, max_bytes))
    except RecursionError as error:
        raise ValueError("lists and objects too deep in each other") from error
