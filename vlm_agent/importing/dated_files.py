"""Files whose names say when: `1724769000123.png`, `20250827_101500_1724769000123.json`.

Of each file eight bytes are kept, so that a day of pictures fits a few megabytes; the rest of a name is made again.
"""

from __future__ import annotations

import os
import re
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from heapq import merge
from pathlib import Path

import numpy as np

from vlm_agent.errors import DataError
from vlm_agent.importing.limits import MAX_FILES

_WHOLE = re.compile(r"0|[1-9][0-9]{0,17}")
_NUMBER = re.compile(r"[0-9]{1,20}(\.[0-9]{1,20})?")


class DatedFiles:
    """The files of a folder with a prefix and one of some suffixes, in order of the numbers they are named by."""

    def __init__(self, folder: Path, suffixes: Sequence[str], left_out: Counter[str], prefix: str = "") -> None:
        """List a folder; one that is not there holds nothing.

        Args:
            folder: where they are.
            suffixes: with their dots, lower case.
            left_out: counts files of such a suffix whose name is no time, and a second file of one time.
            prefix: what comes before the number.

        Raises:
            DataError: It holds too many files, or can't be read.
        """
        self.folder = folder
        self._prefix = prefix
        self._suffixes = tuple(suffixes)
        self._whole = [array("q") for _ in suffixes]
        self._odd: dict[float, str] = {}
        for name in list_names(folder):
            stem, suffix = Path(name).stem, Path(name).suffix
            if suffix.lower() not in self._suffixes or not stem.startswith(prefix):
                continue
            number = stem.removeprefix(prefix)
            place = self._suffixes.index(suffix.lower())
            if _WHOLE.fullmatch(number) and suffix == self._suffixes[place]:
                self._whole[place].append(int(number))
            elif _NUMBER.fullmatch(number) and float(number) not in self._odd:
                self._odd[float(number)] = name
            else:
                left_out["file_name_without_a_time"] += 1
        for numbers in self._whole:
            sort_array(numbers)

    def __len__(self) -> int:
        """Return how many there are."""
        return sum(map(len, self._whole)) + len(self._odd)

    def sample(self, most: int = 1000) -> list[float]:
        """Return the first numbers in order."""
        return [number for (number, _), _ in zip(self, range(most), strict=False)]

    def __iter__(self) -> Iterator[tuple[float, Path]]:
        """Yield (number, path) in order of the numbers."""
        streams = [self._named(*pair) for pair in zip(self._whole, self._suffixes, strict=True)]
        for number, name in merge(*streams, iter(sorted(self._odd.items()))):
            yield number, self.folder / name

    def _named(self, numbers: array[int], suffix: str) -> Iterator[tuple[float, str]]:
        for number in numbers:
            yield number, f"{self._prefix}{number}{suffix}"


def list_names(folder: Path) -> Iterator[str]:
    """Yield the names of what lies in a folder, hidden things left out; nothing where there is no folder.

    Raises:
        DataError: It holds too many, or can't be read.
    """
    if not folder.is_dir():
        return
    try:
        with os.scandir(folder) as found:
            for count, one in enumerate(found):
                if count >= MAX_FILES:
                    raise DataError(f"{folder} holds more than {MAX_FILES} files")
                if not one.name.startswith("."):
                    yield one.name
    except OSError as error:
        raise DataError(f"{folder} can't be read ({error.strerror})") from error


def sort_array(numbers: array[int]) -> None:
    """Sort in place."""
    view = np.frombuffer(numbers, dtype=np.int64)
    view.sort()
