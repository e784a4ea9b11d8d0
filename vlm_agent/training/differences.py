"""In which entries two settings differ, for messages that name them."""

from __future__ import annotations

from typing import Any


def find_differences(left: Any, right: Any, name: str = "") -> list[str]:
    """Return the dotted names of all entries that are not equal in two plain-data trees; `name` stands before them."""
    if isinstance(left, dict) and isinstance(right, dict):
        keys = sorted(left.keys() | right.keys())
        return [
            found
            for key in keys
            for found in find_differences(left.get(key), right.get(key), f"{name}.{key}".lstrip("."))
        ]
    return [] if left == right else [name]
