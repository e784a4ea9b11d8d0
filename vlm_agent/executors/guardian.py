"""A small process that outlives the executor, and lets go of what it held if it was killed.

The executor says on the guardian's standard input what it is about to press, before it presses it, and what it has
released: lines of `+key w 25`, `-button left`, and `bye`. A key is released by that code, whatever the layout is by
then. What is in the pipe survives who wrote it. When it ends without a goodbye, everything that is still down is
released; twice, since the server may still hold a press of the dead one's.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from typing import IO, cast

from vlm_agent.errors import ConfigError, run_guarded
from vlm_agent.executors.devices import Control, DeviceLostError, GuardianLostError, InjectionDevice, Kind
from vlm_agent.executors.opening import open_device

_READY = "ready"
_READY_S = 10.0
_AGAIN_S = 0.1


class Guardian:
    """The executor's end of the pipe."""

    def __init__(self) -> None:
        """Start the process, and wait until it could release something.

        Raises:
            ConfigError: it does not start.
        """
        self._process = subprocess.Popen(
            [sys.executable, "-m", "vlm_agent.executors.guardian"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            start_new_session=True,  # what kills the executor's group must not reach it
        )
        if self._read_ready() != _READY:
            self._process.kill()
            self._process.wait()
            raise ConfigError("the guardian process did not start, so nothing is used live")

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def warn(self, control: Control, is_down: bool) -> None:
        """Say that something is about to be pressed, or was released.

        Raises:
            GuardianLostError: nobody listens.
        """
        try:
            code = "" if control.code is None else f" {control.code}"
            self._stdin.write(f"{'+' if is_down else '-'}{control}{code}\n")
        except (OSError, ValueError) as error:
            raise GuardianLostError("the guardian process is gone") from error

    def close(self) -> None:
        """Say goodbye, after everything was released; harmless the second time."""
        with contextlib.suppress(OSError, ValueError):
            self._stdin.write("bye\n")
            self._stdin.close()
        self._process.wait(_READY_S)
        if self._process.stdout is not None:
            self._process.stdout.close()

    @property
    def _stdin(self) -> IO[str]:
        assert self._process.stdin is not None
        return self._process.stdin

    def _read_ready(self) -> str:
        assert self._process.stdout is not None
        timer = threading.Timer(_READY_S, self._process.kill)
        timer.start()
        try:
            return self._process.stdout.readline().strip()
        finally:
            timer.cancel()


def follow(lines: Iterable[str]) -> list[Control]:
    """Return what is down when the lines end; nothing after a goodbye."""
    down: dict[Control, None] = {}
    for line in lines:
        word = line.strip()
        if word == "bye":
            return []
        kind, name, code = (*word[1:].split(" "), "", "")[:3]
        if kind not in ("key", "button"):
            continue  # cut off in the middle
        control = Control(cast(Kind, kind), name, int(code) if code.isdigit() else None)
        if word[0] == "+":
            down[control] = None
        else:
            down.pop(control, None)
    return list(down)


def release_all(device: InjectionDevice, down: list[Control]) -> None:
    """Let go of everything, and once more a moment later."""
    for pause_s in (0.0, _AGAIN_S):
        time.sleep(pause_s)
        for control in down:
            with contextlib.suppress(ConfigError):
                device.release(control)


def main() -> None:
    """Be a guardian."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    device = open_device()
    os.write(sys.stdout.fileno(), f"{_READY}\n".encode())
    with contextlib.suppress(DeviceLostError):
        release_all(device, follow(sys.stdin))
    device.close()


if __name__ == "__main__":
    sys.exit(run_guarded(main))
