"""The audit: one JSON line for every event that was injected or dropped, and the counts at the end.

A line has `t_planned_ns` and `t_sent_ns` on the executor's clock (monotonic; the first line ties it to UTC), what it
was, and for what was dropped the reason.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from vlm_agent.errors import DataError


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
        self._file = None
        if path is not None:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._file = path.open("x", encoding="utf-8", buffering=1)
            except OSError as error:
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
            self._write({"type": "end", "t_ns": time.perf_counter_ns(), **self.describe()})
            self._file.close()
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _write(self, line: dict[str, Any]) -> None:
        if self._file is None:
            return
        try:
            self._file.write(json.dumps(line, separators=(",", ":")) + "\n")
        except OSError as error:
            raise AuditFailedError(f"{self._file.name}: {error.strerror}") from error
