"""What is said to an executor: newline-separated JSON objects, bounded in size, closed in form.

`hello` comes first and brings the token of the executor's endpoint file. Then `chunk`, `heartbeat`, `stop`, `status`
and `resume`; each has one answer, in order. What a model wrote is in `chunk` as one string, and is read by the codec
and nothing else.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NoReturn

from vlm_agent.errors import VlmAgentError

MAX_LINE_BYTES = 16_384
"""Longest request, its newline included."""
MAX_NUMBER = 2**63 - 1
"""Times are nanoseconds since the machine was started."""


class Refused(StrEnum):
    """Why a request was not taken; the list is closed."""

    TOO_LONG = "too_long"
    NOT_JSON = "not_json"
    WRONG_FORM = "wrong_form"
    UNKNOWN_TYPE = "unknown_type"
    NO_HELLO = "no_hello"
    BAD_TOKEN = "bad_token"
    TOO_FAST = "too_fast"
    NOT_DRIVER = "not_driver"
    IS_DRIVER = "is_driver"
    BAD_CHUNK = "bad_chunk"
    BAD_START = "bad_start"
    RESERVED_KEY = "reserved_key"
    WAITING = "waiting"
    PAUSED = "paused"
    STOPPED = "stopped"


class RequestRefusedError(VlmAgentError):
    """A request that is not taken."""

    def __init__(self, reason: Refused, detail: str = "") -> None:
        """Take the reason, and a detail for a person."""
        super().__init__(f"{reason}: {detail}" if detail else str(reason))
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Hello:
    """The first request of a connection."""

    token: str
    """Out of the endpoint file, which only this user can read."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Play this."""

    number: int
    """The sender's own count; comes back in the answer."""
    start_ns: int
    """Time from which the actions count, on the monotonic clock: when the frame was captured."""
    window: tuple[int, int]
    """Size of the window's client area when the frame was captured, pixels."""
    text: str
    """An action chunk in frame pixels, as the JSON codec writes it."""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The policy is alive."""


@dataclass(frozen=True, slots=True)
class StopRequest:
    """Throw the kill switch."""


@dataclass(frozen=True, slots=True)
class Status:
    """Say how things stand."""

    events: bool = False
    """Whether to tell the events sent since this was last asked."""


@dataclass(frozen=True, slots=True)
class Resume:
    """Go on after a pause or a stop; not for the one who plays to ask."""


Request = Hello | Chunk | Heartbeat | StopRequest | Status | Resume

_PLAIN: dict[str, Request] = {"heartbeat": Heartbeat(), "stop": StopRequest(), "resume": Resume()}


def read_request(line: bytes) -> Request:
    """Return what a line asks for.

    Raises:
        RequestRefusedError: it is too long, no JSON, or not one of the known forms exactly.
    """
    if len(line) > MAX_LINE_BYTES:
        raise RequestRefusedError(Refused.TOO_LONG, f"at most {MAX_LINE_BYTES} bytes")
    try:
        value = json.loads(line.decode("utf-8"), parse_constant=_refuse_constant, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise RequestRefusedError(Refused.NOT_JSON) from error
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        raise RequestRefusedError(Refused.WRONG_FORM, "expected an object with a type")
    fields = {name: field for name, field in value.items() if name != "type"}
    return _build(value["type"], fields)


def write_answer(answer: dict[str, Any]) -> bytes:
    """Return the line of an answer."""
    return json.dumps(answer, separators=(",", ":")).encode() + b"\n"


def write_request(kind: str, **fields: Any) -> bytes:
    """Return the line of a request."""
    return write_answer({"type": kind, **fields})


def _build(kind: str, fields: dict[str, Any]) -> Request:
    if kind in _PLAIN:
        _check_names(fields, set())
        return _PLAIN[kind]
    if kind == "hello":
        _check_names(fields, {"token"})
        if not isinstance(fields["token"], str):
            _refuse("token must be a string")
        return Hello(fields["token"])
    if kind == "status":
        _check_names(fields, {"events"} if fields else set())
        if not isinstance(fields.get("events", False), bool):
            _refuse("events must be true or false")
        return Status(**fields)
    if kind == "chunk":
        return _build_chunk(fields)
    raise RequestRefusedError(Refused.UNKNOWN_TYPE, repr(kind[:40]))


def _build_chunk(fields: dict[str, Any]) -> Chunk:
    _check_names(fields, {"number", "start_ns", "window", "text"})
    number, start_ns, window, text = (fields[name] for name in ("number", "start_ns", "window", "text"))
    if not _is_count(number) or not _is_count(start_ns):
        _refuse("number and start_ns must be integers of 0 or more")
    if not isinstance(window, list) or len(window) != 2 or not all(map(_is_count, window)):
        _refuse("window must be [width, height]")
    if not isinstance(text, str):
        _refuse("text must be a string")
    return Chunk(number, start_ns, (window[0], window[1]), text)


def _check_names(fields: dict[str, Any], names: set[str]) -> None:
    if fields.keys() != names:
        _refuse(f"expected the fields {', '.join(sorted(names)) or 'type alone'}")


def _is_count(value: object) -> bool:
    # `True` is an int to Python.
    return type(value) is int and 0 <= value <= MAX_NUMBER


def _refuse(detail: str) -> NoReturn:
    raise RequestRefusedError(Refused.WRONG_FORM, detail)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a name stands twice")
    return value
