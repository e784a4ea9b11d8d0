"""What tests of whole stages share: commands typed in this process, a disk that is soon full, a folder's contents."""

from __future__ import annotations

import io
import resource
import runpy
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from vlm_agent.cli import main

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    """Exit code."""
    out: str
    """What it printed."""
    err: str
    """What it printed on stderr."""

    @property
    def error(self) -> str:
        """The one line of a user's mistake, which ends what was printed on stderr; checks that it is one."""
        lines = self.err.splitlines()
        assert self.code == 2, self.err
        assert "Traceback" not in self.err
        assert [line for line in lines if line.startswith("error: ")] == lines[-1:]
        return lines[-1]


def type_line(*words: object) -> Ended:
    """Run `vlm-agent …` or `SCRIPT.py …` as a shell would, but in this process: imports are paid once."""
    name, *arguments = map(str, words)
    out, err = io.StringIO(), io.StringIO()
    code: object = 0
    with mock.patch.object(sys, "argv", [name, *arguments]), redirect_stdout(out), redirect_stderr(err):
        try:
            if name.endswith(".py"):
                runpy.run_path(str(ROOT / name), run_name="__main__")
            else:
                main()
        except SystemExit as ended:
            code = ended.code or 0
    assert isinstance(code, int)
    return Ended(code, out.getvalue(), err.getvalue())


def type_in_shell(*words: object) -> Ended:
    """Run the same in a process of its own."""
    name, *arguments = map(str, words)
    program = [str(ROOT / name)] if name.endswith(".py") else ["-m", "vlm_agent.cli"]
    done = subprocess.run([sys.executable, *program, *arguments], capture_output=True, text=True, check=False)
    return Ended(done.returncode, done.stdout, done.stderr)


def read_tree(folder: Path) -> dict[str, bytes | None]:
    """Return everything under a folder: contents of files, None for folders."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@contextmanager
def small_disk(folder: Path, size_kb: int) -> Iterator[Path]:
    """Give a folder in which a write fails after some kilobytes.

    It is a file system of its own where one may be mounted; elsewhere no file may grow beyond that size.
    """
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size_kb}k", "tmpfs", str(folder)]
    try:
        is_mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        is_mounted = False
    if is_mounted:
        try:
            yield folder
        finally:
            subprocess.run(["umount", str(folder)], check=True)
        return
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_kb * 1024, limits[1]))
    try:
        yield folder
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
