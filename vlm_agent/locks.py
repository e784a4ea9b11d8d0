"""One writer at a time: whoever writes into a folder holds a lock on a file in it, and a second process is told so.

The operating system gives the lock back when its holder ends, however it ends. The file itself is taken away by its
holder; a killed one leaves it, and the next one takes it over. What appears or is replaced as a whole (a folder that
must not be there before, a picture) is locked by a hidden file beside it.
"""

from __future__ import annotations

import errno
import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

from vlm_agent.errors import DataError, VlmAgentError
from vlm_agent.visible import say

LOCK_FILE = ".vlm-agent.lock"
"""Its name in a folder that is being written."""
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
"""How a file system says that it knows no locks."""
_FULL = (errno.ENOSPC, errno.EDQUOT)
_POLL_S = 0.1
_WIN32_BYTE = 1 << 30
"""Windows locks bytes, and nobody may read those: one far behind the text."""
_held: ContextVar[frozenset[Path]] = ContextVar("held", default=frozenset())
"""Locks of whoever asks: a stage inside a command has what the command has, another thread has not."""

_ours: set[Path] = set()
"""Files that this process holds, or held: nobody else asks after them here."""


class BusyError(VlmAgentError):
    """Another process is writing there."""


@contextmanager
def only_writer(folder: Path, *, waits: bool = False) -> Iterator[None]:
    """Be the only one who writes into a folder; it is made, and goes again if it stays empty.

    Args:
        folder: what is written into.
        waits: for the one who writes there to end, after a line that says so; else that is an error.

    Raises:
        BusyError: another process writes there.
        DataError: nothing can be written there, or the disk became full.
    """
    with _only_holder(_follow(folder) / LOCK_FILE, folder, waits=waits):
        yield


@contextmanager
def only_maker(place: Path) -> Iterator[None]:
    """Be the only one who makes a file or folder that appears, or is replaced, as a whole; raises as `only_writer`."""
    whole = _follow(place)
    with _only_holder(whole.with_name(f".{whole.name}.lock"), place, waits=False):
        yield


def hold(file: int, path: Path) -> None:
    """Lock an open file that nobody else writes, until it is closed: `is_locked` then says so to other processes."""
    while not try_lock(file):
        time.sleep(0.001)  # somebody looks whether it is locked
    _ours.add(path.resolve())


def is_locked(path: Path) -> bool:
    """Tell whether another process that is alive holds the lock on a file; it is not made, nor locked."""
    if path.resolve() in _ours:
        return False
    try:
        file = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        return not try_lock(file)
    finally:
        os.close(file)


def try_lock(file: int) -> bool:
    """Lock an open file until it is closed; return False where another open file holds the lock.

    Where the file system knows no locks there is none to be had, and nobody holds one.
    """
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(file, _WIN32_BYTE, os.SEEK_SET)
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return True
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK):
            return False
        raise
    return True


def _follow(place: Path) -> Path:
    try:
        return place.resolve()
    except (RuntimeError, OSError) as error:  # Python 3.13 has no RuntimeError here any more
        raise DataError(f"{place}: its links lead round in a circle; name another place with --out") from error


@contextmanager
def _only_holder(path: Path, place: Path, *, waits: bool) -> Iterator[None]:
    if path in _held.get():
        yield
        return
    made: list[Path] = []
    try:
        file = _take(path, place, made, waits=waits)
        token = _held.set(_held.get() | {path})
        try:
            yield
        except OSError as error:
            if error.errno not in _FULL:
                raise
            raise DataError(
                f"{place}: {os.strerror(error.errno)}; make room, and give the same command again"
            ) from error
        finally:
            _held.reset(token)
            _give_back(path, file)
    finally:
        for folder in made:
            with suppress(OSError):
                folder.rmdir()


def _take(path: Path, place: Path, made: list[Path], *, waits: bool) -> int:
    is_told = False
    while True:
        file = _open(path, place, made)
        if file is None:
            continue
        if try_lock(file):
            # Its holder before may have taken the file away since it was opened; then this lock is on nothing.
            if _is_at(file, path):
                with suppress(OSError):  # on a full disk the lock holds without words
                    os.ftruncate(file, 0)
                    os.lseek(file, 0, os.SEEK_SET)
                    os.write(file, _tell_self().encode())
                return file
            os.close(file)
            continue
        holder = _read_holder(file)
        os.close(file)
        if not waits:
            raise BusyError(
                f"{place} is being written by {holder}; wait until it has ended, stop it, or give another --out"
            )
        if not is_told:
            is_told = True
            say(f"waiting: {place} is being written by {holder}", stream="error")
        time.sleep(_POLL_S)


def _open(path: Path, place: Path, made: list[Path]) -> int | None:
    """Open the lock's file, and make it and its folder; None where the folder was taken away meanwhile."""
    missing = [folder for folder in (path.parent, *path.parent.parents) if not folder.exists()]
    made += [folder for folder in missing if folder not in made]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        # Taken away, or made again, between two looks at it.
        if isinstance(error, FileNotFoundError | FileExistsError) and (
            path.parent.is_dir() or not path.parent.exists()
        ):
            return None
        raise DataError(f"{place} can't be written: {error.strerror}; name another place with --out") from error


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def _give_back(path: Path, file: int) -> None:
    if sys.platform == "win32":  # there an open file can't be taken away
        os.close(file)
        with suppress(OSError):
            path.unlink()
        return
    with suppress(OSError):
        path.unlink()
    os.close(file)


def _tell_self() -> str:
    name = Path(sys.argv[0]).name if sys.argv and sys.argv[0] else "python"
    if name in ("cli.py", "__main__.py", "vlm-agent"):
        name = " ".join(["vlm-agent", *sys.argv[1:2]])
    return f"{os.getpid()}\n{platform.node()}\n{name}\n"


def _read_holder(file: int) -> str:
    os.lseek(file, 0, os.SEEK_SET)
    lines = os.read(file, 1000).decode(errors="replace").splitlines()
    if len(lines) != 3:  # between its lock and its words
        return "another process"
    pid, node, name = lines
    where = "" if node == platform.node() else f" on {node}"
    return f"`{name}` (process {pid}{where})"
