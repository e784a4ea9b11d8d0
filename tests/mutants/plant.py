"""Plant small faults in a copy of the code, one at a time, and tell which of them the tests let through.

    python tests/mutants/plant.py [--rooms clips sessions] [--jobs 2] [--only TEXT] [--fresh] [--list]

A room's faults are data, in faults/<room>.toml:

    tests = ["tests/test_clips.py"]    # what a fault of this room must be caught by; quick files first

    [[fault]]
    file = "vlm_agent/clips.py"
    old = "start_ns <= time_ns < end_ns"    # found exactly once in the file
    new = "start_ns <= time_ns <= end_ns"
    why = "a clip holds the moment at which it ends"
    tests = ["tests/test_clips.py"]    # optional: in place of the room's

The tests run without the fault first: what already fails catches nothing. A fault counts as killed by a failing test
or by a run that does not end. Random tests run from one seed, so that a fault is killed every time or never. Verdicts
are kept (.verdicts.json) for as long as the fault, its file and the tests stay what they are; --fresh asks again.

The exit code is 1 if a room kills fewer than 95 % of its faults. No part of `make test`: it takes minutes a room.

mutmut and cosmic-ray were looked at and left: both make faults by rule (an operator turned, a number plus one), by the
thousand, and neither plants a fault that someone wrote down; these are the ones reviewers found by reading.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import multiprocessing
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
FAULTS = HERE / "faults"
VERDICTS = HERE / ".verdicts.json"
LEAST_KILLED = 0.95

# A fault that makes a loop endless is killed after this many times what the tests take without it.
PATIENCE = 3
LEAST_PATIENCE_S = 60.0

# Loaded once and forked from; nothing of ours, for that is what faults are planted in.
LIBRARIES = ("pytest", "hypothesis", "numpy", "PIL.Image", "av", "mcap.reader", "tyro", "rich.progress")
MODEL_LIBRARIES = ("torch", "transformers", "transformers.models.qwen3_vl.modeling_qwen3_vl", "peft")
processes = multiprocessing.get_context("forkserver")
# Read on import, as in tests/conftest.py; and a fork must find no threads.
os.environ.update(HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1")

console = Console(width=140)


class BadFaultError(Exception):
    """A fault that cannot be planted as it is written."""


@dataclass(frozen=True)
class Fault:
    """One small wrong change, and the tests that must notice it."""

    room: str
    file: str
    old: str
    new: str
    why: str
    tests: tuple[str, ...]

    def plant_in(self, source: str) -> str:
        """Return the source with the fault.

        Raises:
            BadFaultError: the old text isn't there exactly once, nothing changes, or the result isn't Python.
        """
        found = source.count(self.old)
        if found != 1:
            raise BadFaultError(f"{self.where}: the old text is found {found} times, must be once: {self.old!r}")
        if self.old == self.new:
            raise BadFaultError(f"{self.where}: old and new are the same: {self.old!r}")
        planted = source.replace(self.old, self.new)
        if self.file.endswith(".py"):
            try:
                compile(planted, self.file, "exec")
            except SyntaxError as error:
                raise BadFaultError(f"{self.where}: not Python with the fault in it ({error})") from error
        return planted

    @property
    def where(self) -> str:
        """The room and the reason, for messages."""
        return f"{self.room} [{self.why}] {self.file}"


@dataclass
class Tally:
    """What became of one room's faults."""

    planted: int = 0
    kept: int = 0
    """Verdicts taken from an earlier run."""
    survived: list[Fault] = field(default_factory=list)

    @property
    def share(self) -> float:
        """The share killed."""
        return 1 - len(self.survived) / self.planted


def read_faults(rooms: Iterable[str]) -> Iterator[Fault]:
    """Yield each room's faults, checked against the code as it is.

    Raises:
        BadFaultError: a fault cannot be planted, or a file lacks a field.
    """
    for room in rooms:
        told = tomllib.loads((FAULTS / f"{room}.toml").read_text(encoding="utf-8"))
        for entry in told["fault"]:
            tests = tuple(entry.get("tests") or told["tests"])
            try:
                fault = Fault(room, entry["file"], entry["old"], entry["new"], entry["why"], tests)
            except KeyError as error:
                raise BadFaultError(f"{room}: a fault without {error}: {entry}") from error
            fault.plant_in((ROOT / fault.file).read_text(encoding="utf-8"))
            for test in tests:
                if not (ROOT / test.partition("::")[0]).exists():
                    raise BadFaultError(f"{fault.where}: no such tests: {test}")
            yield fault


def make_key(fault: Fault) -> str:
    """Return a name for the fault with its file and its tests as they are: a verdict holds for as long as it does."""
    digest = hashlib.sha256(json.dumps(asdict(fault)).encode())
    for name in (fault.file, "tests/conftest.py", *fault.tests):
        for file in test_files(name):
            digest.update(file.read_bytes())
    return digest.hexdigest()


def copy_tree(target: Path) -> None:
    """Copy what git tracks, or would, as it now is in the working tree."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


@contextmanager
def planted(fault: Fault, tree: Path) -> Iterator[None]:
    """Have the fault in the tree for as long as the block runs."""
    path = tree / fault.file
    sound = path.read_text(encoding="utf-8")

    def write(text: str) -> None:
        path.write_text(text, encoding="utf-8")
        # Bytecode is told apart by size and whole seconds: a fault of the same length would run as the code before it.
        if path.suffix == ".py":
            Path(importlib.util.cache_from_source(str(path))).unlink(missing_ok=True)

    write(fault.plant_in(sound))
    try:
        yield
    finally:
        write(sound)


def run_tests(tree: Path, tests: Sequence[str], timeout_s: float | None) -> tuple[bool, str]:
    """Return whether the tests pass in the tree, and what they said."""
    shutil.rmtree(tree / ".hypothesis", ignore_errors=True)
    told = tree.parent / "told.txt"
    process = processes.Process(target=run_pytest, args=(tree, tests, told))
    process.start()
    assert process.pid is not None
    process.join(timeout_s)
    # What a test left running, and where the time was up the tests themselves.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.join()
    said = told.read_text(encoding="utf-8", errors="replace")
    if process.exitcode in (4, 5):
        raise BadFaultError(f"pytest found nothing to run in {' '.join(tests)}:\n{said}")
    return process.exitcode == 0, said


def run_pytest(tree: Path, tests: Sequence[str], told: Path) -> None:
    """Run the tests in this process, which is a fork of one that has the libraries loaded."""
    os.setsid()
    os.chdir(tree)
    os.environ["PYTHONPATH"] = str(tree)
    sys.path.insert(0, str(tree))
    with told.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    import pytest

    code = pytest.main(["-x", "-q", "-n", "0", "-p", "no:cacheprovider", "--hypothesis-seed=0", *tests])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def preload(tests: Iterable[str]) -> None:
    """Have the libraries that the tests need loaded once, for a test that takes a second waits for them otherwise."""
    sources = [file for test in tests for file in test_files(test)]
    needs_models = any("pytest.mark.model" in source.read_text(encoding="utf-8") for source in sources)
    processes.set_forkserver_preload([*LIBRARIES, *(MODEL_LIBRARIES if needs_models else ())])


def test_files(test: str) -> list[Path]:
    """Return the files of a test's name: `file`, `file::function` or a folder."""
    path = ROOT / test.partition("::")[0]
    return [path] if path.is_file() else sorted(path.rglob("*.py"))


class Nursery:
    """Copies of the tree, one a job, and the verdicts reached in them."""

    def __init__(self, folder: Path, jobs: int) -> None:
        self._trees: queue.Queue[Path] = queue.Queue()
        self._lock = threading.Lock()
        self.verdicts: dict[str, bool] = json.loads(VERDICTS.read_text(encoding="utf-8")) if VERDICTS.exists() else {}
        for job in range(jobs):
            tree = folder / str(job) / "tree"
            copy_tree(tree)
            # The shared recordings lie beside the repository.
            if (ROOT.parent / "shared").is_dir():
                (tree.parent / "shared").symlink_to(ROOT.parent / "shared")
            self._trees.put(tree)

    def check_sound(self, tests: Sequence[str]) -> float:
        """Return the seconds that the tests take without any fault.

        Raises:
            BadFaultError: they fail already.
        """
        with self._borrow() as tree:
            began = time.monotonic()
            passed, said = run_tests(tree, tests, None)
        if not passed:
            raise BadFaultError(f"these fail without any fault: {' '.join(tests)}\n{said[-3000:]}")
        return time.monotonic() - began

    def survives(self, fault: Fault, timeout_s: float) -> bool:
        """Return whether the tests pass with the fault in the code, and keep the verdict."""
        with self._borrow() as tree, planted(fault, tree):
            survived, _ = run_tests(tree, fault.tests, timeout_s)
        with self._lock:
            self.verdicts[make_key(fault)] = survived
            beside = VERDICTS.with_suffix(".tmp")
            beside.write_text(json.dumps(self.verdicts, indent=0), encoding="utf-8")
            beside.replace(VERDICTS)
        return survived

    @contextmanager
    def _borrow(self) -> Iterator[Path]:
        tree = self._trees.get()
        try:
            yield tree
        finally:
            self._trees.put(tree)


def plant_room(faults: Sequence[Fault], nursery: Nursery, jobs: int, *, fresh: bool) -> Tally:
    """Plant a room's faults, and say of each what became of it."""
    tally = Tally(planted=len(faults))
    known = {} if fresh else {fault: nursery.verdicts.get(make_key(fault)) for fault in faults}
    asked = [fault for fault in faults if known.get(fault) is None]
    tally.kept = len(faults) - len(asked)
    tally.survived = [fault for fault in faults if known.get(fault)]
    if not asked:
        return tally
    # In the order in which they are named, each once.
    needed = list(dict.fromkeys(test for fault in asked for test in fault.tests))
    timeout_s = max(LEAST_PATIENCE_S, PATIENCE * nursery.check_sound(needed))
    with ThreadPoolExecutor(jobs) as pool:
        for fault, survived in zip(asked, pool.map(lambda one: nursery.survives(one, timeout_s), asked), strict=True):
            verdict = "[bold red]survived[/]" if survived else "killed"
            console.print(f"{fault.room}: {verdict}: {fault.why} ({fault.file})", highlight=False)
            if survived:
                tally.survived.append(fault)
    return tally


def show(tallies: dict[str, Tally]) -> None:
    """Print a row for each room, and what survived."""
    table = Table("room", "planted", "killed", "%", "survived", "kept verdicts")
    for room, tally in tallies.items():
        survived = "\n".join(f"{fault.why} ({fault.file})" for fault in tally.survived)
        killed = tally.planted - len(tally.survived)
        table.add_row(room, str(tally.planted), str(killed), f"{tally.share:.0%}", survived, str(tally.kept))
    planted_ones = sum(tally.planted for tally in tallies.values())
    killed = planted_ones - sum(len(tally.survived) for tally in tallies.values())
    table.add_section()
    table.add_row("all", str(planted_ones), str(killed), f"{killed / max(1, planted_ones):.0%}", "", "")
    console.print(table)


def main() -> int:
    """Plant, print, and return the exit code."""
    rooms = sorted(path.stem for path in FAULTS.glob("*.toml"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rooms", nargs="+", choices=rooms, default=rooms, metavar="ROOM", help=" ".join(rooms))
    parser.add_argument("--jobs", type=int, default=1, help="copies of the tree tested at the same time")
    parser.add_argument("--only", default="", help="only faults with this text in their reason or file")
    parser.add_argument("--fresh", action="store_true", help="take no verdict from an earlier run")
    parser.add_argument("--list", action="store_true", help="check that each fault can be planted, and plant none")
    asked = parser.parse_args()
    try:
        faults = [fault for fault in read_faults(asked.rooms) if asked.only in fault.why + fault.file]
        if asked.list:
            for fault in faults:
                console.print(fault.where, highlight=False, markup=False)
            return 0
        tallies: dict[str, Tally] = {}
        preload({test for fault in faults for test in fault.tests})
        with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
            nursery = Nursery(Path(folder), asked.jobs)
            for room in dict.fromkeys(fault.room for fault in faults):
                of_room = [fault for fault in faults if fault.room == room]
                tallies[room] = plant_room(of_room, nursery, asked.jobs, fresh=asked.fresh)
    except BadFaultError as error:
        console.print(str(error), markup=False, highlight=False)
        return 2
    show(tallies)
    return int(any(tally.share < LEAST_KILLED for tally in tallies.values()))


if __name__ == "__main__":
    sys.exit(main())
