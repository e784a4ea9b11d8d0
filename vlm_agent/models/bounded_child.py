"""Work on what strangers wrote that may never end, such as regular expressions: done in a process with limits.

Python can't stop such work where it runs. The program that is run is a file beside this one; it gets JSON and answers
JSON, and imports nothing of this package.
"""

from __future__ import annotations

import json
import os
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
    """The work took too long or too much memory, or could not be done at all."""


def run_bounded(program: Path, asked: Any) -> Any:
    """Return what a program answers.

    Args:
        program: a Python file; reads JSON from its input, calls nothing of ours.
        asked: plain JSON data.

    Raises:
        LimitError: it broke a limit, or the program failed; the message says which.
    """
    command = [sys.executable, "-P", str(program), str(CPU_S), str(MEMORY_BYTES)]
    # It finds its libraries where this process found them, wherever they were installed.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    given = json.dumps(asked).encode()
    try:
        done = subprocess.run(command, input=given, env=environment, capture_output=True, timeout=WALL_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise LimitError(f"takes longer than {WALL_S:.0f} s") from error
    said = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
    if done.returncode > 0 and "MemoryError" not in said:
        raise LimitError(f"can't be tried ({said})")
    if done.returncode != 0:
        raise LimitError(f"takes longer than {CPU_S} s, or more than {MEMORY_BYTES >> 20} MB of memory")
    return json.loads(done.stdout)
