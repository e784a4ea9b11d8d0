"""JSON of others: whatever it is, it can be written and read again, or it is left out with a reason."""

from __future__ import annotations

import contextlib
import json
import math
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vlm_agent.actions.space import CoordinateSpace
from vlm_agent.dataset.state_text import render_state
from vlm_agent.errors import LeftOutError
from vlm_agent.recording.alignment import ExporterClock
from vlm_agent.recording.game_states import date_state
from vlm_agent.recording.state_sources import Exported
from vlm_agent.sessions.game_states import parse_state
from vlm_agent.sessions.plain_json import mend_text, parse_json
from vlm_agent.sessions.topics import encode_json

KEYS = st.sampled_from(
    [
        "timestamp",
        "time",
        "player",
        "worldX",
        "worldPoint",
        "inventory",
        "slots",
        "game_objects",
        "world_x",
        "x",
        "chat",
    ]
)
TEXTS = st.text(st.characters() | st.characters(categories=["Cs"]), max_size=6)
NUMBERS = st.one_of(
    st.floats(), st.integers(-(10**330), 10**330), st.integers(-5, 5), st.sampled_from([math.inf, -0.0])
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS | TEXTS, inner, max_size=5),
    max_leaves=12,
)
ENCODINGS = st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"])


def has_half(value: Any) -> bool:
    return any("\ud800" <= sign <= "\udfff" for sign in json.dumps(value, ensure_ascii=False))


@settings(max_examples=40)
@given(st.dictionaries(KEYS | TEXTS, VALUES, max_size=6), st.booleans(), ENCODINGS)
@example({"timestamp": 10**320}, True, "utf-8")
def test_every_object_is_kept_or_left_out_and_what_is_kept_can_be_used(
    value: dict[str, Any], is_ascii: bool, encoding: str
) -> None:
    value = json.loads(json.dumps(value))  # halves beside each other are one character
    body = json.dumps(value, ensure_ascii=is_ascii).encode(encoding, "surrogatepass")
    if has_half(value):
        with pytest.raises(LeftOutError):
            parse_state(body)
        return
    read = parse_state(body)
    assert json.loads(encode_json(read.state)) == read.state
    assert not has_half(read.state)
    clock = ExporterClock()
    for step in range(3):
        arrived_ns = 1_795_000_000_000_000_000 + step * 10**8
        exported = Exported(read.state, arrived_ns, read.original)
        assert 0 <= arrived_ns - date_state(exported, clock).t_ns <= 10**10
    render_state(read.state, CoordinateSpace(100, 100, 100, 100), 500)


@given(st.binary(max_size=60) | st.text(st.characters(), max_size=60).map(lambda text: text.encode("utf-8", "replace")))
def test_no_bytes_are_more_than_left_out(body: bytes) -> None:
    with contextlib.suppress(LeftOutError):
        encode_json(parse_state(body).state)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32-be"])
def test_half_a_character_is_found_in_every_encoding(encoding: str) -> None:
    for text in ('{"a": "\\ud83d"}', '{"\\udc00": 1}'):
        with pytest.raises(LeftOutError, match="inside a character"):
            parse_json(text.encode(encoding))
    assert parse_json('{"a": "\\ud83d\\ude00"}'.encode(encoding)) == ({"a": "\N{GRINNING FACE}"}, 0)


@given(st.text(st.characters() | st.characters(categories=["Cs"])))
def test_every_text_can_be_written_when_mended(text: str) -> None:
    mended = mend_text(text)
    mended.encode()
    if not has_half(text):
        assert mended == text
