"""Hostile text: whatever a model writes, a codec answers with a chunk or with InvalidActionError."""

from __future__ import annotations

import random

import pytest

from tests.strategies import random_chunk, random_spec
from vlm_agent.actions import InvalidActionError, RejectionCounts, make_codec

NUM_MUTANTS = 100_000
"""For each of the two codecs."""

_SNIPPETS = (
    *'{}[]",:. \n\t\\0123456789-+eE;',
    *(
        "true",
        "null",
        "NaN",
        "-0",
        "00",
        "1.0",
        "1e3",
        "9" * 30,
        '"dt":5',
        '"done":true',
        "\\u0000",
        "\ud800",
        "²",
        "٣",
    ),
    *("CLICK", "click", "KEY", "key", "MOVE", "move", "SCROLL", "left", "down", "up", "done", "<|im_end|>"),
    *(',"state":"down"', ',"x":1', " 7", "\n0 key space", '{"event":"KEY","dt":0,"key":"space"}', "'", "//", "\x00"),
)


def _mutate(rng: random.Random, text: str, other: str) -> str:
    kind = rng.randrange(7)
    start = rng.randint(0, len(text))
    stop = min(len(text), start + rng.randint(0, 12))
    if kind == 0:
        return text[:start] + text[stop:]
    if kind <= 2:
        return text[:start] + rng.choice(_SNIPPETS) + text[start:]
    if kind == 3:
        return text[:start] + rng.choice(_SNIPPETS) + text[stop:]
    if kind == 4:
        return text[:stop] + text[start:]
    if kind == 5:
        return text[:start] + other[rng.randint(0, len(other)) :]
    return text[:start] + chr(rng.randrange(0x3000)) + text[start + 1 :]


@pytest.mark.parametrize("name", ["json", "line"])
def test_mutants_raise_nothing_but_invalid_action_error(name):
    rng = random.Random(20)
    codec = make_codec(name)
    refused = RejectionCounts()
    num_read = 0
    cases = [(spec, codec.encode(random_chunk(rng, spec), spec)) for spec in (random_spec(rng) for _ in range(400))]
    for _ in range(NUM_MUTANTS):
        spec, text = rng.choice(cases)
        for _ in range(rng.choice((1, 1, 2, 5))):
            text = _mutate(rng, text, rng.choice(cases)[1])
        try:
            chunk = codec.decode(text, spec)
        except InvalidActionError as error:
            refused.add(error.reason)
        else:
            num_read += 1
            assert codec.encode(chunk, spec) == text
    assert num_read + refused.total == NUM_MUTANTS
    assert num_read > NUM_MUTANTS // 200, "mutants that stay allowed belong to the test"
    assert len(refused.to_json()) >= 14, refused.to_json()
