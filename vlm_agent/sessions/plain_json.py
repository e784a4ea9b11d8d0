"""JSON that others wrote, as data that can be written again: bounded, finite, and of whole characters.

Python reads more than JSON is: NaN, 1e999 as infinity, half of a surrogate pair, integers that no float holds. With any
of these a session could not be written, or not be read by other programs, so they end here.
"""

from __future__ import annotations

import json
import math
import sys
from typing import Any

from vlm_agent.errors import LeftOutError

MAX_JSON_BYTES = 8 << 20
"""Of one JSON file: a game state, a frame's label. States of RuneLite's exporters have some tens of kilobytes."""
MAX_JSON_DEPTH = 64
"""Objects and lists inside each other; exports have about six."""


def parse_json(data: bytes) -> tuple[Any, int]:
    """Return a JSON value with null for every number that isn't finite, and how many there were.

    Raises:
        LeftOutError: It is no JSON, too large or too deep, or holds text that can't be written again.
    """
    if len(data) > MAX_JSON_BYTES:
        raise LeftOutError("is_too_large", f"more than {MAX_JSON_BYTES} bytes of JSON")
    try:
        # Decoded here: `json.loads` would let half characters pass that were written as bytes.
        text = data.decode(json.detect_encoding(data))
        value = json.loads(text)
    except UnicodeDecodeError as error:
        raise LeftOutError("is_not_json", f"not JSON: no UTF-8 text ({error.reason} at byte {error.start})") from error
    except RecursionError as error:
        raise LeftOutError("is_too_deep", f"JSON deeper than {MAX_JSON_DEPTH} levels") from error
    except ValueError as error:
        raise LeftOutError("is_not_json", f"not JSON: {error}") from error
    checked = check_json(value)
    if "\\u" in text:
        check_text(value)
    return checked


def check_json(value: Any) -> tuple[Any, int]:
    """Return a parsed value with null for every number that isn't finite, changed in place, and how many there were.

    Raises:
        LeftOutError: It is deeper than it may be.
    """
    if _is_too_large(value):
        return None, 1
    not_finite, level = 0, [value]
    for _ in range(MAX_JSON_DEPTH):
        below: list[Any] = []
        for container in level:
            not_finite += _drop_not_finite(container, below)
        if not below:
            return value, not_finite
        level = below
    raise LeftOutError("is_too_deep", f"JSON deeper than {MAX_JSON_DEPTH} levels")


def check_text(value: Any) -> None:
    """Check that the texts of a JSON value, names of fields included, can be written.

    Raises:
        LeftOutError: One holds half of a surrogate pair: a character that was cut in two.
    """
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise LeftOutError("has_half_a_character", "a text that was cut inside a character") from error


def mend_text(text: str) -> str:
    """Return a text that can be written: what is half a character, or a byte that is none, becomes U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _is_too_large(value: Any) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    # What no float holds is infinite to every other reader of JSON.
    return isinstance(value, int) and abs(value) > sys.float_info.max


def _drop_not_finite(container: Any, below: list[Any]) -> int:
    if not isinstance(container, dict | list):
        return 0
    count = 0
    for key, item in list(container.items() if isinstance(container, dict) else enumerate(container)):
        if isinstance(item, dict | list):
            below.append(item)
        elif _is_too_large(item):
            container[key] = None
            count += 1
    return count
