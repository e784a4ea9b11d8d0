"""Opens files that are large, endless or somebody else's with every command that reads sessions: what it costs.

    python -m tests.attacks.bombs [--only WORD]

Prints a table of outcome, seconds and peak memory, and ends with exit code 1 where a command hangs, is killed, prints a
traceback, or takes more than `MOST_MB`. Takes some minutes and a gigabyte of disk; run by hand, on Linux.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.attacks import bomb_files as bombs

MOST_MB = 2000
"""Of memory at the peak; to encode the largest picture that is let in takes 1700."""
MOST_S = 120.0
"""A command that takes longer is killed."""
ADDRESS_BYTES = 12 << 30
"""Keeps the machine alive where a bound is missing."""

COMMANDS = {
    "import": ("import", "{path}", "--out", "{out}"),
    "label": ("label", "--sessions", "{path}", "--out", "{out}"),
    "inspect": ("info", "{path}"),
    "repair": ("repair", "{path}", "--out", "{out}/repaired.mcap"),
}

BOMBS: dict[str, Callable[[Path], Path]] = {
    "zstd, 12 GB in one moment": lambda path: bombs.overlapping(path, 12 << 30, "zstd"),
    "lz4, 6 GB in one moment": lambda path: bombs.overlapping(path, 6 << 30, "lz4"),
    "plain, 1 GB in one moment": lambda path: bombs.overlapping(path, 1 << 30, "", 8 << 20),
    "8 million tiny messages": lambda path: bombs.tiny_messages(path, 8_000_000),
    "200 000 tiny messages": lambda path: bombs.tiny_messages(path, 200_000),
    "a message at 2^63 - 1 ns": bombs.late_message,
    "JSON 10^6 deep": lambda path: bombs.deep_json(path, 10**6),
    "JSON of 5 million lists": lambda path: bombs.wide_json(path, 5 * 10**6),
    "PNG of 13 000 x 13 000": lambda path: bombs.large_png(path, 13_000),
    "video of 10 000 x 10 000": lambda path: bombs.large_video(path, 10_000, 10_000),
    "video of 8192 x 8192": lambda path: bombs.large_video(path, 8192, 8192),
    "play list": lambda path: _play_list(path),
    "named pipe": bombs.make_pipe,
    "endless device": lambda path: _link(path, Path("/dev/zero")),
    "link in a circle": lambda path: _link(path, path),
}


class Outcome(NamedTuple):
    """What a command did."""

    code: int
    seconds: float
    peak_mb: float
    told: str


def main(only: str = "") -> int:
    """Run everything, print the table, return the exit code."""
    failed = 0
    sys.stdout.write("| file | bytes | command | exit | seconds | peak MB | last line |\n")
    sys.stdout.write("|---|---:|---|---:|---:|---:|---|\n")
    for name, make in BOMBS.items():
        if only not in name:
            continue
        with tempfile.TemporaryDirectory() as folder:
            path = make(Path(folder) / "f.mcap")
            size = path.lstat().st_size
            for command, arguments in COMMANDS.items():
                outcome = _run([word.format(path=path, out=f"{folder}/{command}") for word in arguments])
                is_bad = outcome.code not in (0, 2) or outcome.peak_mb > MOST_MB or "Traceback" in outcome.told
                failed += is_bad
                last = outcome.told.strip().splitlines()[-1:] or [""]
                told = last[0].replace(folder, "").replace("|", "\\|")[:110]
                numbers = f"{outcome.code} | {outcome.seconds:.1f} | {outcome.peak_mb:.0f}"
                sys.stdout.write(f"| {name} | {size} | {command} | {numbers} | {'BAD ' * is_bad}{told} |\n")
                sys.stdout.flush()
    return int(failed > 0)


def _run(arguments: list[str]) -> Outcome:
    begun_s = time.monotonic()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "vlm_agent.cli", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=said,
            start_new_session=True,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_BYTES, ADDRESS_BYTES)),
        )
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() - begun_s > MOST_S:
                os.killpg(process.pid, signal.SIGKILL)
            time.sleep(0.02)
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        told = said.read()[-4000:].decode("utf-8", "replace")
    return Outcome(process.returncode, time.monotonic() - begun_s, usage.ru_maxrss / 1024, told)


def _play_list(path: Path) -> Path:
    private = path.parent / "private"
    private.mkdir()
    video = bombs.write_video(private / "private.ts", container="mpegts")
    text = f"#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\nfile://{video}\n#EXT-X-ENDLIST\n"
    (path.parent / "v.m3u8").write_text(text)
    return bombs.write_session(path, bombs.shown("v.m3u8", pts_ns=0))


def _link(path: Path, target: Path) -> Path:
    path.symlink_to(target)
    return path


if __name__ == "__main__":
    sys.exit(main(sys.argv[2] if sys.argv[1:2] == ["--only"] and len(sys.argv) > 2 else ""))
