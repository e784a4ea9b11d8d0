"""The commands that write a folder, each on an input that takes seconds, and what of their output may be compared.

Files that hold times of day, or how long something took, are compared without those (`TIMED`); pages made of them, and
recordings whose session names them, only by name. All else is compared byte by byte.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.importing.made_imports import EPOCH_MS, row, write_tree
from vlm_agent.actions.events import KeyChanged
from vlm_agent.sessions.appending import part_path
from vlm_agent.sessions.writer import SessionWriter

ROOT = Path(__file__).resolve().parents[2]
OUT = "out"
"""Where every command writes, in the folder of a try."""
TIMED = ("created", "seconds", "latencies_ms", "latency_ms", "duration_s", "versions", "git", "stages_ms")
"""Keys of JSON whose values are times of day, or of a clock."""
_TRAINING = (
    *("--train.epochs", "1", "--train.max-steps", "3", "--train.save-every-steps", "1", "--train.batch-windows", "1"),
    *("--train.accumulation", "1", "--train.evaluation.every-steps", "0"),
)
_GIVES_UP_S = 300.0


@dataclass(frozen=True)
class Command:
    """A command under attack."""

    name: str
    """As it is typed."""
    words: tuple[str, ...]
    """All of its line; `{made}` is where the inputs are."""
    by_name: tuple[str, ...] = ()
    """Ends of the names of files that are only compared by name."""
    done_again: str = ""
    """What it says, with exit code 2, where all of it was done before."""
    input: str = ""
    """An input that is copied to its place for each try, since the command writes beside it."""


COMMANDS = {
    command.name: command
    for command in (
        Command(
            "record-demo",
            (
                *("record-demo", "--out", OUT, "--num-sessions", "4", "--minutes", "0.03", "--starts", "anywhere"),
                *("--workers", "2"),
            ),
        ),
        Command("import", ("import", "{made}/trees", "--out", OUT), done_again="is there already"),
        Command("repair", ("repair", f"{OUT}/a.mcap.part"), input="{made}/unfinished", done_again="already exists"),
        Command("label", ("label", "--sessions", "{made}/sessions", "--out", OUT, "--labeler", "game")),
        Command(
            "export", ("export", "--dataset", "{made}/labeled/dataset", "--out", OUT), done_again="is there already"
        ),
        Command("train", ("train", "--dataset", "{made}/labeled/dataset", "--out", OUT, *_TRAINING)),
        Command(
            "eval",
            (
                *("eval", "--model", "{made}/run", "--dataset", "{made}/labeled/dataset", "--split", "train"),
                *("--max-windows", "3", "--readout-windows", "1", "--few-shot", "0", "--out", OUT),
            ),
            by_name=(".md",),
        ),
        Command(
            "audit",
            (
                *("audit", "--model", "{made}/run", "--dataset", "{made}/labeled/dataset", "--split", "train"),
                *("--max-windows", "2", "--out", OUT),
            ),
        ),
        Command(
            "compare",
            (
                *("compare", "--tuned", "{made}/run", "--seeds", "2", "--max-ticks", "2", "--out", OUT),
                *("--bootstrap-resamples", "100", "--parts.windows", "0", "--parts.audit-windows", "0"),
                *("--parts.disturbed-seeds", "0", "--parts.no-likeness"),
            ),
            by_name=(".html", ".md", ".mcap", ".mkv"),
        ),
        Command(
            "curve",
            (
                *("curve", "--dataset", "{made}/labeled/dataset", "--out", OUT, "--sessions", "1", "--seeds", "2"),
                *("--max-ticks", "2", "--steps", "2", "--every-steps", "0", *_TRAINING),
            ),
            by_name=(".md",),
        ),
    )
}
"""By name, quick ones first."""


def make_inputs(made: Path) -> None:
    """Make what the commands read, as far as it is not there."""
    done = made / "done"
    if done.exists():
        return
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    rows = [row(EPOCH_MS + 10 * n, "move", n % 91, n % 63) for n in range(300)]
    for name in ("a", "b", "c"):
        write_tree(made / "trees" / name, rows, seconds=3)
    _write_unfinished(made / "unfinished")
    record = ("record-demo", "--out", "sessions", "--num-sessions", "4", "--minutes", "0.05", "--starts", "anywhere")
    label = ("label", "--sessions", "sessions", "--out", "labeled", "--labeler", "game")
    train = ("train", "--dataset", "labeled/dataset", "--out", "run", *_TRAINING)
    for words in (record, label, train):
        ended = start(made, words).communicate(timeout=_GIVES_UP_S)
        if not (made / {"record-demo": "sessions", "label": "labeled", "train": "run"}[words[0]]).is_dir():
            raise SystemExit(f"{words[0]}: {ended[1]}")
    done.touch()


def _write_unfinished(folder: Path) -> None:
    import numpy as np

    folder.mkdir()
    writer = SessionWriter(folder / "a", width_px=64, height_px=48, fps=20)
    for step in range(200):
        writer.write_frame(step * 50_000_000, np.full((48, 64, 3), step, np.uint8))
        writer.write_event(KeyChanged(step * 50_000_000, "w", step % 2 == 0))
    writer.flush()
    assert part_path(writer.path).exists()


def prepare(folder: Path, command: Command, made: Path) -> list[str]:
    """Return a command's words in an empty folder for a try, with what it writes beside in place."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if command.input:
        shutil.copytree(command.input.format(made=made), folder / OUT)
    return [word.format(made=made) for word in command.words]


def start(folder: Path, words: Sequence[str]) -> subprocess.Popen[str]:
    """Start `vlm-agent WORDS` in a folder, in a process group of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    return subprocess.Popen(
        [sys.executable, "-m", "vlm_agent", *words],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for a process and return its exit code, and what it said on stderr."""
    try:
        _, told = process.communicate(timeout=_GIVES_UP_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        _, told = process.communicate()
        told += "\nit hung"
    return process.returncode, told


def find_orphans(group: int, within_s: float = 5.0) -> list[int]:
    """Return the processes of a group that still run after some seconds."""
    until_s = time.monotonic() + within_s
    while True:
        left = [pid for pid, of_group, state in _list_processes() if of_group == group and state not in "ZX"]
        if not left or time.monotonic() > until_s:
            return left
        time.sleep(0.1)


def _list_processes() -> Iterator[tuple[int, int, str]]:
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        yield int(path.parent.name), int(fields[2]), fields[0]


def read_output(folder: Path, command: Command) -> dict[str, Any]:
    """Return all that is in the folder of a try, hidden things too, in the form in which it is compared."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() or not any(path.iterdir()))
    return {str(path.relative_to(folder)): _read(path, command) for path in paths}


def _read(path: Path, command: Command) -> Any:
    if path.is_dir() or path.name.endswith(command.by_name or ("?",)):
        return None
    content = path.read_bytes()
    if path.suffix == ".json":
        return _untimed(json.loads(content))
    if path.suffix == ".jsonl":
        return [_untimed(json.loads(line)) for line in content.splitlines()]
    return content


def _untimed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _untimed(inner) for key, inner in value.items() if not _is_timed(key)}
    return [_untimed(inner) for inner in value] if isinstance(value, list) else value


def _is_timed(key: str) -> bool:
    return key in TIMED or "latenc" in key


def name_differences(found: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """Return what is left behind, missing, or another, by name."""
    return [
        *(f"left: {name}" for name in sorted(found.keys() - wanted.keys())),
        *(f"missing: {name}" for name in sorted(wanted.keys() - found.keys())),
        *(f"another: {name}" for name in sorted(found.keys() & wanted.keys()) if found[name] != wanted[name]),
    ]
