"""Numbers that are none: kept out of the files that an evaluation writes, and told from those it reads in one line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from math import isfinite
from pathlib import Path
from typing import Any, NoReturn

from vlm_agent.errors import DataError


def dump_finite(path: Path, value: Any) -> str:
    """Return plain data as JSON text for a file.

    Raises:
        DataError: a number in it is NaN or infinite, which JSON does not know; the message says where it stands.
    """
    odd = next(_list_odd(value, ""), None)
    if odd is not None:
        place, number = odd
        raise DataError(
            f"{path}: not written, for {place} is {number} and not a finite number; a model, recording or file that it "
            "was computed from holds such a number: look there, then run it again"
        )
    return json.dumps(value, indent=2, allow_nan=False) + "\n"


def load_finite(text: str | bytes) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: it is no JSON, or holds a number that is NaN or infinite.
    """
    try:
        return json.loads(text, parse_constant=_refuse, parse_float=_read_float)
    except RecursionError as error:
        raise ValueError("lists and objects too deep in each other") from error


def _list_odd(value: Any, place: str) -> Iterator[tuple[str, float]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _list_odd(inner, f"{place}.{key}" if place else str(key))
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from _list_odd(inner, f"{place}[{number}]")
    elif isinstance(value, float) and not isfinite(value):
        yield place or "it", value


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a finite number")


def _read_float(text: str) -> float:
    value = float(text)
    # 1e999 has the form of a number and is infinite.
    return value if isfinite(value) else _refuse(text)
