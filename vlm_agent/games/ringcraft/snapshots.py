"""Writing plain dataclasses as JSON values and back, and hashing them.

It serves any dataclass built of numbers, strings, None, lists, tuples and further dataclasses: the state of a game.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from vlm_agent.errors import DataError

T = TypeVar("T")


def encode_plain(value: Any) -> dict[str, Any]:
    """Return a dataclass as nested dictionaries and lists that `json.dumps` takes."""
    return asdict(value)


def decode_plain(kind: type[T], value: dict[str, Any]) -> T:
    """Rebuild a dataclass from `encode_plain`, or from that after a trip through JSON.

    Raises:
        DataError: a field is missing, unknown or of another shape.
    """
    try:
        return _decode(kind, value)  # type: ignore[no-any-return]
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise DataError(f"not a snapshot of {kind.__name__}: {error}") from error


def hash_plain(value: Any) -> str:
    """Return the SHA-256 of a dataclass's JSON form, as hexadecimal digits."""
    text = json.dumps(encode_plain(value), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def _field_types(kind: type) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind)}


def _decode(kind: Any, value: Any) -> Any:
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        if value is None and NoneType in args:
            return None
        return _decode(next(arg for arg in args if arg is not NoneType), value)
    if origin is list:
        return [_decode(args[0], item) for item in value]
    if origin is tuple:
        return tuple(_decode(arg, item) for arg, item in zip(args, value, strict=True))
    if origin is Literal:
        if value not in args:
            raise ValueError(f"expected one of {args}, got {value!r}")
        return value
    if is_dataclass(kind):
        types = _field_types(kind)  # type: ignore[arg-type]
        unknown = set(value) - set(types)
        if unknown:
            raise ValueError(f"unknown field {sorted(unknown)[0]}")
        return kind(**{name: _decode(types[name], item) for name, item in value.items()})  # type: ignore[operator]
    return _scalar(kind, value)


def _scalar(kind: Any, value: Any) -> Any:
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise TypeError(f"expected {kind.__name__}, got {value!r}")
    return value
