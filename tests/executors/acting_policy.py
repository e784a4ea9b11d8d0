"""A policy's process: starts a live executor, sends one chunk again and again, tells both process ids."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from tests.executors.acting import live

if __name__ == "__main__":
    with live(Path(sys.argv[1])) as client:
        client.send_chunk(1, time.perf_counter_ns() + 20_000_000, (400, 300), sys.argv[2])
        sys.stdout.write(f"{client.pid}\n")
        sys.stdout.flush()
        while True:
            time.sleep(0.1)
            client.send_chunk(2, time.perf_counter_ns(), (400, 300), '{"actions":[]}')
