"""Executors among the processes of this machine: found where no file tells of them, and ended where none answers.

Linux alone tells (`/proc`); elsewhere none is found, and the endpoint files have to do.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from vlm_agent.executors.endpoints import OWN_FOLDER

MODULE = "vlm_agent.executors.process"
"""What an executor is started as: `python -m` this."""
_PROC = Path("/proc")
_ENDS_WITHIN_S = 2.0


@dataclass(frozen=True)
class ExecutorProcess:
    """An executor that runs."""

    pid: int
    """Its number."""
    user: int
    """Who runs it."""
    environment: dict[str, str]
    """Its variables, which tell where its endpoint is."""


def find_executors(proc: Path = _PROC) -> list[ExecutorProcess]:
    """Return all executors of this user, and for root those of everybody.

    Where `VLM_AGENT_RUNTIME_DIR` is set, those with the same value alone.

    Args:
        proc: the processes.
    """
    if not hasattr(os, "getuid"):
        return []
    found = []
    for folder in proc.glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            process = _read(folder)
            if process is not None and os.getuid() in (0, process.user):
                found.append(process)
    only = os.environ.get(OWN_FOLDER)
    return [one for one in sorted(found, key=lambda one: one.pid) if only in (None, one.environment.get(OWN_FOLDER))]


def end_executor(pid: int) -> str | None:
    """End an executor that does not answer, and return by which signal; None where it is gone or is none.

    It lets go of what it holds when it is asked to end; where it is frozen and must be killed, its guardian does.

    Raises:
        OSError: the system does not let us.
    """
    handle = _open_handle(pid)
    try:
        # Looked at once more behind the handle: the number may be another process's by now.
        if not _is_executor(_PROC / str(pid)):
            return None
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number) if handle is None else signal.pidfd_send_signal(handle, number)
            until = time.monotonic() + _ENDS_WITHIN_S
            while time.monotonic() < until:
                if not _is_executor(_PROC / str(pid)):
                    return number.name
                time.sleep(0.01)
        raise PermissionError("it does not end")
    finally:
        if handle is not None:
            os.close(handle)


def _open_handle(pid: int) -> int | None:
    """Return what stands for a process though its number be given anew; None where the system has no such thing."""
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None


def _is_executor(folder: Path) -> bool:
    with contextlib.suppress(OSError):
        # A process that has ended and is not waited for yet has no command line.
        return (folder / "cmdline").read_bytes().split(b"\0")[1:3] == [b"-m", MODULE.encode()]
    return False


def _read(folder: Path) -> ExecutorProcess | None:
    if not _is_executor(folder):
        return None
    lines = (folder / "status").read_text(encoding="utf-8", errors="replace").splitlines()
    user = next(int(line.split()[1]) for line in lines if line.startswith("Uid:"))
    try:
        variables = (folder / "environ").read_bytes().decode("utf-8", "surrogateescape").split("\0")
    except OSError:
        variables = []
    return ExecutorProcess(int(folder.name), user, dict(one.split("=", 1) for one in variables if "=" in one))
