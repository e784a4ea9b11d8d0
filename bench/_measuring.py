"""What the benchmarks share: their command line, a stopwatch, and rows as a table or as JSON lines.

Begins with an underscore because `make bench` runs every other file here.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.table import Table


class Stopwatch:
    """Measures a block by the wall clock, and by this process's own time: the same on a core that others use too."""

    def __enter__(self) -> Self:
        self._began, self._began_cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.wall_s = time.perf_counter() - self._began
        self.cpu_s = time.process_time() - self._began_cpu


class PeakMemory:
    """Measures how far a block's memory rises above what was held before it: on the GPU, or of this process (Linux)."""

    def __init__(self, device: Any = None) -> None:
        self._cuda = device if getattr(device, "type", "cpu") == "cuda" else None

    def __enter__(self) -> Self:
        gc.collect()
        if self._cuda is not None:
            import torch

            torch.cuda.reset_peak_memory_stats(self._cuda)
            self._before = torch.cuda.memory_allocated(self._cuda)
            return self
        # What earlier blocks left unused goes back to the system first, and the system's own high mark starts anew.
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        self._before = _read_status("VmRSS")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._cuda is not None:
            import torch

            peak = torch.cuda.max_memory_allocated(self._cuda)
        else:
            peak = _read_status("VmHWM")
        self.peak_mb = (peak - self._before) / 1e6


def _read_status(name: str) -> int:
    """Return a figure of this process's memory in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    [line] = [line for line in lines if line.startswith(f"{name}:")]
    return int(line.split()[1]) * 1024


@dataclass(frozen=True)
class Shown:
    """How a benchmark's rows are shown as a table."""

    title: str
    """Above the table: what was measured, on what."""
    note: str
    """Below it: what the figures are held against."""


def make_parser(doc: str | None) -> argparse.ArgumentParser:
    """Return a parser that knows `--json`."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object a row")
    return parser


def say(text: str) -> None:
    """Tell on stderr what is being measured: it takes a while."""
    Console(stderr=True).print(f"[dim]{text}[/dim]", highlight=False)


def print_rows(rows: Sequence[Any], shown: Shown, *, as_json: bool) -> None:
    """Print rows, which are all of one dataclass."""
    if as_json:
        for row in rows:
            print(json.dumps({name: _round(value) for name, value in asdict(row).items()}))
        return
    table = Table(title=shown.title, caption=shown.note, title_justify="left", caption_justify="left")
    columns = [name for name in asdict(rows[0]) if name != "benchmark"]
    for name in columns:
        is_text = isinstance(getattr(rows[0], name), str)
        justify: Any = "left" if is_text else "right"
        min_width = max(map(len, name.split("_")))
        table.add_column(name.replace("_", " "), justify=justify, no_wrap=is_text, min_width=min_width)
    for row in rows:
        table.add_row(*(_write(getattr(row, name)) for name in columns))
    Console(file=sys.stdout, width=None if sys.stdout.isatty() else 140).print(table)


def _round(value: Any) -> Any:
    return float(f"{value:.5g}") if isinstance(value, float) else value


def _write(value: Any) -> str:
    match value:
        case None:
            return ""
        case float():
            return f"{value:.4g}" if abs(value) < 100 else f"{value:.0f}"
        case _:
            return str(value)
