"""Files of JSON lines that grow while an evaluation runs: a head that says what they are about, then a value a line.

A file whose last line was cut off by a kill goes on from the line before.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from vlm_agent.errors import DataError
from vlm_agent.evaluation.finite import load_finite


class LineFile:
    """One such file, opened to be added to."""

    def __init__(self, path: Path, what: str, version: int, about: Mapping[str, Any]) -> None:
        """Open a file, or begin one.

        Args:
            path: the file; its folder is made.
            what: what is in it, as a message says it (`predictions`).
            version: of its format.
            about: what was asked of whom; a file that says something else is not gone on with.

        Raises:
            DataError: the file is not such a file, or is about something else.
        """
        self.path = path
        head = json.loads(json.dumps({"format": version, **about}))
        self.found: list[dict[str, Any]] = []
        """The values that were there when it was opened."""
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            self._go_on(what, version, head)
        else:
            self.add(head)

    def add(self, value: Mapping[str, Any]) -> None:
        """Write one more line; raises DataError where a number in it is not finite."""
        try:
            line = json.dumps(value, separators=(",", ":"), allow_nan=False)
        except ValueError as error:
            raise DataError(f"{self.path}: not written, for a number in it is not finite ({error})") from error
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def _go_on(self, what: str, version: int, head: dict[str, Any]) -> None:
        whole = _whole_lines(self.path.read_bytes())
        if not whole:
            # Killed before the head was written.
            self.path.write_bytes(b"")
            self.add(head)
            return
        found, self.found = _parse(self.path, whole, what, version)
        if found != head:
            raise DataError(f"{self.path}: holds {what} of something else; give another --out, or remove it")
        with self.path.open("r+b") as file:
            file.truncate(sum(map(len, whole)))


def read_lines(path: Path, what: str, version: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the head and the values of a file.

    Raises:
        DataError: there is no such file, or it is not one of those.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: no {what} to read ({error.strerror})") from error
    return _parse(path, _whole_lines(content), what, version)


def _whole_lines(content: bytes) -> list[bytes]:
    return [line for line in content.splitlines(keepends=True) if line.endswith(b"\n")]


def _parse(path: Path, lines: Iterable[bytes], what: str, version: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    try:
        head, *rest = [load_finite(line) for line in lines]
        if head["format"] != version:
            raise DataError(f"{path}: {what} of format {head['format']}, expected {version}; evaluate anew")
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not a file of {what} ({error})") from error
    return head, rest
