"""Reading answers that are not canonical, only to say what is wrong with them. Nothing read here is ever executed."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any, NoReturn, get_args

from vlm_agent.actions.invalid import InvalidActionError, Reason
from vlm_agent.actions.layouts import ACTION_TYPES, JSON_LAYOUT, LINE_LAYOUT, NUMBERS, Field
from vlm_agent.actions.spec import ActionSpec, EventName
from vlm_agent.actions.types import Action, ActionChunk, Click, Scroll

_STATES = ("down", "up")


def read_json(text: str, spec: ActionSpec) -> ActionChunk:
    """Return the chunk that a JSON text means, whatever its spelling; ranges are not checked.

    Raises:
        InvalidActionError: with the reason why it means none.
    """
    answer = _load(text)
    if type(answer) is not dict:
        raise InvalidActionError(Reason.WRONG_SHAPE, "the answer is not an object")
    if "actions" not in answer:
        raise InvalidActionError(Reason.MISSING_FIELD, "actions")
    for name in answer:
        if name not in ("actions", "done"):
            raise InvalidActionError(Reason.UNKNOWN_FIELD, repr(name))
    actions, done = answer["actions"], answer.get("done", False)
    if type(done) is not bool:
        raise InvalidActionError(Reason.BAD_TYPE, f"done is a {type(done).__name__}")
    if type(actions) is not list or not all(type(action) is dict for action in actions):
        raise InvalidActionError(Reason.WRONG_SHAPE, "actions is not a list of objects")
    return ActionChunk(tuple(_read_object(action, spec) for action in actions), done)


def read_lines(text: str, spec: ActionSpec) -> ActionChunk:
    """Return the chunk that lines mean, whatever their spacing; ranges are not checked.

    Raises:
        InvalidActionError: with the reason why they mean none.
    """
    body = text.strip().removesuffix(LINE_LAYOUT.closing)
    if body == "done":
        return ActionChunk(done=True)
    if LINE_LAYOUT.closing in body:
        raise InvalidActionError(Reason.TRAILING_TEXT, "something follows the dot")
    return ActionChunk(tuple(_read_words(line.split(), spec) for line in body.split("\n") if line.strip()))


def _load(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        reason = Reason.TRAILING_TEXT if error.msg == "Extra data" else Reason.NOT_JSON
        raise InvalidActionError(reason, f"{error.msg} at character {error.pos}") from None
    except (ValueError, RecursionError) as error:  # thousands of digits; deep nesting
        raise InvalidActionError(Reason.NOT_JSON, type(error).__name__) from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise InvalidActionError(Reason.DUPLICATE_FIELD, ", ".join(name for name, _ in pairs)[:80])
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise InvalidActionError(Reason.NOT_JSON, f"{name} is not JSON")


def _read_object(value: dict[str, Any], spec: ActionSpec) -> Action:
    if "event" not in value:
        raise InvalidActionError(Reason.MISSING_FIELD, "event")
    event = _read_event(value["event"], spec)
    names = _json_names(event, spec)
    for name in names:
        if name not in value and name != "state":
            raise InvalidActionError(Reason.MISSING_FIELD, f"{event} lacks {name}")
    for name in value:
        if name not in names and name != "event":
            raise InvalidActionError(Reason.UNKNOWN_FIELD, f"{event} has {name!r}")
    return _build(event, {field: _typed(value[name], field) for name, field in names.items() if name in value})


def _read_event(name: object, spec: ActionSpec) -> EventName:
    if not isinstance(name, str):
        raise InvalidActionError(Reason.BAD_TYPE, f"event is a {type(name).__name__}")
    if name not in get_args(EventName):
        raise InvalidActionError(Reason.UNKNOWN_EVENT, repr(name))
    if name not in spec.events:
        raise InvalidActionError(Reason.EVENT_NOT_ALLOWED, name)
    return name


def _json_names(event: EventName, spec: ActionSpec) -> dict[str, Field]:
    # A field is named by the literal before it: `,"dx":` or `,"button":"`.
    template = JSON_LAYOUT.templates[spec.pointer][event]
    names = {"dt": Field.DT}
    for literal, field in pairwise(template[2:]):
        if isinstance(literal, str) and isinstance(field, Field) and field is not Field.STATE:
            names[literal.split('"')[1]] = field
    return names | ({"state": Field.STATE} if Field.STATE in template else {})


def _typed(value: object, field: Field) -> Any:
    wanted = int if field in NUMBERS else str
    if type(value) is not wanted:
        raise InvalidActionError(Reason.BAD_TYPE, f"{field.value} is a {type(value).__name__}, not {wanted.__name__}")
    return value


def _read_words(words: list[str], spec: ActionSpec) -> Action:
    if len(words) < 2:
        raise InvalidActionError(Reason.WRONG_SHAPE, "a line is a time, an event and its values")
    event = _read_event(words[1].upper(), spec)
    wanted = [part for part in LINE_LAYOUT.templates[spec.pointer][event] if isinstance(part, Field)]
    given = [words[0], *words[2:]]
    required = len(wanted) - (Field.STATE in wanted)
    if len(given) < required:
        raise InvalidActionError(Reason.MISSING_FIELD, f"{event} has {len(given)} of {required} values")
    if len(given) > len(wanted):
        raise InvalidActionError(Reason.UNKNOWN_FIELD, f"{event} has {len(given)} of {len(wanted)} values")
    return _build(event, {field: _read_word(word, field) for field, word in zip(wanted, given, strict=False)})


def _read_word(word: str, field: Field) -> Any:
    if field not in NUMBERS:
        return word
    digits = word.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal()):
        raise InvalidActionError(Reason.BAD_TYPE, f"{field.value} is {word[:80]!r}")
    # What is longer than any range stays out of range when cut, and thousands of digits would not convert.
    return int(word[:20])


def _build(event: EventName, values: dict[Field, Any]) -> Action:
    cls = ACTION_TYPES[event]
    state = values.get(Field.STATE)
    if state is not None and state not in _STATES:
        raise InvalidActionError(Reason.STATE_NOT_ALLOWED, repr(state)[:80])
    named = {field.value: value for field, value in values.items()}
    return cls(**({"x": 0, "y": 0, **named} if cls in (Click, Scroll) else named))
