"""The exceptions a user may see, and the one place that turns them, and signals, into an exit code.

Every error of the user's making is a `VlmAgentError`: it prints as one line (what was expected, what came, where,
what to do) and ends the program with exit code 2. Ctrl-C and polite kills are one line too, with a shell's exit code.
Anything else is a fault of ours and keeps its traceback. This module knows nothing of the stages; it is the lowest
layer, and imports next to nothing: an entry point must be able to hear a signal before it imports libraries.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any, NoReturn

from vlm_agent.visible import say


class VlmAgentError(Exception):
    """Base of all errors that a user can mend; prints as one line, exit code 2."""


class ConfigError(VlmAgentError):
    """A setting is impossible; the message names the flag."""


class DataError(VlmAgentError):
    """A file or folder breaks its format; the message names the file."""


class LeftOutError(DataError):
    """One piece of a recording can't be used; it is counted under its reason and the rest goes on."""

    def __init__(self, reason: str, told: str = "") -> None:
        """Take the reason, a few words joined by `_`, and what else a person may want to know."""
        super().__init__(told or reason)
        self.reason = reason


class LabelError(VlmAgentError):
    """A label failed its checks after the retry."""


class ModelError(VlmAgentError):
    """A checkpoint or adapter can't be used as asked."""


class MissingExtraError(VlmAgentError):
    """An optional dependency is needed; the message names the extra."""


class Interrupted(KeyboardInterrupt):
    """A signal asked the program to end: Ctrl-C, a polite kill, a terminal that was closed."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


EXIT_USER_ERROR = 2
"""Exit code of a run that ended in a `VlmAgentError`."""
EXIT_SIGNAL = 128
"""What a shell adds to the number of a signal: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP."""
ENDING_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""What asks a program to end; Windows has no SIGHUP."""
_AGAIN_S = 1.0
"""A shell and a wrapper may both pass on one Ctrl-C; the second must not end the clearing up after the first."""


def run_program(main: Callable[[], None]) -> NoReturn:
    """Run `main` as the whole program and exit as `run_guarded` says; for entry points, before heavy imports."""
    ending = _Ending()
    code = _run(main, ending)
    ending.leave(code)
    sys.exit(code)


def run_guarded(main: Callable[[], None]) -> int:
    """Run `main` and return an exit code: 0, or 2 after printing a user's error as one line.

    A full disk is a user's matter too: `OSError` with `ENOSPC` or a missing/forbidden path ends the same way. A signal
    that asks to end raises `Interrupted` in `main`, which may clear up, and gives 128 and its number, after one line.
    """
    return _run(main, _Ending())


def _run(main: Callable[[], None], ending: _Ending) -> int:
    code = 0
    with ending:
        try:
            main()
        except VlmAgentError as error:
            code = ending.report(" ".join(str(error).split()))
        except OSError as error:
            code = ending.report(_describe_os_error(error))
        except KeyboardInterrupt:
            ending.number = ending.number or signal.SIGINT
        except BaseException:
            # A library that was interrupted in the middle of something may say so in its own way.
            if ending.number is None:
                raise
    if ending.number is None:
        return code
    is_ours = ending.number == signal.SIGINT
    _write("stopped by the user" if is_ours else f"stopped by {signal.Signals(ending.number).name}")
    return EXIT_SIGNAL + ending.number


class _Ending:
    """Hears the signals that ask the program to end, while it is entered; only a main thread can."""

    def __init__(self) -> None:
        self.number: int | None = None
        """The first that was heard."""
        self._heard_s = -_AGAIN_S
        self._before: dict[int, Any] = {}
        self._hook = sys.unraisablehook

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in ENDING_SIGNALS:
                # What is ignored from the start (nohup, a job in the background) stays so.
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._hear)
        self._hook, sys.unraisablehook = sys.unraisablehook, self._hear_unraisable

    def __exit__(self, *_: object) -> None:
        sys.unraisablehook = self._hook
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def report(self, line: str) -> int:
        """Print a user's error, unless it only came of the interruption; return the exit code."""
        if self.number is None:
            _write(f"error: {line}")
        return EXIT_USER_ERROR

    def leave(self, code: int) -> None:
        """Let signals end the program at once: nothing is left to clear up, and libraries are being taken down."""
        with suppress(OSError, ValueError):
            sys.stdout.flush()
        for number in self._before:
            signal.signal(number, lambda *_: os._exit(code))
            # Python's last step is to give back its handlers, and a signal after that would kill without a word.
            atexit.register(signal.signal, number, signal.SIG_IGN)

    def _hear(self, number: int, _: FrameType | None) -> None:
        now_s = time.monotonic()
        if now_s - self._heard_s < _AGAIN_S:
            return
        self._heard_s = now_s
        self.number = self.number or number
        raise Interrupted(number)

    def _hear_unraisable(self, unraisable: Any) -> None:
        """Raise an interruption again that came in a destructor, where Python would print it and go on."""
        if not isinstance(unraisable.exc_value, Interrupted):
            self._hook(unraisable)
            return
        self._heard_s = -_AGAIN_S
        again = threading.Timer(0.05, os.kill, (os.getpid(), unraisable.exc_value.number))
        again.daemon = True
        again.start()


def _write(line: str) -> None:
    with suppress(OSError, ValueError):  # a terminal that was closed
        say(line, stream="error")


def _describe_os_error(error: OSError) -> str:
    where = f" ({error.filename})" if error.filename else ""
    return f"{error.strerror or error}{where}"
