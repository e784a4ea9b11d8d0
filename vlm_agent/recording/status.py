"""What a person sees while recording: one line that keeps itself up to date, and above it what happened."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text

from vlm_agent.recording.recorder import Counts, Recorder


class Status:
    """Shows a recording on a console; without a terminal only what happened, a line each."""

    def __init__(self, console: Console, recorder: Recorder, size_bytes: Callable[[], int]) -> None:
        """Show nothing yet."""
        self._console = console
        self._recorder = recorder
        self._size_bytes = size_bytes
        self._began_s = time.monotonic()
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def update(self) -> None:
        """Show how it goes now."""
        for notice in self._recorder.read_notices():
            self._console.print(notice)
        if self._live is not None:
            seconds = time.monotonic() - self._began_s
            self._live.update(Text(describe(self._recorder.counts, seconds, self._size_bytes())), refresh=True)


def describe(counts: Counts, seconds: float, size_bytes: int) -> str:
    """Return the status line."""
    minutes, rest = divmod(int(seconds), 60)
    parts = [
        f"{counts.paused or 'recording'} {minutes}:{rest:02d}",
        f"{counts.capture.frames} frames ({counts.capture.dropped} dropped)",
        f"{counts.events} events" + (f" ({left_out} left out)" if (left_out := counts.left_out.total()) else ""),
    ]
    if counts.raw_motions:
        parts.append(f"{counts.raw_motions} raw motions")
    states = counts.states
    odd = [f"{n} {what}" for n, what in ((states.left_out.total(), "left out"), (states.mended.total(), "odd")) if n]
    if states.states or odd:
        parts.append(f"{states.states} states" + (f" ({', '.join(odd)})" if odd else ""))
    parts.append(f"{size_bytes / 1e6:.1f} MB")
    if counts.is_asking:
        parts.append("type the goal, then Enter")
    return " · ".join(parts)


def describe_oddities(counts: Counts) -> list[str]:
    """Return what was left out, mended and lost, by reason: a line each, for the end."""
    states = counts.states
    lines = (
        ("input left out", counts.left_out),
        ("game states left out", states.left_out),
        ("in game states that were kept", states.mended),
    )
    return [
        f"{what}: " + ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in sorted(found.items()))
        for what, found in lines
        if found
    ]


def listen_for_goals(recorder: Recorder, source: TextIO) -> None:
    """Tell a recorder each line that is typed, until the program ends."""

    def listen() -> None:
        for line in source:
            recorder.type_goal(line)

    # A daemon, because nothing can end its waiting for a line.
    threading.Thread(target=listen, name="typed goals", daemon=True).start()
