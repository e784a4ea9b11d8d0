"""Both codecs: exact for what is allowed, and a counted reason for everything else."""

from __future__ import annotations

import json

import pytest
from hypothesis import given

from tests.strategies import specs_with_chunks
from vlm_agent.actions import (
    ActionChunk,
    ActionSpec,
    Click,
    InvalidActionError,
    Key,
    Move,
    Reason,
    RejectionCounts,
    Scroll,
    action_table,
    make_codec,
)
from vlm_agent.errors import ConfigError, VlmAgentError

CODECS = ("json", "line")
SPEC = ActionSpec(1000, 1000, keys=("space", "shift", "f1"), buttons=("left", "right"), max_actions=3)
RELATIVE = ActionSpec(1000, 1000, keys=("space",), pointer="relative", max_offset=300)
KEYS_ONLY = ActionSpec(1, 1, keys=("space",), pointer="none", holds=False)
CHUNK = ActionChunk((Move(90, 512, 430), Click(40, 512, 430, "left"), Key(120, "space")))


def test_the_written_forms():
    """The forms of the design, letter for letter: datasets and adapters depend on them."""
    holds = ActionChunk((Click(0, 0, 999, "right", "down"), Scroll(10, 1, 2, -3), Key(590, "shift", "up")))
    relative = ActionChunk((Move(0, -300, 0), Click(10, 0, 0, "middle"), Scroll(20, 0, 0, 2)))
    written = {name: [make_codec(name).encode(c, SPEC) for c in (CHUNK, holds)] for name in CODECS}
    assert written["json"] == [
        '{"actions":[{"event":"MOVE","dt":90,"x":512,"y":430},'
        '{"event":"CLICK","dt":40,"x":512,"y":430,"button":"left"},{"event":"KEY","dt":120,"key":"space"}]}',
        '{"actions":[{"event":"CLICK","dt":0,"x":0,"y":999,"button":"right","state":"down"},'
        '{"event":"SCROLL","dt":10,"x":1,"y":2,"dy":-3},{"event":"KEY","dt":590,"key":"shift","state":"up"}]}',
    ]
    assert written["line"] == [
        "90 move 512 430\n40 click 512 430 left\n120 key space.",
        "0 click 0 999 right down\n10 scroll 1 2 -3\n590 key shift up.",
    ]
    assert make_codec("json").encode(relative, RELATIVE) == (
        '{"actions":[{"event":"MOVE","dt":0,"dx":-300,"dy":0},{"event":"CLICK","dt":10,"button":"middle"},'
        '{"event":"SCROLL","dt":20,"dy":2}]}'
    )
    assert make_codec("line").encode(relative, RELATIVE) == "0 move -300 0\n10 click middle\n20 scroll 2."


@pytest.mark.parametrize(
    ("name", "empty", "done"),
    [("json", '{"actions":[]}', '{"actions":[],"done":true}'), ("line", ".", "done.")],
)
def test_nothing_to_do_and_goal_reached_are_different_answers(name, empty, done):
    codec = make_codec(name)
    assert codec.encode(ActionChunk(), SPEC) == empty
    assert codec.encode(ActionChunk(done=True), SPEC) == done
    assert codec.decode(empty, SPEC) == ActionChunk()
    assert codec.decode(done, SPEC) == ActionChunk(done=True)


@pytest.mark.parametrize("name", CODECS)
@given(case=specs_with_chunks(num_chunks=3))
def test_decode_gives_back_what_was_encoded(name, case):
    spec, chunks = case
    codec = make_codec(name)
    for chunk in chunks:
        text = codec.encode(chunk, spec)
        assert codec.decode(text, spec) == chunk
        assert codec.decode_prefix(text, spec) == (chunk, None)


@pytest.mark.parametrize("name", CODECS)
@given(case=specs_with_chunks())
def test_a_truncated_answer_keeps_its_complete_actions(name, case):
    """Every cut is called truncated, and the kept actions only grow as the text does."""
    spec, (chunk,) = case
    codec = make_codec(name)
    text = codec.encode(chunk, spec)
    num_kept = 0
    for stop in range(len(text)):
        kept, reason = codec.decode_prefix(text[:stop], spec)
        assert reason is Reason.TRUNCATED
        assert kept.actions == chunk.actions[: len(kept.actions)]
        assert not kept.done
        assert len(kept.actions) >= num_kept
        num_kept = len(kept.actions)
    # The line codec sees that the last word is whole only at the dot.
    assert num_kept == len(chunk.actions) - (name == "line" and bool(chunk.actions))


def test_the_json_codec_writes_compact_json():
    text = make_codec("json").encode(CHUNK, SPEC)
    assert text == json.dumps(json.loads(text), separators=(",", ":"))


def _json(*actions: str) -> str:
    return '{"actions":[' + ",".join(actions) + "]}"


_KEY = '{"event":"KEY","dt":0,"key":"space"}'

REFUSED_JSON = {
    "": Reason.TRUNCATED,
    '{"actions":[{"event":"KEY","dt":': Reason.TRUNCATED,
    _json(_KEY) + " thanks": Reason.TRAILING_TEXT,
    "I would click": Reason.NOT_JSON,
    "[" * 100_000: Reason.NOT_JSON,
    '{"actions":' + "9" * 10_000 + "}": Reason.NOT_JSON,
    _json('{"event":"KEY","dt":NaN,"key":"space"}'): Reason.NOT_JSON,
    "[]": Reason.WRONG_SHAPE,
    "null": Reason.WRONG_SHAPE,
    '{"actions":{}}': Reason.WRONG_SHAPE,
    '{"actions":[[]]}': Reason.WRONG_SHAPE,
    "{}": Reason.MISSING_FIELD,
    _json('{"dt":0}'): Reason.MISSING_FIELD,
    _json('{"event":"KEY","dt":0}'): Reason.MISSING_FIELD,
    _json('{"event":"CLICK","dt":0,"x":1,"y":1}'): Reason.MISSING_FIELD,
    '{"actions":[],"note":1}': Reason.UNKNOWN_FIELD,
    _json('{"event":"MOVE","dt":0,"x":1,"y":1,"state":"down"}'): Reason.UNKNOWN_FIELD,
    _json('{"event":"KEY","dt":0,"dt":0,"key":"space"}'): Reason.DUPLICATE_FIELD,
    _json('{"event":"KEY","dt":true,"key":"space"}'): Reason.BAD_TYPE,
    _json('{"event":"KEY","dt":0.0,"key":"space"}'): Reason.BAD_TYPE,
    _json('{"event":"KEY","dt":"0","key":"space"}'): Reason.BAD_TYPE,
    _json('{"event":"KEY","dt":0,"key":null}'): Reason.BAD_TYPE,
    _json('{"event":1}'): Reason.BAD_TYPE,
    '{"actions":[],"done":1}': Reason.BAD_TYPE,
    _json('{"event":"DRAG","dt":0}'): Reason.UNKNOWN_EVENT,
    _json('{"event":"click","dt":0,"x":1,"y":1,"button":"left"}'): Reason.UNKNOWN_EVENT,
    _json('{"event":"KEY","dt":0,"key":"f2"}'): Reason.KEY_NOT_ALLOWED,
    _json('{"event":"CLICK","dt":0,"x":1,"y":1,"button":"middle"}'): Reason.BUTTON_NOT_ALLOWED,
    _json('{"event":"KEY","dt":0,"key":"space","state":"held"}'): Reason.STATE_NOT_ALLOWED,
    _json('{"event":"KEY","dt":-10,"key":"space"}'): Reason.DT_NEGATIVE,
    _json('{"event":"KEY","dt":15,"key":"space"}'): Reason.DT_NOT_MULTIPLE,
    _json('{"event":"KEY","dt":610,"key":"space"}'): Reason.OVER_HORIZON,
    _json('{"event":"KEY","dt":310,"key":"space"}', '{"event":"KEY","dt":300,"key":"space"}'): Reason.OVER_HORIZON,
    _json(_KEY, _KEY, _KEY, _KEY): Reason.TOO_MANY_ACTIONS,
    _json('{"event":"MOVE","dt":0,"x":1000,"y":1}'): Reason.OUT_OF_EXTENT,
    _json('{"event":"MOVE","dt":0,"x":1,"y":-1}'): Reason.OUT_OF_EXTENT,
    _json('{"event":"MOVE","dt":0,"x":' + "9" * 4000 + ',"y":1}'): Reason.OUT_OF_EXTENT,
    _json('{"event":"SCROLL","dt":0,"x":1,"y":1,"dy":0}'): Reason.BAD_SCROLL,
    _json('{"event":"SCROLL","dt":0,"x":1,"y":1,"dy":-6}'): Reason.BAD_SCROLL,
    '{"actions":[' + _KEY + '],"done":true}': Reason.DONE_WITH_ACTIONS,
    '{"actions":[],"done":false}': Reason.NOT_CANONICAL,
    '{"done":true,"actions":[]}': Reason.NOT_CANONICAL,
    '{"actions": []}': Reason.NOT_CANONICAL,
    _json(_KEY) + "\n": Reason.NOT_CANONICAL,
    _json('{"dt":0,"event":"KEY","key":"space"}'): Reason.NOT_CANONICAL,
    _json('{"event":"KEY","dt":-0,"key":"space"}'): Reason.NOT_CANONICAL,
    _json('{"event":"KEY","dt":0,"key":"sp\\u0061ce"}'): Reason.NOT_CANONICAL,
}

REFUSED_LINES = {
    "": Reason.TRUNCATED,
    "0 key spa": Reason.TRUNCATED,
    "0 key space": Reason.TRUNCATED,
    "0 key space\n": Reason.TRUNCATED,
    "0 key space. Then": Reason.TRAILING_TEXT,
    "..": Reason.TRAILING_TEXT,
    "hello": Reason.WRONG_SHAPE,
    _json(_KEY): Reason.WRONG_SHAPE,
    "0 key.": Reason.MISSING_FIELD,
    "0 click 1 1.": Reason.MISSING_FIELD,
    "0 move 1 1 1.": Reason.UNKNOWN_FIELD,
    "now key space.": Reason.BAD_TYPE,
    "0 move 1 ².": Reason.BAD_TYPE,
    "0 drag 1 1.": Reason.UNKNOWN_EVENT,
    "0 key f2.": Reason.KEY_NOT_ALLOWED,
    "0 click 1 1 middle.": Reason.BUTTON_NOT_ALLOWED,
    "0 key space held.": Reason.STATE_NOT_ALLOWED,
    "-10 key space.": Reason.DT_NEGATIVE,
    "15 key space.": Reason.DT_NOT_MULTIPLE,
    "310 key space\n300 key space.": Reason.OVER_HORIZON,
    "\n".join(["0 key space"] * 4) + ".": Reason.TOO_MANY_ACTIONS,
    "0 move 1000 1.": Reason.OUT_OF_EXTENT,
    "0 move " + "9" * 10_000 + " 1.": Reason.OUT_OF_EXTENT,
    "0 scroll 1 1 0.": Reason.BAD_SCROLL,
    "0 KEY space.": Reason.NOT_CANONICAL,
    "0  key space.": Reason.NOT_CANONICAL,
    "00 key space.": Reason.NOT_CANONICAL,
    "-0 key space.": Reason.NOT_CANONICAL,
    "0 key space;": Reason.KEY_NOT_ALLOWED,
    "0 key space.\n": Reason.NOT_CANONICAL,
}


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [("json", text, reason) for text, reason in REFUSED_JSON.items()]
    + [("line", text, reason) for text, reason in REFUSED_LINES.items()],
    ids=lambda value: str(value)[:40],
)
def test_refusals_name_their_reason(name, text, reason):
    with pytest.raises(InvalidActionError) as caught:
        make_codec(name).decode(text, SPEC)
    assert caught.value.reason is reason
    assert caught.value.text == text
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("spec", "text", "reason"),
    [
        (KEYS_ONLY, _json('{"event":"MOVE","dt":0,"x":0,"y":0}'), Reason.EVENT_NOT_ALLOWED),
        (KEYS_ONLY, _json('{"event":"KEY","dt":0,"key":"space","state":"down"}'), Reason.STATE_NOT_ALLOWED),
        (RELATIVE, _json('{"event":"MOVE","dt":0,"x":0,"y":0}'), Reason.MISSING_FIELD),
        (RELATIVE, _json('{"event":"MOVE","dt":0,"dx":301,"dy":0}'), Reason.OFFSET_TOO_LARGE),
        (RELATIVE, _json('{"event":"CLICK","dt":0,"x":0,"y":0,"button":"left"}'), Reason.UNKNOWN_FIELD),
    ],
)
def test_the_spec_decides_what_is_refused(spec, text, reason):
    with pytest.raises(InvalidActionError) as caught:
        make_codec("json").decode(text, spec)
    assert caught.value.reason is reason


def test_every_reason_is_met_by_a_test():
    met = {*REFUSED_JSON.values(), *REFUSED_LINES.values(), Reason.EVENT_NOT_ALLOWED, Reason.OFFSET_TOO_LARGE}
    assert met == set(Reason)


@pytest.mark.parametrize(
    ("chunk", "reason"),
    [
        (ActionChunk((Key(5, "space"),)), Reason.DT_NOT_MULTIPLE),
        (ActionChunk((Key(True, "space"),)), Reason.BAD_TYPE),
        (ActionChunk((Move(0, 1.0, 2),)), Reason.BAD_TYPE),
        (ActionChunk((Key(0, "space"),), done=True), Reason.DONE_WITH_ACTIONS),
        (ActionChunk((Key(0, "space", "held"),)), Reason.STATE_NOT_ALLOWED),
    ],
)
@pytest.mark.parametrize("name", CODECS)
def test_encode_refuses_a_chunk_that_is_not_allowed(name, chunk, reason):
    with pytest.raises(InvalidActionError) as caught:
        make_codec(name).encode(chunk, SPEC)
    assert caught.value.reason is reason


@pytest.mark.parametrize(
    ("text", "num_kept", "reason"),
    [
        (_json(_KEY, '{"event":"KEY","dt":0,"key":"f2"}'), 1, Reason.KEY_NOT_ALLOWED),
        (_json('{"event":"KEY","dt":400,"key":"space"}', '{"event":"KEY","dt":300,"key":"space"}'), 1, "over_horizon"),
        (_json(_KEY, _KEY, _KEY, _KEY), 3, Reason.TOO_MANY_ACTIONS),
        (_json(_KEY) + "!", 1, Reason.TRAILING_TEXT),
        ("Sure! " + _json(_KEY), 0, Reason.NOT_JSON),
    ],
)
def test_the_allowed_actions_in_front_are_kept(text, num_kept, reason):
    kept, why = make_codec("json").decode_prefix(text, SPEC)
    assert (len(kept.actions), why) == (num_kept, reason)


def test_rejections_are_counted_by_reason():
    counts = RejectionCounts([Reason.TRUNCATED, Reason.NOT_JSON])
    counts.add(Reason.NOT_JSON)
    counts.update(RejectionCounts([Reason.BAD_TYPE]))
    assert counts.total == 4
    assert counts[Reason.NOT_JSON] == 2
    assert counts[Reason.BAD_SCROLL] == 0
    assert list(counts.to_json().items()) == [("not_json", 2), ("bad_type", 1), ("truncated", 1)]


def test_names_that_would_break_the_text_are_refused():
    for name in ("", 'a"b', "a b", "A", "é", ".", "a" * 33):
        with pytest.raises(ConfigError):
            ActionSpec(10, 10, keys=(name,))
        with pytest.raises(ConfigError):
            ActionSpec(10, 10, buttons=(name,))


def test_an_unknown_codec_is_a_users_error():
    with pytest.raises(VlmAgentError, match="json and line"):
        make_codec("yaml")


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("spec", [SPEC, RELATIVE, KEYS_ONLY])
def test_the_prompt_table_is_short_and_complete(name, spec):
    table = action_table(spec, make_codec(name))
    assert len(table.split()) <= 60
    assert all(event in table for event in spec.events)
    assert all(key in table for key in spec.keys)
    assert str(spec.horizon_ms) in table
