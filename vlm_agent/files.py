"""Files and folders that are there whole or not at all, also when the disk is full or the program is killed.

They are written beside their place, flushed, and renamed into it, and the renaming is flushed too. Names beside a place
are fixed, so that what a kill leaves is written over by the next try; who writes is the only one (see `locks`).
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

PARTIAL_SUFFIX = ".partial"
"""Ends the name of what is not finished."""
OLD_SUFFIX = ".old"
"""Ends the name of a folder that is being replaced."""
_MOST_SINGLY = 200
"""Of more files than these all that the system holds is flushed, which is quicker than one after the other."""


def write_text(place: Path, text: str) -> None:
    """Replace a file by a text in one step; a failure leaves what was there before."""
    write_file(place, lambda beside: beside.write_text(text, encoding="utf-8"))


def write_file(place: Path, fill: Callable[[Path], object]) -> None:
    """Replace a file in one step by what `fill` writes to the path that it is given; its folder is made."""
    place.parent.mkdir(parents=True, exist_ok=True)
    beside = place.with_name(place.name + PARTIAL_SUFFIX)
    try:
        fill(beside)
        _flush(beside)
        beside.replace(place)
        flush_folder(place.parent)
    finally:
        beside.unlink(missing_ok=True)


def write_folder(place: Path, fill: Callable[[Path], object]) -> Path:
    """Replace a folder by one that `fill` fills, flushed; return the place."""
    beside = begin_folder(place)
    try:
        fill(beside)
        publish_folder(beside, place)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return place


def begin_folder(place: Path) -> Path:
    """Return an empty folder beside a place, to be filled and published; puts right what a kill left there."""
    old, beside = _beside(place, OLD_SUFFIX), _beside(place, PARTIAL_SUFFIX)
    if old.exists() and not place.exists():
        old.rename(place)  # killed between the two renames
    for left in (old, beside):
        shutil.rmtree(left, ignore_errors=True)
    beside.mkdir(parents=True)
    return beside


def publish_folder(beside: Path, place: Path) -> None:
    """Flush a folder and put it in its place; what was there goes after the new one has its name."""
    _flush_tree(beside)
    old = _beside(place, OLD_SUFFIX)
    if place.exists():
        place.rename(old)
    beside.rename(place)
    flush_folder(place.parent)
    shutil.rmtree(old, ignore_errors=True)


def flush_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    if os.name == "nt":  # folders can't be opened there
        return
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system that does not know how
            raise
    finally:
        os.close(number)


def _beside(place: Path, suffix: str) -> Path:
    return place.with_name(place.name + suffix)


def _flush_tree(folder: Path) -> None:
    files = [path for path in folder.rglob("*") if path.is_file()]
    if len(files) > _MOST_SINGLY and hasattr(os, "sync"):
        os.sync()
        return
    for path in files:
        _flush(path)
    for path in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        flush_folder(path)


def _flush(path: Path) -> None:
    with path.open("r+b") as file:  # Windows flushes only what may be written
        os.fsync(file.fileno())
