"""How long `stop` takes until the key is really up at the X server: quiet, flooded, and with seats taken by strangers.

    python -m tests.attacks.stop_latency [--tries 20]

Run by hand; not collected by pytest. Each try starts nothing anew: the agent holds `w`, another connection says stop,
the server is asked until the key is up, and the agent is resumed. `command` is the whole `vlm-agent stop` as a person
calls it, Python's start included.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.executors.acting import TITLE, live, play_live, wait_for
from tests.x_server import ListeningWindow
from vlm_agent.actions.types import Key
from vlm_agent.desktop.virtual import open_virtual_screen
from vlm_agent.desktop.x11 import connect
from vlm_agent.executors.client import ExecutorClient, ExecutorConnection, ExecutorLostError
from vlm_agent.executors.devices import Control
from vlm_agent.executors.endpoints import OWN_FOLDER
from vlm_agent.executors.leases import LeaseTerms
from vlm_agent.executors.stopping import ask_all
from vlm_agent.executors.xtest import XTestDevice

_HOLD = LeaseTerms(lease_ms=4000)


@contextlib.contextmanager
def beside(work: Callable[[], None], number: int, is_over: threading.Event) -> Iterator[None]:
    """Have a number of threads work until `is_over` is set at the end."""
    threads = [threading.Thread(target=work, daemon=True) for _ in range(number)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        is_over.set()
        for thread in threads:
            thread.join(5)


@contextlib.contextmanager
def flooders(client: ExecutorClient, number: int) -> Iterator[None]:
    """Let connections ask for the status without a pause."""
    is_over = threading.Event()

    def flood() -> None:
        while not is_over.is_set():
            with contextlib.suppress(ExecutorLostError):
                connection = ExecutorConnection(client.endpoint)
                while not is_over.is_set():
                    connection.ask("status")

    with beside(flood, number, is_over):
        yield


@contextlib.contextmanager
def strangers(client: ExecutorClient, number: int) -> Iterator[None]:
    """Keep up a number of connections that say nothing, whoever hangs them up."""
    is_over = threading.Event()

    def sit() -> None:
        while not is_over.is_set():
            with contextlib.suppress(OSError), client.endpoint.connect() as peer:
                peer.settimeout(0.1)
                while not is_over.is_set():
                    with contextlib.suppress(TimeoutError):
                        if not peer.recv(1):
                            break

    with beside(sit, number, is_over):
        time.sleep(0.3)
        yield


def say_stop(client: ExecutorClient) -> None:
    """Connect as anybody would, and say stop."""
    for _ in range(10):
        with contextlib.suppress(ExecutorLostError):
            connection = ExecutorConnection(client.endpoint)
            assert connection.ask("stop")["ok"]
            connection.close()
            return
    raise AssertionError("nobody answered")


def call_stop(_: ExecutorClient) -> None:
    """Call the command."""
    subprocess.run([sys.executable, "-m", "vlm_agent.cli", "stop"], check=True, stdout=subprocess.DEVNULL)


def measure_ms(client: ExecutorClient, device: XTestDevice, stop: Callable[[ExecutorClient], None]) -> float:
    """Return the time from saying stop until the key is up, ms."""
    key = Control("key", "w")
    until = time.monotonic() + 10
    while not play_live(client, Key(0, "w", "down"))["ok"]:
        assert time.monotonic() < until, client.connection.ask("status")
        time.sleep(0.05)
    wait_for(lambda: device.is_down(key))
    time.sleep(0.1)
    began = time.perf_counter()
    stopper = threading.Thread(target=stop, args=(client,))
    stopper.start()
    while device.is_down(key):
        pass
    took_ms = (time.perf_counter() - began) * 1000
    stopper.join()
    assert client.connection.ask("status")["reason"] == "command"
    assert [answer["ok"] for _, answer in ask_all("resume").answers] == [True]
    return took_ms


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tries", type=int, default=20)
    tries = parser.parse_args().tries
    rows: list[tuple[str, list[float]]] = []
    with tempfile.TemporaryDirectory(prefix="va-") as folder, open_virtual_screen(comes_first=True) as name:
        os.environ |= {"DISPLAY": name, OWN_FOLDER: folder}
        with ListeningWindow(name, TITLE), live(Path(folder) / "run", leases=_HOLD, person_stops=False) as client:
            device = XTestDevice(display=connect(name))
            cases: list[tuple[str, contextlib.AbstractContextManager[None], Callable[[ExecutorClient], None], int]] = [
                ("quiet", contextlib.nullcontext(), say_stop, tries),
                ("1 flooder", flooders(client, 1), say_stop, tries),
                ("10 flooders", flooders(client, 10), say_stop, tries),
                ("20 idle strangers", strangers(client, 20), say_stop, tries),
                ("command, quiet", contextlib.nullcontext(), call_stop, max(tries // 4, 1)),
            ]
            for case, around, stop, number in cases:
                with around:
                    rows.append((case, [measure_ms(client, device, stop) for _ in range(number)]))
    table = Table("case", "tries", "p50 ms", "p95 ms", "max ms", title="from stop until the key is up at the X server")
    for case, times in rows:
        p95 = statistics.quantiles(times, n=20, method="inclusive")[-1] if len(times) > 1 else times[0]
        table.add_row(case, str(len(times)), *(f"{ms:.1f}" for ms in (statistics.median(times), p95, max(times))))
    Console().print(table)


if __name__ == "__main__":
    main()
