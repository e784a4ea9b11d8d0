"""The audit: one JSON line for every event that was injected or dropped, and the counts at the end.

A line has `t_planned_ns` and `t_sent_ns` on the executor's clock (monotonic; the first line ties it to UTC), what it
was, and for what was dropped the reason. Room for the last lines is kept from the start: where the disk is full, the
line that did not fit is completed and the counts are written all the same.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
from collections import Counter
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from vlm_agent.errors import DataError

_RESERVE_BYTES = 16_384
"""Kept for what is still to be written when the disk is full: what is held is let go, the rest dropped, the counts."""


class AuditFailedError(DataError):
    """The audit can't be written any more; nothing may be injected without it."""


class AuditLog:
    """Counts everything, and writes it down where there is a file."""

    def __init__(self, path: Path | None, about: dict[str, Any] | None = None) -> None:
        """Begin a file.

        Args:
            path: the file; None keeps the counts alone.
            about: what the first line tells.

        Raises:
            DataError: the file is there already, or can't be written.
        """
        self.sent: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.released: Counter[str] = Counter()
        self._file: FileIO | None = None
        self._reserve: IO[bytes] | None = None
        self._unwritten = b""
        if path is not None:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._file = FileIO(path, "x")
                self._reserve = _reserve_room(path)
            except OSError as error:
                if self._file is not None:
                    self._file.close()
                    path.unlink()
                raise DataError(f"{path}: the audit can't be begun ({error.strerror}); give another --out") from error
        self._write({"type": "begin", "t_ns": time.perf_counter_ns(), "utc_ns": time.time_ns(), **(about or {})})

    def write_sent(self, event: dict[str, Any], planned_ns: int, sent_ns: int) -> None:
        """Write what was injected; `event` has its `kind`."""
        self.sent[event["kind"]] += 1
        self._write({"type": "sent", "t_planned_ns": planned_ns, "t_sent_ns": sent_ns, **event})

    def write_dropped(self, event: dict[str, Any], planned_ns: int, now_ns: int, reason: str) -> None:
        """Write what was not injected, and why."""
        self.dropped[reason] += 1
        self._write({"type": "dropped", "t_planned_ns": planned_ns, "t_ns": now_ns, "reason": reason, **event})

    def write_release(self, control: str, now_ns: int, reason: str) -> None:
        """Write what was let go without having been asked for, and why."""
        self.released[reason] += 1
        self._write({"type": "released", "t_sent_ns": now_ns, "control": control, "reason": reason})

    def write_note(self, name: str, now_ns: int, **values: Any) -> None:
        """Write a change of state, or a chunk that came."""
        self._write({"type": name, "t_ns": now_ns, **values})

    def describe(self) -> dict[str, Any]:
        """Return the counts as plain data."""
        return {"sent": dict(self.sent), "dropped": dict(self.dropped), "released": dict(self.released)}

    def close(self) -> None:
        """Write the counts and close the file; harmless the second time."""
        if self._file is not None:
            with contextlib.suppress(AuditFailedError):
                self._write({"type": "end", "t_ns": time.perf_counter_ns(), **self.describe()})
            self._file.close()
            self._file = None
            self._give_up_reserve()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _write(self, line: dict[str, Any]) -> None:
        if self._file is None:
            return
        self._unwritten += json.dumps(line, separators=(",", ":")).encode() + b"\n"
        try:
            self._flush(self._file)
        except OSError as error:
            if self._give_up_reserve():
                with contextlib.suppress(OSError):
                    self._flush(self._file)
            raise AuditFailedError(f"{self._file.name}: {error.strerror}") from error

    def _flush(self, file: FileIO) -> None:
        while self._unwritten:
            self._unwritten = self._unwritten[file.write(self._unwritten) :]

    def _give_up_reserve(self) -> bool:
        """Free what was kept; return whether there was any."""
        reserve, self._reserve = self._reserve, None
        if reserve is not None:
            reserve.close()
        return reserve is not None


def _reserve_room(path: Path) -> IO[bytes]:
    """Return a file without a name beside another; it is gone with this process whatever ends that."""
    reserve = tempfile.TemporaryFile(dir=path.parent, buffering=0)  # noqa: SIM115  open for as long as the audit is
    left = b"." * _RESERVE_BYTES
    try:
        while left:
            left = left[reserve.write(left) :]
    except OSError:
        reserve.close()
        raise
    return reserve
