"""Ending well on Ctrl-C and on a polite kill: what runs for long asks whether it was told to stop."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from vlm_agent.errors import ENDING_SIGNALS


@contextmanager
def ask_for_signals() -> Iterator[Callable[[], bool]]:
    """Turn Ctrl-C, SIGTERM and SIGHUP into a question that can be asked while the block runs; for the main thread.

    A handler that did more than take a note would run between any two steps of what it is to end.
    """
    heard: list[int] = []
    handlers = {number: signal.getsignal(number) for number in ENDING_SIGNALS}
    before = {number: handler for number, handler in handlers.items() if handler is not signal.SIG_IGN}
    for number in before:
        signal.signal(number, lambda number, _: heard.append(number))
    try:
        yield lambda: bool(heard)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
