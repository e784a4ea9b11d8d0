"""A file that only grows by whole pieces, and appears under its name only when it is complete.

While it grows it carries the suffix `.part`. Every piece goes to the operating system at once (no buffer of ours), so
a killed process loses nothing that was appended; only `finish` asks the disk itself (fsync), so a power cut may cost
what the system had not yet written, typically some seconds. A piece that does not fit is taken back whole. As long as
its writer lives, the file is locked: so it is known of one that is there whether somebody still writes it.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from vlm_agent.errors import DataError
from vlm_agent.files import flush_folder
from vlm_agent.locks import hold, is_locked

PART_SUFFIX = ".part"
"""Marks a file whose writer has not finished."""
REPAIR_SUFFIX = ".repairing"
"""The same for the output of a repair, which may stand beside a `.part` of the same name."""


_ENDS_WITHIN_S = 10.0
"""How long a process that lost its parent may take to notice."""


class TakenError(DataError):
    """There is a file of that name, finished or not."""


def part_path(path: Path) -> Path:
    """Return where `path` grows until it is complete."""
    return path.with_name(path.name + PART_SUFFIX)


def remove_unfinished(part: Path) -> None:
    """Remove what a killed writer left, if it is there.

    Raises:
        DataError: its writer lives.
    """
    until_s = time.monotonic() + _ENDS_WITHIN_S
    while is_locked(part) and time.monotonic() < until_s:
        time.sleep(0.05)
    check_unlocked(part)
    part.unlink(missing_ok=True)


def check_unlocked(part: Path) -> None:
    """Raise TakenError where a file that grows has a writer that lives."""
    if is_locked(part):
        raise TakenError(f"{part} is being written by another process; wait until that one has ended")


class AppendedFile:
    """Appends whole pieces to `<path>.part`; `finish` gives the file its name."""

    def __init__(self, path: Path, *, suffix: str = PART_SUFFIX) -> None:
        """Create the file, with a suffix until it is finished.

        Raises:
            TakenError: If the file, finished or not, is already there.
            DataError: If it can't be created.
        """
        self.path = path
        self.size_bytes = 0
        self._is_named = False
        self._part = path.with_name(path.name + suffix)
        if path.exists():
            raise TakenError(f"{path} already exists; choose another name")
        try:
            self._file = self._part.open("xb", buffering=0)
        except FileExistsError as error:
            check_unlocked(self._part)
            raise TakenError(f"{self._part} is there: unfinished, or being written; repair or delete it") from error
        except OSError as error:
            raise DataError(f"can't create {self._part}: {error.strerror}") from error
        hold(self._file.fileno(), self._part)

    def append(self, piece: bytes) -> None:
        """Write one piece.

        Raises:
            DataError: If it does not fit or can't be written; the file then ends after the piece before.
        """
        rest = memoryview(piece)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.truncate(self.size_bytes)
            raise DataError(f"can't write {self._part}: {error.strerror}") from error
        self.size_bytes += len(piece)

    def patch(self, offset: int, piece: bytes) -> None:
        """Overwrite bytes inside the file; the position stays at the end.

        Raises:
            DataError: If the disk refuses.
        """
        try:
            self._file.seek(offset)
            self._file.write(piece)
            self._file.seek(self.size_bytes)
        except OSError as error:
            raise DataError(f"can't write {self._part}: {error.strerror}") from error

    def finish(self) -> None:
        """Bring the file to the disk and give it its name.

        Raises:
            DataError: If the disk refuses.
        """
        try:
            os.fsync(self._file.fileno())
            if not os.path.samestat(os.fstat(self._file.fileno()), self._part.stat()) or self.path.exists():
                raise DataError(f"can't finish {self.path}: another process has put its own there")
            if os.name == "nt":  # what is open has to keep its name there
                self._file.close()
            self._part.rename(self.path)
            self._is_named = True
            self._file.close()
            flush_folder(self.path.parent)
        except OSError as error:
            raise DataError(f"can't finish {self.path}: {error.strerror}") from error

    def abandon(self) -> None:
        """Close the file and leave it unfinished, for `vlm-agent repair`."""
        with contextlib.suppress(OSError):
            self._file.close()

    def discard(self) -> None:
        """Close the file and remove it, finished or not."""
        self.abandon()
        (self.path if self._is_named else self._part).unlink(missing_ok=True)
