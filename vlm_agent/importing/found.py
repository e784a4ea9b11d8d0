"""What a file is that can't be imported, in words, with what helps."""

from __future__ import annotations

import shlex
from pathlib import Path

from vlm_agent.importing.ilbot_rows import Columns, missing_columns, read_header
from vlm_agent.importing.limits import MAX_CSV_LINE_BYTES
from vlm_agent.importing.log_text import GZIP, find_form, named_separator, split_lines
from vlm_agent.importing.reading import read_head

_TAR_MARK, _TAR_AT = b"ustar", 257
_WORKBOOK = b"[Content_Types].xml", b"xl/"
_HEADER = "timestamp,event_type,x_in_window,y_in_window,btn,key,scroll_dx,scroll_dy"
_TABLES = (".csv", ".tsv", ".gz")
_LONGEST_TOLD = 200
_LOOKS_LIKE_A_LOG = 3
"""So many columns of a log in its first line, and it was meant to be one."""
_ARCHIVES = (
    (b"PK\x03\x04", "a ZIP archive", "unzip {0} -d {1}"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "7z x {0} -o{1}"),
    (b"Rar!\x1a\x07", "a RAR archive", "unrar x {0} {1}/"),
    (b"\xfd7zXZ\x00", "packed by xz", "mkdir {1}; tar -xJf {0} -C {1}, or unxz {0}"),
    (b"BZh", "packed by bzip2", "mkdir {1}; tar -xjf {0} -C {1}, or bunzip2 {0}"),
    (b"\x28\xb5\x2f\xfd", "packed by zstd", "mkdir {1}; tar --zstd -xf {0} -C {1}, or unzstd {0}"),
    (GZIP, "packed by gzip", "mkdir {1}; tar -xzf {0} -C {1}, or gunzip {0}"),
)
_OTHERS = (
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Excel workbook: save it as CSV UTF-8"),
    (b"SQLite format 3", "a database: export its table as CSV"),
    (b"PAR1", "a Parquet file: export it as CSV"),
)


def find_log_header(head: bytes) -> Columns | None:
    """Return the columns of an action log that begins so, None if it is none.

    Args:
        head: the first `MAX_CSV_LINE_BYTES` of a file or more, or all.
    """
    return read_header(_first_line(head))


def describe_file(root: Path, path: Path) -> str | None:
    """Return what a file seems to be and what helps, None where nothing can be said.

    Raises:
        DataError: It lies outside the folder, or can't be read.
    """
    head = read_head(root, path, MAX_CSV_LINE_BYTES)
    if not head:
        return "it is empty"
    if head.startswith(_ARCHIVES[0][0]) and all(mark in head for mark in _WORKBOOK):
        return "it is an Excel workbook: save it as CSV UTF-8"
    for mark, name, command in _ARCHIVES:
        if head.startswith(mark):
            return _unpack(path, name, command)
    if head[_TAR_AT:].startswith(_TAR_MARK):
        return _unpack(path, "a tar archive", "mkdir {1}; tar -xf {0} -C {1}")
    other = next((told for mark, told in _OTHERS if head.startswith(mark)), None)
    return f"it is {other}" if other else _describe_header(path, head)


def _unpack(path: Path, name: str, command: str) -> str:
    folder = path.name.partition(".")[0] or "unpacked"
    told = command.format(shlex.quote(str(path)), shlex.quote(folder))
    return f"it is {name}: unpack it ({told}) and import what comes out"


def _describe_header(path: Path, head: bytes) -> str | None:
    line = _first_line(head)
    found, missing = missing_columns(line)
    if len(found) >= _LOOKS_LIKE_A_LOG and missing:
        return f"its first line names {', '.join(found)}, but not {', '.join(missing)}, which a log of actions needs"
    if _is_a_row(line):
        return f"its first line is a row and no header: put one before it, {_HEADER}"
    if path.suffix.lower() in _TABLES and len(line) < _LONGEST_TOLD:
        told = line.decode("utf-8", errors="replace")
        return f"its first line, {told!r}, is not the header of a log of actions, which begins like {_HEADER}"
    return None


def _is_a_row(line: bytes) -> bool:
    """Return whether a line looks like a row of a log whose header is missing."""
    return any(f"{separator}{kind}{separator}".encode() in line for separator in ",;\t|" for kind in ("move", "click"))


def _first_line(head: bytes) -> bytes:
    form, text = find_form(head)
    lines = split_lines(text, form)
    line = lines[1] if len(lines) > 1 and named_separator(lines[0]) is not None else lines[0]
    return line.encode("utf-8", errors="replace")[: MAX_CSV_LINE_BYTES + 1]
