"""Read-outs against plain passes over everything: bits without a rest, distributions as enumerating gives them."""

from __future__ import annotations

import math

import pytest

from tests.decoding.tiny_prompts import PlainTokenizer, make_prompt, recompute_logits
from vlm_agent.actions import ActionChunk, ActionSpec, Click, Key, Move, Scroll, make_codec
from vlm_agent.actions.automaton import ActionAutomaton
from vlm_agent.actions.parts import DONE, Part
from vlm_agent.decoding.choices import Phrases
from vlm_agent.decoding.questions import ACT, NONE
from vlm_agent.decoding.readout import TIMES, Reader

pytestmark = pytest.mark.model

SPEC = ActionSpec(24, 13, keys=("space", "escape"), buttons=("left", "right"), horizon_ms=120, max_actions=3)
CHUNKS = (
    ActionChunk(),
    ActionChunk(done=True),
    ActionChunk((Click(90, 12, 4, "right"), Key(10, "escape", "down"))),
    ActionChunk((Scroll(0, 3, 12, -2), Move(120, 23, 0))),
    ActionChunk((Key(100, "space"), Key(0, "space"), Key(10, "space"))),
)


def make(loaded, codec_name):
    return ActionAutomaton(SPEC, codec_name, PlainTokenizer(loaded.encoder))


def write(loaded, codec_name, chunk):
    return loaded.encoder.encode_text(make_codec(codec_name).encode(chunk, SPEC))


def log_p(loaded, prompt, said, allowed=None):
    """Log probabilities of the next token by a plain pass, among some tokens or all."""
    logits = recompute_logits(loaded, prompt, tuple(said)).double()
    if allowed is None:
        return dict(enumerate(logits.log_softmax(-1).tolist()))
    return dict(zip(allowed, logits[list(allowed)].log_softmax(-1).tolist(), strict=True))


@pytest.mark.parametrize("codec_name", ["json", "line"])
def test_bits_are_those_of_the_model_and_fall_to_parts_without_a_rest(loaded, codec_name):
    automaton, prompt = make(loaded, codec_name), make_prompt(loaded, 1)
    reader = Reader(loaded)
    for chunk in CHUNKS[1:3]:
        ids = write(loaded, codec_name, chunk)
        read = reader.read_actions(automaton, prompt, ids)
        assert [one.token for one in read.tokens] == [*ids, loaded.encoder.end_of_turn_id]
        state = automaton.start()
        for place, token in enumerate(read.tokens):
            whole = log_p(loaded, prompt, ids[:place])
            assert token.bits == pytest.approx(-whole[token.token] / math.log(2), abs=1e-4)
            allowed = state.allowed() if place < len(ids) else (token.token,)
            mass = sum(math.exp(whole[one]) for one in allowed)
            assert token.p_allowed == pytest.approx(mass, abs=1e-5)
            assert token.p == pytest.approx(math.exp(whole[token.token]) / mass, abs=1e-4)
            assert token.is_likeliest == (whole[token.token] == max(whole[one] for one in allowed))
            state = state.advance(token.token) if place < len(ids) else state
        assert sum(read.bits.values()) == pytest.approx(sum(token.bits for token in read.tokens))
        assert read.counts.get(Part.DT, 0) == len(chunk.actions)
        assert read.counts[Part.STOP] == len(chunk.actions) + 1


def enumerate_values(loaded, prompt, automaton, said):
    """Probability of every number that may be written behind `said`, given that one is: by following every token."""
    found: dict[str, float] = {}

    def follow(state, said, digits, mass):
        for token, log_share in log_p(loaded, prompt, said, state.allowed()).items():
            share = mass * math.exp(log_share)
            if token in automaton.digits:
                digit = str(automaton.digits.index(token))
                follow(state.advance(token), [*said, token], digits + digit, share)
            elif digits:
                found[digits] = found.get(digits, 0.0) + share

    follow(automaton.walk(said), list(said), "", 1.0)
    total = sum(found.values())
    return {value: mass / total for value, mass in found.items()}


@pytest.mark.parametrize("codec_name", ["json", "line"])
def test_distributions_of_numbers_are_those_of_enumerating_all_values(loaded, codec_name):
    automaton, prompt = make(loaded, codec_name), make_prompt(loaded, 2)
    ids = write(loaded, codec_name, CHUNKS[2])
    read = Reader(loaded, least_mass=0.0).read_actions(automaton, prompt, ids)
    numbers = [one for one in read.expectations if one.question.part is not Part.EVENT]
    assert [(one.question.part, one.question.event, one.question.truth) for one in numbers] == [
        (Part.DT, "CLICK", "90"),
        (Part.X, "CLICK", "12"),
        (Part.Y, "CLICK", "4"),
        (Part.DT, "KEY", "10"),
    ]
    legal = [range(0, 121, 10), range(24), range(13), range(0, 31, 10)]
    for one, values in zip(numbers, legal, strict=True):
        want = enumerate_values(loaded, prompt, automaton, ids[: one.question.start])
        assert sorted(map(int, one.probabilities)) == list(values)
        assert sum(one.probabilities.values()) == pytest.approx(1)
        assert dict(one.probabilities) == pytest.approx(want, abs=1e-5)


def test_small_branches_are_not_walked_and_lose_nothing(loaded):
    automaton, prompt = make(loaded, "json"), make_prompt(loaded, 2)
    ids = write(loaded, "json", CHUNKS[2])
    exact = Reader(loaded, least_mass=0.0).read_actions(automaton, prompt, ids).expectations
    rough = Reader(loaded, least_mass=0.2).read_actions(automaton, prompt, ids, TIMES).expectations
    assert [one.question.part for one in rough if one.question.part is not Part.EVENT] == [Part.DT, Part.DT]
    by_place = {one.question.start: one for one in exact}
    for one in rough:
        same = by_place[one.question.start]
        assert sum(one.probabilities.values()) == pytest.approx(1)
        assert set(one.probabilities) == set(same.probabilities)
        if one.question.part is Part.DT:
            # Mass moves only within a first digit.
            for digit in "0123456789":
                masses = [
                    sum(p for value, p in this.probabilities.items() if value.startswith(digit)) for this in (one, same)
                ]
                assert masses[0] == pytest.approx(masses[1], abs=1e-5)


def enumerate_texts(loaded, prompt, automaton, said, texts):
    """Probability of each text behind `said`, among them."""
    logs = {}
    for name, text in texts.items():
        state, so_far, total = automaton.walk(said), list(said), 0.0
        for token in text:
            total += log_p(loaded, prompt, so_far, state.allowed())[token]
            state, so_far = state.advance(token), [*so_far, token]
        logs[name] = total
    top = max(logs.values())
    scale = sum(math.exp(log - top) for log in logs.values())
    return {name: math.exp(log - top) / scale for name, log in logs.items()}


def test_the_next_event_is_expected_as_enumerating_all_continuations_says(loaded):
    automaton, prompt = make(loaded, "json"), make_prompt(loaded, 3)
    encode = loaded.encoder.encode_text
    for chunk in (CHUNKS[0], CHUNKS[2]):
        ids = write(loaded, "json", chunk)
        read = Reader(loaded, least_mass=0.0).read_actions(automaton, prompt, ids)
        first = read.expectations[0]
        texts = {NONE: encode('{"actions":[]}'), DONE: encode('{"actions":[],"done":true}')}
        texts |= {
            event: encode(f'{{"actions":[{{"event":"{event}","dt":1')[:-1]
            for event in ("CLICK", "KEY", "SCROLL", "MOVE")
        }
        assert dict(first.probabilities) == pytest.approx(
            enumerate_texts(loaded, prompt, automaton, [], texts), abs=1e-5
        )
    # Behind a click: given its button and that it is a full press.
    second = [one for one in read.expectations if one.question.part is Part.EVENT][1]
    assert (second.question.truth, second.question.action) == ("KEY", 1)
    start = second.question.start
    tails = {NONE: "]}"} | {event: f',{{"event":"{event}","dt":1' for event in ("CLICK", "KEY", "SCROLL", "MOVE")}
    before = make_codec("json").encode(ActionChunk(CHUNKS[2].actions[:1]), SPEC)[:-2]
    texts = {name: encode(before + tail)[start : None if name == NONE else -1] for name, tail in tails.items()}
    assert dict(second.probabilities) == pytest.approx(
        enumerate_texts(loaded, prompt, automaton, ids[:start], texts), abs=1e-5
    )


def test_where_the_time_is_written_first_the_kind_is_asked_for_behind_it(loaded):
    automaton, prompt = make(loaded, "line"), make_prompt(loaded, 3)
    ids = write(loaded, "line", CHUNKS[2])
    read = Reader(loaded, least_mass=0.0).read_actions(automaton, prompt, ids)
    events = [one for one in read.expectations if one.question.part is Part.EVENT]
    asked = [(one.question.truth, one.question.action, sorted(one.probabilities)) for one in events]
    kinds = ["CLICK", "KEY", "MOVE", "SCROLL"]
    assert asked == [
        (ACT, 0, [ACT, DONE, NONE]),
        ("CLICK", 0, kinds),
        (ACT, 1, [ACT, NONE]),
        ("KEY", 1, kinds),
        (NONE, 2, [ACT, NONE]),
    ]
    shares = log_p(loaded, prompt, [], automaton.start().allowed())
    digits = sum(math.exp(shares[token]) for token in automaton.digits if token in shares)
    assert events[0].probabilities[ACT] == pytest.approx(digits, abs=1e-5)


def test_behind_the_most_actions_nothing_is_asked(loaded):
    automaton, prompt = make(loaded, "json"), make_prompt(loaded, 4)
    read = Reader(loaded).read_actions(automaton, prompt, write(loaded, "json", CHUNKS[4]))
    events = [one.question.truth for one in read.expectations if one.question.part is Part.EVENT]
    assert events == ["KEY", "KEY", "KEY"]


def test_a_step_costs_the_bits_of_its_words(loaded):
    texts = ("open the bank", "open the bank again", "wait")
    phrases = Phrases(loaded.encoder, texts)
    prompt = make_prompt(loaded, 5)
    reader = Reader(loaded)
    total = 0.0
    for text in texts:
        read = reader.read_phrase(phrases.start(), prompt, phrases.encode(text))
        plain = sum(
            log_p(loaded, prompt, phrases.encode(text)[:place])[token]
            for place, token in enumerate(phrases.encode(text))
        )
        assert sum(read.bits.values()) == pytest.approx(-plain / math.log(2), abs=1e-3)
        total += 2 ** -read.bits[Part.STEP]
    # Among the list's texts they are a distribution.
    assert total == pytest.approx(1, abs=1e-4)


def test_the_same_answer_reads_the_same_to_the_bit_whatever_was_read_before(loaded):
    automaton, prompts = make(loaded, "json"), [make_prompt(loaded, seed) for seed in (7, 8)]
    ids = write(loaded, "json", CHUNKS[2])
    fresh = Reader(loaded).read_actions(automaton, prompts[1], ids)
    used = Reader(loaded)
    for chunk in CHUNKS:
        used.read_actions(automaton, prompts[0], write(loaded, "json", chunk))
    again = used.read_actions(automaton, prompts[1], ids)
    assert again.tokens == fresh.tokens
    assert [one.probabilities for one in again.expectations] == [one.probabilities for one in fresh.expectations]
