"""The text of a log, whatever program saved it: gzip, UTF-8, UTF-16 or an older encoding, any line end and separator.

What is found is said as a `TextForm`; lines come as UTF-8, as if the log had been written so in the first place.
"""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlm_agent.errors import DataError
from vlm_agent.importing.limits import MAX_STREAM_BYTES, MAX_UNPACKED_LOG_BYTES
from vlm_agent.importing.reading import open_file

GZIP = b"\x1f\x8b"
SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
"""Longer marks before those that they begin with."""
_SEPARATOR_LINE = "sep="


@dataclass(frozen=True)
class TextForm:
    """How the text of a file is written."""

    encoding: str = "utf-8"
    """Python's name of it. Single lines in UTF-8 that aren't are read as cp1252."""
    mark_bytes: int = 0
    """Length of the byte order mark."""
    line_end: str = "\n"
    """What ends a line; a carriage return before a newline is taken off."""
    is_packed: bool = False
    """Whether gzip packed it."""

    def describe(self) -> str:
        """Return in words what isn't plain; empty for UTF-8 with newlines."""
        parts = ["gzip"] * self.is_packed + [self.encoding.upper()] * (self.encoding != "utf-8")
        return ", ".join([*parts, *["carriage returns"] * (self.line_end == "\r")])


def find_form(head: bytes) -> tuple[TextForm, str]:
    """Return how a file is written that begins so, and the text of its beginning.

    Args:
        head: its first bytes; may end anywhere.
    """
    is_packed = head.startswith(GZIP)
    if is_packed:
        head = _unpack(head)
    mark, encoding = next(
        ((mark, name) for mark, name in _MARKS if head.startswith(mark)), (b"", _guess_encoding(head))
    )
    text = head[len(mark) :].decode(encoding, errors="replace")
    line_end = "\r" if "\r" in text and "\n" not in text else "\n"
    return TextForm(encoding, len(mark), line_end, is_packed), text


def split_lines(text: str, form: TextForm) -> list[str]:
    """Return the lines of a text."""
    return [line.rstrip("\r") for line in text.split(form.line_end)]


def named_separator(line: str) -> str | None:
    """Return the separator that a line like `sep=;` names, which Excel understands; None for any other line."""
    named = line.strip("\r\n")[len(_SEPARATOR_LINE) :]
    return named if line.lower().startswith(_SEPARATOR_LINE) and named in SEPARATORS else None


def read_lines(root: Path, path: Path, form: TextForm, max_line_bytes: int) -> Iterator[bytes | None]:
    """Yield lines in UTF-8 without their ends, one in memory at a time; None stands for one that is too long.

    Raises:
        DataError: It lies outside, is no file, is too large, does not unpack, or can't be read.
    """
    try:
        with open_file(root, path, MAX_STREAM_BYTES) as file:
            unpacked: Any = gzip.GzipFile(fileobj=file) if form.is_packed else file
            unpacked.read(form.mark_bytes)
            # Bytes that are no text come out again as they were.
            errors = "surrogateescape" if form.encoding == "utf-8" else "replace"
            text = io.TextIOWrapper(unpacked, form.encoding, errors=errors, newline=form.line_end)
            yield from _read_text(text, path, form, max_line_bytes)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path} does not unpack ({error}): unpack it yourself, with `gunzip`, and look") from error


def _read_text(text: io.TextIOWrapper, path: Path, form: TextForm, max_line_bytes: int) -> Iterator[bytes | None]:
    total, is_rest = 0, False
    while line := text.readline(max_line_bytes + 2):
        total += len(line)
        if total > MAX_UNPACKED_LOG_BYTES and form.is_packed:
            raise DataError(f"{path} holds more than {MAX_UNPACKED_LOG_BYTES} characters when it is unpacked")
        is_whole = line.endswith(form.line_end)
        is_begun, is_rest = is_rest, not is_whole and len(line) == max_line_bytes + 2
        if is_begun:
            continue
        data = line.rstrip("\r\n").encode("utf-8", "surrogateescape")
        yield data if len(data) <= max_line_bytes and not is_rest else None


def _guess_encoding(head: bytes) -> str:
    sample = head[: len(head) // 4 * 4][:512]
    if len(sample) < 4:
        return "utf-8"
    # ASCII in UTF-16 has a zero in every other place, in UTF-32 in three of four.
    zeros = [sample[place::4].count(0) * 8 >= len(sample) for place in range(4)]
    patterns = {
        (False, True, False, True): "utf-16-le",
        (True, False, True, False): "utf-16-be",
        (False, True, True, True): "utf-32-le",
        (True, True, True, False): "utf-32-be",
    }
    return patterns.get((zeros[0], zeros[1], zeros[2], zeros[3]), "utf-8")


def _unpack(head: bytes) -> bytes:
    try:
        return zlib.decompressobj(wbits=31).decompress(head, 16 * len(head))
    except zlib.error:
        return b""
