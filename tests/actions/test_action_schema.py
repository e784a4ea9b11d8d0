"""The JSON schema says what the codec says, as far as a schema can."""

from __future__ import annotations

import copy
import json
import random

import pytest
from hypothesis import given
from jsonschema import Draft202012Validator

from tests.strategies import random_chunk, random_spec, specs_with_chunks
from vlm_agent.actions import ActionSpec, InvalidActionError, Reason, json_schema, make_codec

CODEC = make_codec("json")
UNSAYABLE = {Reason.OVER_HORIZON, Reason.NOT_CANONICAL}
"""What a schema can't forbid: the sum of dt, and another order of the fields."""


@given(case=specs_with_chunks(num_chunks=3))
def test_what_the_codec_writes_is_valid(case):
    spec, chunks = case
    schema = json_schema(spec)
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    for chunk in chunks:
        validator.validate(json.loads(CODEC.encode(chunk, spec)))


VALUES = (0, 1, -1, 10, 995, 1.5, True, None, "down", "left", "space", "MOVE", "KEY", [], {})


def _mutate(rng: random.Random, answer: dict) -> dict:
    answer = copy.deepcopy(answer)
    target = rng.choice([answer, *answer["actions"]])
    name = rng.choice([*target, "x", "y", "dx", "dy", "dt", "key", "button", "state", "event", "done"])
    kind = rng.randrange(3)
    if kind == 0:
        target.pop(name, None)
    elif kind == 1 and isinstance(target.get(name), int):
        target[name] += rng.choice((-1000, -10, -1, 1, 10, 1000))
    else:
        target[name] = rng.choice(VALUES) if target is not answer or name == "done" else rng.choice(([], ["x"], [1]))
    if rng.random() < 0.2:
        answer["actions"] = [action for _ in range(rng.choice((0, 2, 9))) for action in answer.get("actions") or ["x"]]
    return answer


def _reason_of_refusal(text: str, spec: ActionSpec) -> Reason | None:
    try:
        CODEC.decode(text, spec)
    except InvalidActionError as error:
        return error.reason
    return None


def test_what_the_schema_forbids_the_codec_refuses_and_the_other_way_round():
    rng = random.Random(9)
    num_forbidden = num_allowed = 0
    for _ in range(100):
        spec = random_spec(rng)
        validator = Draft202012Validator(json_schema(spec))
        for _ in range(15):
            answer = _mutate(rng, json.loads(CODEC.encode(random_chunk(rng, spec), spec)))
            text = json.dumps(answer, separators=(",", ":"))
            is_valid = validator.is_valid(answer)
            reason = _reason_of_refusal(text, spec)
            assert (is_valid and reason is None) or (not is_valid and reason) or reason in UNSAYABLE, text
            num_forbidden += not is_valid
            num_allowed += is_valid
    assert min(num_forbidden, num_allowed) > 100


@pytest.mark.parametrize("pointer", ["absolute", "relative", "none"])
def test_a_spec_without_keys_and_buttons_still_has_a_schema(pointer):
    spec = ActionSpec(10, 10, buttons=(), pointer=pointer, max_scroll=0)
    validator = Draft202012Validator(json_schema(spec))
    assert validator.is_valid({"actions": []})
    assert validator.is_valid({"actions": [], "done": True})
    assert not validator.is_valid({"actions": [{"event": "KEY", "dt": 0, "key": "a"}]})
