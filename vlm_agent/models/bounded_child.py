"""Work on what strangers wrote that may never end, such as regular expressions: done in a process with limits.

Python can't stop such work where it runs. The program that is run is a file beside this one; it gets JSON and answers
JSON, and imports nothing of this package.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

CPU_S = 5
"""Time that the work may take, where the system counts it; what is honest takes some thousandths."""
WALL_S = 30.0
"""The same on the clock, however busy the machine is."""
MEMORY_BYTES = 1 << 30
"""What the process may take."""


class LimitError(Exception):
    """The work took too long, too much memory, or answered too much."""


def run_bounded(program: Path, asked: Any) -> Any:
    """Return what a program answers.

    Args:
        program: a Python file; reads JSON from its input, calls nothing of ours.
        asked: plain JSON data.

    Raises:
        LimitError: it broke a limit.
    """
    command = [sys.executable, "-I", str(program), str(CPU_S), str(MEMORY_BYTES)]
    try:
        done = subprocess.run(
            command, input=json.dumps(asked).encode(), capture_output=True, timeout=WALL_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise LimitError(f"takes longer than {WALL_S:.0f} s") from error
    if done.returncode != 0:
        raise LimitError(f"takes longer than {CPU_S} s, or more than {MEMORY_BYTES >> 20} MB of memory")
    return json.loads(done.stdout)
