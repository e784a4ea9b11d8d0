"""Windows as rows: exact both ways, whatever was played, and a clear word where they don't fit."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import random_chunk, random_spec

from vlm_agent.actions.types import ActionChunk
from vlm_agent.dataset.rows import WindowCodec
from vlm_agent.dataset.windows import Window
from vlm_agent.errors import DataError


def random_window(rng: random.Random, spec, history_ms) -> Window:
    ages = sorted((rng.randrange(0, history_ms + 1, spec.time_unit_ms) for _ in range(rng.randint(0, 5))), reverse=True)
    recent = []
    for age in ages:
        actions = random_chunk(rng, spec).actions
        if actions:
            recent.append((age, replace(actions[0], dt_ms=0)))
    return Window(
        session="s",
        clip=3,
        t_ns=rng.randrange(2**62),
        split="train",
        goal="craft sapphire rings",
        goal_level=rng.choice(["long", "short"]),
        goal_source="model",
        goal_confidence=rng.random(),
        frame_id="abcd",
        frame_width_px=spec.extent_width,
        frame_height_px=spec.extent_height,
        target=random_chunk(rng, spec),
        recent=tuple(recent),
        state=rng.choice([None, {}, {"a": [1, None, "ü"]}]),
    )


@settings(deadline=None)
@given(seed=st.integers(0, 2**32))
def test_rows_are_exact(seed):
    rng = random.Random(seed)
    spec = random_spec(rng)
    history_ms = 10 * spec.horizon_ms
    codec = WindowCodec(spec.with_extent(5000, 5000), history_ms)
    window = random_window(rng, spec, history_ms)
    assert codec.from_row(codec.to_row(window)) == window


def test_a_row_that_does_not_fit_is_one_data_error():
    rng = random.Random(1)
    spec = replace(random_spec(rng, ["absolute"]), keys=("a",), horizon_ms=600, time_unit_ms=10)
    codec = WindowCodec(spec, 6000)
    row = codec.to_row(replace(random_window(rng, spec, 6000), target=ActionChunk()))
    for broken in ({"target": '{"actions":[{"event":"JUMP"}]}'}, {"state": "{"}, {"frame_width_px": None}):
        with pytest.raises(DataError, match="does not fit"):
            codec.from_row({**row, **broken})
    del row["goal"]
    with pytest.raises(DataError, match="does not fit"):
        codec.from_row(row)
