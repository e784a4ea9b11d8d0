"""The exceptions a user may see, and the one place that turns them into an exit code.

Every error of the user's making is a `VlmAgentError`: it prints as one line (what was expected, what came, where,
what to do) and ends the program with exit code 2. Anything else is a fault of ours and keeps its traceback.
This module knows nothing of the stages; it is the lowest layer.
"""

from __future__ import annotations

import sys
from collections.abc import Callable


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


EXIT_USER_ERROR = 2
"""Exit code of a run that ended in a `VlmAgentError`."""


def run_guarded(main: Callable[[], None]) -> int:
    """Run `main` and return an exit code: 0, or 2 after printing a user's error as one line.

    A full disk is a user's matter too: `OSError` with `ENOSPC` or a missing/forbidden path ends the same way.
    """
    try:
        main()
    except VlmAgentError as error:
        return _report(" ".join(str(error).split()))
    except OSError as error:
        return _report(_describe_os_error(error))
    except KeyboardInterrupt:
        return _report("stopped by the user")
    return 0


def _report(line: str) -> int:
    sys.stderr.write(f"error: {line}\n")
    return EXIT_USER_ERROR


def _describe_os_error(error: OSError) -> str:
    where = f" ({error.filename})" if error.filename else ""
    return f"{error.strerror or error}{where}"
