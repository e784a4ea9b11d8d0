"""A choice between texts: every text can be said, nothing else can."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm_agent.decoding.choices import choose_between

END = 99
TEXTS = st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=6).map(tuple), min_size=1, max_size=8)


@given(TEXTS)
def test_what_can_be_said_is_the_texts_and_nothing_else(texts):
    said = set()
    open_states = [((), choose_between(texts, END))]
    while open_states:
        tokens, state = open_states.pop()
        if state.is_complete:
            said.add(tokens)
        open_states += [((*tokens, token), state.advance(token)) for token in state.allowed()]
    assert said == {(*text, END) for text in texts}


def test_tokens_without_an_alternative_are_forced_up_to_the_end():
    start = choose_between([(1, 2, 3), (1, 2, 4, 4), (1, 2)], END)
    assert start.forced() == (1, 2)
    fork = start.advance(1).advance(2)
    assert fork.forced() == ()
    assert fork.allowed() == (3, 4, END)
    assert fork.advance(4).forced() == (4, END)
    assert not fork.is_complete
    assert fork.advance(END).is_complete
    with pytest.raises(ValueError, match="not allowed"):
        fork.advance(7)
