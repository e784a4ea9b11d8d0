r"""Text from files and people, made fit to be shown: what a terminal would act on is shown by its code, as `\x1b`.

Needs no library, so that even an error that ends the program at once is told by it.
"""

from __future__ import annotations

import sys
import unicodedata
from typing import Literal

Stream = Literal["out", "error"]
"""Where lines go: what was asked for, or what is told beside it."""

_JOINERS = "\u200c\u200d"
"""Formatting characters that letters of some scripts, and emoji, are put together with."""
_ACTED_ON = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
"""Unicode's control and formatting characters, halves of surrogate pairs, and separators of lines."""


def make_visible(text: str) -> str:
    r"""Return a text with line breaks kept, and all else that a terminal would act on as its code, such as `\x1b`."""
    return text if _is_plain(text) else "".join(char if char == "\n" else _show(char) for char in text)


def one_line(text: object) -> str:
    r"""Return a value's text as one line: as `make_visible` has it, line breaks as `\n`."""
    told = str(text)
    return told if _is_plain(told) and "\n" not in told else "".join(map(_show, told))


def say(*lines: object, stream: Stream = "out") -> None:
    """Write lines, each of them one line whatever it holds."""
    target = sys.stdout if stream == "out" else sys.stderr
    target.write("".join(f"{one_line(line)}\n" for line in lines))
    target.flush()


def _is_plain(text: str) -> bool:
    return text.isascii() and (text.isprintable() or text.replace("\n", "").isprintable())


def _show(char: str) -> str:
    if char == "\t":
        return " "
    if unicodedata.category(char) not in _ACTED_ON or char in _JOINERS:
        return char
    return char.encode("unicode_escape").decode("ascii")
