"""`metrics.jsonl`: one line per optimizer step and per evaluation, only ever appended to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vlm_agent.training.files import write_text

METRICS_FILE = "metrics.jsonl"


class MetricsLog:
    """Appends measurements of a run, and forgets those after a step when the run goes back to it."""

    def __init__(self, path: Path) -> None:
        """Take the file; it is made with the first line."""
        self._path = path

    def append(self, **values: Any) -> None:
        """Write one line; it has reached the file when this returns."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")

    def read(self) -> list[dict[str, Any]]:
        """Return all complete lines; a kill may have cut the last one off."""
        if not self._path.exists():
            return []
        lines = self._path.read_text(encoding="utf-8").split("\n")
        return [json.loads(line) for line in lines[:-1]]

    def rewind(self, step: int) -> None:
        """Drop every line after `step`: a resumed run writes them again."""
        kept = [line for line in self.read() if line["step"] <= step]
        write_text(self._path, "".join(json.dumps(line) + "\n" for line in kept))
