"""Every token is labelled by what it says: the values come back from the labels, and choices split what is allowed."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings

from tests.actions.tokenizers_for_tests import nano, qwen, small_bpe
from tests.strategies import specs_with_chunks
from vlm_agent.actions import ActionChunk, ActionSpec, Click, Key, Move, Scroll, make_codec
from vlm_agent.actions.automaton import ActionAutomaton
from vlm_agent.actions.labelling import label_answer
from vlm_agent.actions.parts import DONE, END_OF_LIST, FULL_PRESS, MORE, Part

TOKENIZERS = {"small": small_bpe, "nano": nano, "qwen": qwen}
SPEC = ActionSpec(1000, 1000, keys=("space", "escape"), buttons=("left", "right"), max_actions=4)


def rebuild(answer):
    """The chunk that the labels tell of."""
    actions: list[dict] = []
    event, done = None, False
    for part, value in (settled for token in answer.tokens for settled in token.settled):
        if part is Part.STOP:
            done = value == DONE
            if value == MORE:
                actions.append({})
        elif part is Part.EVENT:
            event = actions[-1]["event"] = value
        else:
            actions[-1][part] = actions[-1].get(part, "") + value
    del event
    return ActionChunk(tuple(as_action(one) for one in actions), done)


def as_action(parts):
    event, dt = parts["event"], int(parts[Part.DT])
    state = None if parts.get(Part.STATE, FULL_PRESS) == FULL_PRESS else parts[Part.STATE]
    x, y = int(parts.get(Part.X, 0)), int(parts.get(Part.Y, 0))
    match event:
        case "CLICK":
            return Click(dt, x, y, parts[Part.BUTTON], state)
        case "KEY":
            return Key(dt, parts[Part.KEY], state)
        case "SCROLL":
            return Scroll(dt, x, y, int(parts[Part.DY]))
        case _:
            return Move(dt, x, y)


@pytest.mark.parametrize("codec_name", ["json", "line"])
@pytest.mark.parametrize("tokenizer_name", TOKENIZERS)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(case=specs_with_chunks(num_chunks=8))
def test_values_come_back_from_the_labels_and_choices_narrow_down_to_the_token(codec_name, tokenizer_name, case):
    spec, chunks = case
    tokenizer = TOKENIZERS[tokenizer_name]()
    automaton = ActionAutomaton(spec, codec_name, tokenizer)
    codec = make_codec(codec_name)
    for chunk in chunks:
        ids = tokenizer.encode(codec.encode(chunk, spec))
        answer = label_answer(automaton, ids)
        assert [one.token for one in answer.tokens] == ids
        assert rebuild(answer) == chunk
        for one, state in zip(answer.tokens, answer.states, strict=True):
            assert one.allowed == state.allowed()
            assert bool(one.choices) == (len(one.allowed) > 1)
            left = set(one.allowed)
            for choice in one.choices:
                assert one.token in choice.agreeing
                assert set(choice.agreeing) < left
                left = set(choice.agreeing)
            assert left == {one.token}


@pytest.mark.parametrize(
    ("codec_name", "chunk", "want"),
    [
        ("json", ActionChunk(), [Part.STOP]),
        ("json", ActionChunk(done=True), [Part.STOP]),
        (
            "json",
            ActionChunk((Click(90, 512, 4, "right"),)),
            ["stop", "event", "dt", "x", "x", "x", "y", "y", "button", "state", "stop"],
        ),
        ("json", ActionChunk((Key(0, "space", "down"),)), ["stop", "event", "dt", "key", "state", "state", "stop"]),
        ("line", ActionChunk(), [Part.STOP]),
        ("line", ActionChunk((Move(90, 5, 430),)), ["stop", "dt", "event", "x", "x", "y", "y", "y", "stop"]),
    ],
)
def test_the_parts_of_an_answer_are_decided_in_the_order_of_writing(codec_name, chunk, want):
    tokenizer = nano()
    automaton = ActionAutomaton(SPEC, codec_name, tokenizer)
    answer = label_answer(automaton, tokenizer.encode(make_codec(codec_name).encode(chunk, SPEC)))
    decided = [choice.part for one in answer.tokens for choice in one.choices]
    assert decided == want


def test_an_end_that_settles_two_parts_counts_for_both_and_is_named_by_the_last():
    tokenizer = nano()
    automaton = ActionAutomaton(SPEC, "json", tokenizer)
    text = make_codec("json").encode(ActionChunk((Click(0, 5, 5),)), SPEC)
    last = label_answer(automaton, tokenizer.encode(text)).tokens[-1]
    assert tokenizer.decode([last.token]) == '"}]}'
    assert last.settled == ((Part.STATE, FULL_PRESS), (Part.STOP, END_OF_LIST))
    assert [choice.part for choice in last.choices] == [Part.STATE, Part.STOP]
    assert last.part is Part.STOP
    # Another action may follow a full press in other tokens; a half of a press begins with a comma.
    assert {tokenizer.decode([token]) for token in last.choices[0].agreeing} == {'"}]}', '"}'}


def test_what_is_no_answer_is_refused():
    tokenizer = nano()
    automaton = ActionAutomaton(SPEC, "json", tokenizer)
    with pytest.raises(ValueError, match="not allowed here"):
        label_answer(automaton, tokenizer.encode("hello"))
    ids = tokenizer.encode('{"actions":[]}')
    with pytest.raises(ValueError, match="not an answer"):
        label_answer(automaton, ids[:-1])
