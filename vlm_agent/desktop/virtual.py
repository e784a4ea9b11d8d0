"""A screen of our own where this machine has none, or where nothing may be disturbed: Xvfb."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from vlm_agent.errors import ConfigError

_ENDS_WITHIN_S = 10.0


def find_virtual_screen() -> str | None:
    """Return the path of Xvfb; None where it is not installed."""
    return shutil.which("Xvfb")


def require_virtual_screen() -> str:
    """Return the path of Xvfb.

    Raises:
        ConfigError: it is not installed.
    """
    program = find_virtual_screen()
    if program is None:
        raise ConfigError("expected Xvfb for a screen of our own, found none; Debian: apt-get install xvfb")
    return program


@contextmanager
def open_virtual_screen(
    width_px: int = 1280, height_px: int = 800, *, depth: int = 24, num_screens: int = 1, comes_first: bool = False
) -> Iterator[str]:
    """Run an X server without a monitor, with XTEST and RECORD; yield the name of its display.

    Args:
        width_px: width of the screen.
        height_px: height of the screen.
        depth: bits of a pixel's color.
        num_screens: how many screens it has, all alike.
        comes_first: let it run before ordinary processes, where the system allows that: a server that waits for a busy
            machine's other work would be measured in place of what is meant.

    Raises:
        ConfigError: Xvfb is not installed, or can't begin.
    """
    program = require_virtual_screen()
    reader, writer = os.pipe()
    size = f"{width_px}x{height_px}x{depth}"
    screens = [word for number in range(num_screens) for word in ("-screen", str(number), size)]
    rest = ["-nolisten", "tcp", "-noreset", "-displayfd", str(writer)]
    server = subprocess.Popen(
        [program, *screens, *rest, "+extension", "XTEST", "+extension", "RECORD"],
        pass_fds=[writer],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(writer)
    if comes_first:
        with suppress(OSError, AttributeError):
            os.sched_setscheduler(server.pid, os.SCHED_RR, os.sched_param(1))
    try:
        with os.fdopen(reader) as numbers:
            number = numbers.readline().strip()
        if not number:
            raise ConfigError("Xvfb can't begin; run it by hand to see why: Xvfb :99 -screen 0 1280x800x24")
        yield f":{number}"
    finally:
        server.terminate()
        try:
            server.wait(_ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
