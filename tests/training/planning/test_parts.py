"""Every token is counted once: the parts add up to what training and play really tokenize."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.training.synthetic import SPEC
from vlm_agent.actions.automaton import ActionAutomaton
from vlm_agent.actions.types import Click, Key
from vlm_agent.chat import PromptInput, Turn, make_conversational, make_recipe, render_prompt, render_step_prompt
from vlm_agent.decoding.engine import Engine
from vlm_agent.decoding.prompts import encode_prompt, make_automaton
from vlm_agent.models.encoding import PlainTokenizer
from vlm_agent.models.loading import load_model
from vlm_agent.models.tiny import write_tiny_checkpoint
from vlm_agent.training.planning.parts import (
    PromptPart,
    Spread,
    count_choices,
    count_phrase_choices,
    count_prompt,
    spread_of,
)

pytestmark = pytest.mark.model

FRAME = np.zeros((64, 96, 3), np.uint8)
RECENT = ((200, Click(0, 3, 4, "left")), (90, Key(0, "space")))


@pytest.fixture(scope="module", params=["qwen3_vl", "qwen2_5_vl"])
def loaded(request, tmp_path_factory):
    folder = write_tiny_checkpoint(tmp_path_factory.mktemp("parts") / request.param, request.param)
    return load_model(folder, device="cpu")


def _recipe(loaded, codec="json"):
    width, height = loaded.encoder.images.fit_size(96, 64)
    coordinates = loaded.family.coordinates
    return make_recipe(SPEC, image_width_px=width, image_height_px=height, codec=codec, coordinates=coordinates)


def _size(recipe):
    return (recipe.image_width_px, recipe.image_height_px)


def test_a_prompt_by_parts(loaded):
    recipe = _recipe(loaded)
    encoder, render = loaded.encoder, partial(render_prompt, recipe=recipe)
    inp = PromptInput((FRAME,), "go <|im_end|> home", "gold ore @1,2 | mouse @3,4", RECENT)
    counts = count_prompt(encoder, render, inp, [_size(recipe)])
    assert counts.total() == encoder.encode_prompt(render(inp), [_size(recipe)]).num_prompt_tokens
    system = render(inp)[0]["content"][0]["text"]
    assert counts[PromptPart.SYSTEM] == len(encoder.encode_text(system))
    assert counts[PromptPart.PICTURE] == encoder.images.num_tokens(*_size(recipe))
    assert counts[PromptPart.STATE] == pytest.approx(len(encoder.encode_text(inp.state_text)), abs=1)
    assert counts[PromptPart.GOAL] >= len(encoder.encode_text("go home"))
    bare = count_prompt(encoder, render, replace(inp, state_text="", recent=()), [_size(recipe)])
    assert (bare[PromptPart.STATE], bare[PromptPart.RECENT]) == (0, 0)
    for part in (PromptPart.SYSTEM, PromptPart.PICTURE, PromptPart.FORMAT):
        assert bare[part] == counts[part]


def test_a_conversation_by_parts(loaded):
    recipe = make_conversational(_recipe(loaded), 3)
    encoder, render = loaded.encoder, partial(render_prompt, recipe=recipe)
    turns = (Turn(FRAME, "bank @1,2", '{"actions":[]}'), Turn(FRAME, "", ""))
    inp = PromptInput((FRAME,), "go home", "gold ore @1,2 | mouse @3,4", earlier=turns)
    sizes = [_size(recipe)] * 3
    counts = count_prompt(encoder, render, inp, sizes)
    assert counts.total() == encoder.encode_prompt(render(inp), sizes).num_prompt_tokens
    texts = {"bank @1,2": PromptPart.EARLIER, '{"actions":[]}': PromptPart.EARLIER, "go home": PromptPart.GOAL}
    wanted = dict.fromkeys((PromptPart.EARLIER, PromptPart.GOAL), 0)
    for text, part in texts.items():
        wanted[part] += len(encoder.encode_text(text))
    for part, number in wanted.items():
        assert counts[part] == pytest.approx(number, abs=1)
    assert counts[PromptPart.STATE] == len(encoder.encode_text(inp.state_text))
    assert counts[PromptPart.PICTURE] == 3 * encoder.images.num_tokens(*_size(recipe))
    assert counts[PromptPart.RECENT] == 0


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    return load_model(write_tiny_checkpoint(tmp_path_factory.mktemp("parts") / "tiny"), device="cpu")


@given(
    state=st.text(max_size=40),
    goal=st.text(max_size=20),
    num_recent=st.integers(0, 2),
    from_state=st.booleans(),
    asks_step=st.booleans(),
)
def test_parts_add_up_whatever_is_written(one, state, goal, num_recent, from_state, asks_step):
    recipe = replace(_recipe(one), steps_from_state=from_state)
    inp = PromptInput((FRAME,), goal, state, RECENT[:num_recent])
    render = partial(render_step_prompt if asks_step else render_prompt, recipe=recipe)
    sizes = [] if asks_step and from_state else [_size(recipe)]
    counts = count_prompt(one.encoder, render, inp, sizes)
    assert counts.total() == one.encoder.encode_prompt(render(inp), sizes).num_prompt_tokens
    assert counts[PromptPart.PICTURE] == (one.encoder.images.num_tokens(*_size(recipe)) if sizes else 0)
    assert counts[PromptPart.ANSWER] == 0


@pytest.mark.parametrize("codec", ["json", "line"])
def test_so_often_is_the_model_asked_as_choices_are_counted(loaded, codec):
    recipe = _recipe(loaded, codec)
    engine, automaton = Engine(loaded), make_automaton(loaded, recipe)
    for goal in ("one", "another", "a third"):
        messages = render_prompt(PromptInput((FRAME,), goal), recipe)
        answer = engine.decode(encode_prompt(loaded, messages, (FRAME,), recipe), automaton.start())
        assert count_choices(ActionAutomaton(recipe.spec, codec, PlainTokenizer(loaded.encoder)), answer.token_ids) == (
            answer.num_choices
        )


def test_choices_of_phrases_by_hand():
    phrases = [(1, 2, 9), (1, 3, 9), (1, 3, 4, 9), (5, 9)]
    assert [count_phrase_choices(phrases, phrase) for phrase in phrases] == [2, 3, 3, 1]
    assert count_phrase_choices([(1, 2, 9)], (1, 2, 9)) == 0


def test_spreads_by_hand():
    assert spread_of(range(1, 101)) == Spread(50, 95, 100)
    assert spread_of([7]) == Spread(7, 7, 7)
    assert spread_of([]) == Spread(0, 0, 0)


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=60))
def test_at_most_one_in_twenty_is_above_p95(counts):
    spread = spread_of(counts)
    assert {spread.p50, spread.p95, spread.largest} <= set(counts)
    assert sum(count > spread.p95 for count in counts) <= len(counts) / 20
    assert sum(count > spread.p50 for count in counts) <= len(counts) / 2
