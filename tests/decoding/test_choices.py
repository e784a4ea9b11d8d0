"""A choice between texts: every text can be said, nothing else can."""

from __future__ import annotations

from types import SimpleNamespace

from hypothesis import given, settings
from hypothesis import strategies as st

from vlm_agent.decoding.choices import Phrases, PhraseState
from vlm_agent.decoding.engine import follow_forced

phrases = st.lists(st.lists(st.integers(1, 3), max_size=5), min_size=1, max_size=8)


@settings(deadline=None)
@given(phrases=phrases, data=st.data())
def test_every_walk_ends_in_a_phrase_and_every_phrase_can_be_walked(phrases, data):
    end = 0
    closed = [(*phrase, end) for phrase in phrases]
    state = PhraseState(tuple(closed))
    walked = []
    while not state.is_complete:
        token = data.draw(st.sampled_from(state.allowed()))
        walked.append(token)
        state = state.advance(token)
    assert tuple(walked) in closed
    for phrase in closed:
        state = PhraseState(tuple(closed))
        for token in phrase:
            assert token in state.allowed()
            assert not state.is_complete
            state = state.advance(token)
        assert state.is_complete


def test_tokens_without_an_alternative_are_forced_up_to_the_end():
    start = PhraseState(((1, 2, 3, 9), (1, 2, 4, 4, 9), (1, 2, 9)))
    fork, run = follow_forced(start)
    assert run == (1, 2)
    assert fork.allowed() == (3, 4, 9)
    end, run = follow_forced(fork.advance(4))
    assert (run, end.is_complete) == ((4, 9), True)


def test_texts_are_their_tokens_and_the_end_of_a_turn():
    encoder = SimpleNamespace(encode_text=lambda text: [ord(letter) for letter in text], end_of_turn_id=7)
    choice = Phrases(encoder, ["a", "ab"])
    assert choice.start().phrases == ((97, 7), (97, 98, 7))
    assert choice.encode("ab") == (97, 98, 7)
    assert choice.read((97, 7)) == "a"
