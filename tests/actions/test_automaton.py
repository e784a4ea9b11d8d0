"""The automaton writes what the codec writes, token for token, and nothing else."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.actions.tokenizers_for_tests import MERGING_PATTERN, nano, qwen, small_bpe
from tests.strategies import random_chunk, specs, specs_with_chunks
from vlm_agent.actions import ActionChunk, ActionSpec, Click, Key, Move, make_codec
from vlm_agent.actions.automaton import ActionAutomaton
from vlm_agent.decoding.engine import follow_forced
from vlm_agent.errors import ConfigError

TOKENIZERS = {"small": small_bpe, "smaller": lambda: small_bpe(vocabulary_size=290), "nano": nano, "qwen": qwen}
SPEC = ActionSpec(1000, 1000, keys=("space", "1", "f1", "f12"), buttons=("left", "right"), max_actions=4)
builds_automata = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize("codec_name", ["json", "line"])
@pytest.mark.parametrize("tokenizer_name", TOKENIZERS)
@builds_automata
@given(case=specs_with_chunks(num_chunks=10))
def test_the_path_of_a_chunk_is_its_tokenization(codec_name, tokenizer_name, case):
    """Models are trained on `encode` of the text: any other tokenization is one they have not seen."""
    spec, chunks = case
    tokenizer = TOKENIZERS[tokenizer_name]()
    automaton = ActionAutomaton(spec, codec_name, tokenizer)
    codec = make_codec(codec_name)
    for chunk in chunks:
        state = automaton.start()
        for token in tokenizer.encode(codec.encode(chunk, spec)):
            assert not state.is_complete
            state = state.advance(token)
        assert state.is_complete
        assert state.allowed() == ()
        assert state.num_actions == len(chunk.actions)
        assert state.spent_ms == chunk.duration_ms


@pytest.mark.parametrize("codec_name", ["json", "line"])
@pytest.mark.parametrize("tokenizer_name", TOKENIZERS)
@builds_automata
@given(spec=specs(), seed=st.integers(0, 2**32))
def test_any_walk_decodes_to_an_allowed_chunk(codec_name, tokenizer_name, spec, seed):
    rng = random.Random(seed)
    tokenizer = TOKENIZERS[tokenizer_name]()
    automaton = ActionAutomaton(spec, codec_name, tokenizer)
    codec = make_codec(codec_name)
    for _ in range(10):
        tokens: list[int] = []
        state = automaton.start()
        while allowed := state.allowed():
            tokens.append(rng.choice(allowed))
            state = state.advance(tokens[-1])
        assert state.is_complete
        text = tokenizer.decode(tokens)
        assert tokenizer.encode(text) == tokens
        assert codec.encode(codec.decode(text, spec), spec) == text


def _allowed_digits(automaton: ActionAutomaton, text: str) -> str:
    tokenizer = qwen()
    allowed = automaton.walk(tokenizer.encode(text)).allowed()
    return "".join(sorted(found for found in map(tokenizer.decode, ([token] for token in allowed)) if found.isdigit()))


@pytest.mark.parametrize(
    ("text", "digits"),
    [
        ("", "0123456789"),
        ("6", "0"),
        ("60", "0"),
        ("5", "0123456789"),
        ("300 key space\n", "0123456789"),
        ("300 key space\n3", "0"),
        ("300 key space\n30", "0"),
        ("300 key space\n300", ""),
        ("300 key space\n4", "0"),
        ("600 key space\n", "0"),
        ("0 move 99", "0123456789"),
        ("0 move 999", ""),
        ("0 move 0", ""),
        ("0 scroll 1 1 ", "12345"),
        ("0 scroll 1 1 -", "12345"),
    ],
)
def test_numbers_stay_in_range_and_dt_within_the_horizon(text, digits):
    assert _allowed_digits(ActionAutomaton(SPEC, "line", qwen()), text) == digits


@pytest.mark.parametrize("codec_name", ["json", "line"])
def test_after_the_last_action_only_the_end_is_allowed(codec_name):
    tokenizer = qwen()
    automaton = ActionAutomaton(SPEC, codec_name, tokenizer)
    text = make_codec(codec_name).encode(ActionChunk((Key(0, "space"),) * 4), SPEC)
    tokens = tokenizer.encode(text)
    state = automaton.start()
    for index, token in enumerate(tokens):
        if follow_forced(state)[1] == tuple(tokens[index:]):
            break
        state = state.advance(token)
    # All that is left to choose in the last action is its state; no other action can begin.
    assert state.num_actions == 4
    assert follow_forced(state)[0].is_complete


def test_forced_runs_leave_only_choices_to_the_model():
    """What makes the engine fast: of the 30 tokens of a click, the model decides 12."""
    tokenizer = qwen()
    automaton = ActionAutomaton(SPEC, "json", tokenizer)
    text = make_codec("json").encode(ActionChunk((Click(120, 512, 430, "left"),)), SPEC)
    tokens = tuple(tokenizer.encode(text))
    written, num_choices, state = (), 0, automaton.start()
    while not state.is_complete:
        _, forced = follow_forced(state)
        run = forced or tokens[len(written) :][:1]
        num_choices += not forced
        written += run
        state = state.advance_all(run)
    assert written == tokens
    # None or some, event, 2 digits of dt (its last is 0), 3 of x and 3 of y (a fourth would be out of range), button,
    # and whether to hold, go on or end.
    assert (len(tokens), num_choices) == (30, 12)


def test_done_may_be_forbidden():
    tokenizer = qwen()
    done = tokenizer.encode(make_codec("json").encode(ActionChunk(done=True), SPEC))
    assert ActionAutomaton(SPEC, "json", tokenizer).walk(done).is_complete
    with pytest.raises(ValueError, match="not allowed here"):
        ActionAutomaton(SPEC, "json", tokenizer, allow_done=False).walk(done)


def test_a_state_can_be_kept_and_come_back_to():
    tokenizer = small_bpe()
    automaton = ActionAutomaton(SPEC, "json", tokenizer)
    tokens = tokenizer.encode(make_codec("json").encode(ActionChunk((Move(10, 5, 7),)), SPEC))
    middle = automaton.walk(tokens[:5])
    assert middle.advance_all(tokens[5:]).is_complete
    assert middle.advance_all(tokens[5:]).is_complete
    assert middle == automaton.walk(tokens[:5])
    assert middle != automaton.walk(tokens[:4])


def test_a_token_that_is_not_allowed_is_refused():
    automaton = ActionAutomaton(SPEC, "json", small_bpe())
    with pytest.raises(ValueError, match="not allowed here"):
        automaton.start().advance(10**6)


def test_a_tokenizer_that_merges_digits_is_refused():
    with pytest.raises(ConfigError, match="every digit"):
        ActionAutomaton(SPEC, "json", small_bpe(MERGING_PATTERN))


class _Adding:
    """A tokenizer that puts a token in front of every text, as some do."""

    def encode(self, text: str) -> list[int]:
        return [0, *small_bpe().encode(text)]

    def decode(self, token_ids: list[int]) -> str:
        return small_bpe().decode(token_ids)


def test_a_tokenizer_that_adds_special_tokens_is_refused():
    with pytest.raises(ConfigError):
        ActionAutomaton(SPEC, "json", _Adding())


def test_memory_stays_bounded_over_many_answers(monkeypatch):
    monkeypatch.setattr("vlm_agent.actions.automaton._MAX_CACHED_PLACES", 50)
    tokenizer = small_bpe()
    automaton = ActionAutomaton(SPEC, "line", tokenizer)
    rng = random.Random(3)
    for _ in range(50):
        text = make_codec("line").encode(random_chunk(rng, SPEC), SPEC)
        assert automaton.walk(tokenizer.encode(text)).is_complete
        assert len(automaton._steps) <= 50


def test_the_line_codec_needs_about_half_the_tokens():
    rng = random.Random(5)
    spec = ActionSpec(1000, 1000, keys=("space", "left", "escape"))
    chunks = [random_chunk(rng, spec) for _ in range(200)]
    num_tokens = {
        name: sum(len(qwen().encode(make_codec(name).encode(chunk, spec))) for chunk in chunks)
        for name in ("json", "line")
    }
    assert 0.35 < num_tokens["line"] / num_tokens["json"] < 0.55
