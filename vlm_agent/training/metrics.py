"""`metrics.jsonl`: one line per optimizer step and per evaluation, only ever appended to."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlm_agent.errors import DataError
from vlm_agent.files import write_text

METRICS_FILE = "metrics.jsonl"


@dataclass(frozen=True)
class Losses:
    """What a run wrote down while it was trained, nats per target token."""

    train: tuple[tuple[int, float], ...] = ()
    """Step and loss on the windows of that step."""
    validation: tuple[tuple[int, float], ...] = ()
    """Step and loss on the validation sessions; step 0 is the base."""


def read_losses(run: Path) -> Losses:
    """Return the losses of a run; there are none where its folder keeps no measurements.

    Raises:
        DataError: the measurements can't be read.
    """
    path = run / METRICS_FILE
    lines = MetricsLog(path).read()
    try:
        return Losses(
            train=tuple((int(line["step"]), float(line["loss"])) for line in lines if "loss" in line),
            validation=tuple((int(line["step"]), float(line["eval_loss"])) for line in lines if "eval_loss" in line),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not the measurements of a run ({error})") from error


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
        """Return all complete lines; a kill may have cut the last one off.

        Raises:
            DataError: a complete line can't be read.
        """
        if not self._path.exists():
            return []
        lines = self._path.read_text(encoding="utf-8").split("\n")
        try:
            return [json.loads(line) for line in lines[:-1]]
        except ValueError as error:
            raise DataError(f"{self._path}: not the measurements of a run ({error})") from error

    def rewind(self, step: int) -> None:
        """Drop every line after `step`: a resumed run writes them again."""
        kept = [line for line in self.read() if line["step"] <= step]
        write_text(self._path, "".join(json.dumps(line) + "\n" for line in kept))
