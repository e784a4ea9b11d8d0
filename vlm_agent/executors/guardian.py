"""A small process that outlives the executor, and lets go of what it held if it was killed or frozen.

The executor says on the guardian's standard input what it is about to press, before it presses it, and what it has
released: lines of `+key w 25`, `-button left`, and `bye`. A key is released by that code, whatever the layout is by
then. What is in the pipe survives who wrote it. When it ends, or goodbye is said, everything that is still down is
released; twice, since the server may still hold a press of the dead one's. An executor that lost its display says
goodbye and has let go of nothing.

While something is down the executor gives signs of life (`.`), and tells when it holds the desktop still (`(` and `)`).
Where they stay away, and where anything is down for longer than it may be, the guardian lets go and says so on its
standard output before it does. One that froze while it held the desktop still is cut off from it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import IO, cast

from vlm_agent.errors import ConfigError, run_guarded
from vlm_agent.executors.devices import Control, DeviceLostError, GuardianLostError, InjectionDevice, Kind
from vlm_agent.executors.leases import LeaseTerms
from vlm_agent.executors.opening import open_last_hand

_READY = "ready"
_READY_S = 10.0
_AGAIN_S = 0.1
_SLACK_S = 0.2
"""How much later than the executor itself the guardian lets go: a busy machine is no frozen one."""
_HOLD_S = 0.5
"""A desktop is held still for a millisecond; whoever holds it for so long is frozen."""


class Guardian:
    """The executor's end of the pipe."""

    def __init__(self, terms: LeaseTerms | None = None) -> None:
        """Start the process, and wait until it could release something.

        Args:
            terms: how long something may be down.

        Raises:
            ConfigError: it does not start.
        """
        terms = terms or LeaseTerms()
        self._lock = threading.Lock()
        self._heard = b""
        self._was_late = False
        self._process = subprocess.Popen(
            [sys.executable, "-m", "vlm_agent.executors.guardian", str(terms.lease_ms), str(terms.most_ms)],
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
        if os.name == "posix":
            os.set_blocking(self._stdout.fileno(), False)

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def warn(self, control: Control, is_down: bool) -> None:
        """Say that something is about to be pressed, or was released.

        Raises:
            GuardianLostError: nobody listens.
        """
        code = "" if control.code is None else f" {control.code}"
        self._say(f"{'+' if is_down else '-'}{control}{code}")

    def name_client(self, resource_id: int) -> None:
        """Say by what the executor's connection to the desktop can be cut."""
        self._say(f"client {resource_id}")

    def tell_hold(self, is_held: bool) -> None:
        """Say that the desktop is about to be held still, or is no more."""
        self._say("(" if is_held else ")")

    def pulse(self) -> bool:
        """Give a sign of life; return whether the guardian let go of anything since it was last asked."""
        self._say(".")
        self.read_released()
        with self._lock:
            was_late, self._was_late = self._was_late, False
        return was_late

    def read_released(self) -> list[Control]:
        """Return what the guardian has let go of since this was last asked; on Windows nothing is told."""
        if os.name != "posix":
            return []
        with self._lock:
            with contextlib.suppress(BlockingIOError, ValueError):
                while data := os.read(self._stdout.fileno(), 4096):
                    self._heard += data
            *lines, self._heard = self._heard.split(b"\n")
            self._was_late |= bool(lines)
            return [control for line in lines if (control := _read_control(line.decode())) is not None]

    def close(self) -> None:
        """Say goodbye: what was not released by now, the guardian lets go of; harmless the second time."""
        with contextlib.suppress(OSError, ValueError):
            self._stdin.write("bye\n")
            self._stdin.close()
        self._process.wait(_READY_S)
        self._stdout.close()

    def _say(self, line: str) -> None:
        try:
            self._stdin.write(f"{line}\n")
        except (OSError, ValueError) as error:
            raise GuardianLostError("the guardian process is gone") from error

    @property
    def _stdin(self) -> IO[str]:
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def _stdout(self) -> IO[str]:
        assert self._process.stdout is not None
        return self._process.stdout

    def _read_ready(self) -> str:
        timer = threading.Timer(_READY_S, self._process.kill)
        timer.start()
        try:
            return self._stdout.readline().strip()
        finally:
            timer.cancel()


@dataclass
class Watchkeeper:
    """What is down, and since when; all that the guardian knows."""

    terms: LeaseTerms
    """How long something may be down."""
    is_over: bool = False
    """Whether goodbye was said."""
    client: int | None = None
    """By what the executor's connection can be cut."""
    _down: dict[Control, float] = field(default_factory=dict)
    _heard_s: float = 0.0
    _is_holding: bool = False

    @property
    def down(self) -> list[Control]:
        """All that is down, in the order in which it was pressed."""
        return list(self._down)

    @property
    def next_s(self) -> float | None:
        """When to look again if nothing is heard; None for never."""
        times = [self._find_end(pressed_s) for pressed_s in self._down.values()]
        return min([*times, *([self._heard_s + _HOLD_S] if self._is_holding else [])], default=None)

    def hear(self, line: str, now_s: float) -> None:
        """Take a line of the executor's; one that was cut off says nothing."""
        word = line.strip()
        self._heard_s = now_s
        if word == "bye":
            self.is_over = True
        elif word in ("(", ")"):
            self._is_holding = word == "("
        elif word.startswith("client "):
            self.client = int(word.removeprefix("client "))
        control = _read_control(word[1:])
        if control is None:
            return
        if word[0] == "+":
            self._down[control] = now_s
        else:
            self._down.pop(control, None)

    def take_overdue(self, now_s: float) -> list[Control]:
        """Return what has to be let go of now, and take it for released."""
        overdue = [control for control, pressed_s in self._down.items() if self._find_end(pressed_s) <= now_s]
        for control in overdue:
            del self._down[control]
        return overdue

    def is_stuck(self, now_s: float) -> bool:
        """Return whether the executor froze while it held the desktop still."""
        return self._is_holding and self._heard_s + _HOLD_S <= now_s

    def cut(self) -> list[Control]:
        """Return all that is down, taken for released; the desktop is not held any more."""
        down = self.down
        self._down.clear()
        self._is_holding = False
        return down

    def _find_end(self, pressed_s: float) -> float:
        return min(pressed_s + self.terms.most_ms / 1000, self._heard_s + self.terms.lease_ms / 1000) + _SLACK_S


def release_all(device: InjectionDevice, down: list[Control]) -> None:
    """Let go of everything, and once more a moment later."""
    for pause_s in (0.0, _AGAIN_S):
        time.sleep(pause_s)
        _release(device, down)


def main() -> None:
    """Be a guardian."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    keeper = Watchkeeper(LeaseTerms(*map(int, sys.argv[1:])))
    device, cut_off = open_last_hand()
    lines: SimpleQueue[str | None] = SimpleQueue()
    threading.Thread(target=_read_lines, args=(lines,), daemon=True).start()
    _tell(_READY)
    with contextlib.suppress(DeviceLostError):
        while _hear(keeper, lines):
            now_s = time.monotonic()
            overdue = keeper.take_overdue(now_s)
            if keeper.is_stuck(now_s) and keeper.client is not None:
                cut_off(keeper.client)
                overdue += keeper.cut()
            for control in overdue:
                # Said first: whoever hears the release can know whose it is.
                _tell(f"{control} {control.code}")
            _release(device, overdue)
        release_all(device, keeper.down)
    device.close()


def _hear(keeper: Watchkeeper, lines: SimpleQueue[str | None]) -> bool:
    """Take the next line, or wait until it is time to look; return whether there will be more."""
    next_s = keeper.next_s
    try:
        line = lines.get(timeout=None if next_s is None else max(next_s - time.monotonic(), 0.0))
    except Empty:
        return True
    if line is not None:
        keeper.hear(line, time.monotonic())
    return line is not None and not keeper.is_over


def _read_lines(lines: SimpleQueue[str | None]) -> None:
    for line in sys.stdin:
        lines.put(line)
    lines.put(None)


def _release(device: InjectionDevice, down: list[Control]) -> None:
    for control in down:
        with contextlib.suppress(ConfigError):
            device.release(control)


def _read_control(text: str) -> Control | None:
    kind, name, code = (*text.strip().split(" "), "", "")[:3]
    if kind not in ("key", "button") or not name:
        return None
    return Control(cast(Kind, kind), name, int(code) if code.isdigit() else None)


def _tell(line: str) -> None:
    with contextlib.suppress(OSError):  # nobody may be left to read it
        os.write(sys.stdout.fileno(), f"{line}\n".encode())


if __name__ == "__main__":
    sys.exit(run_guarded(main))
