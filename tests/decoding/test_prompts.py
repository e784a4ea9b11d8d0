"""Prompts in front of a model, and answers without a grammar."""

from __future__ import annotations

import numpy as np
import pytest

from tests.decoding.tiny_prompts import recompute_logits
from vlm_agent.actions.spec import ActionSpec
from vlm_agent.actions.types import ActionChunk, Click, Key
from vlm_agent.chat import PromptInput, make_recipe, render_answer, render_prompt
from vlm_agent.decoding.prompts import encode_prompt, generate_text, make_automaton
from vlm_agent.models.images import resize_frame

pytestmark = pytest.mark.model

SPEC = ActionSpec(320, 200, keys=("space",))


def make_messages(loaded, text="what is this?"):
    return [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}]


def test_a_prompt_is_what_training_sees(loaded):
    side = loaded.encoder.images.factor_px
    recipe = make_recipe(SPEC, image_width_px=4 * side, image_height_px=2 * side)
    frame = np.random.default_rng(0).integers(0, 256, (200, 320, 3), dtype=np.uint8)
    chunk = ActionChunk((Click(100, 500, 400), Key(50, "space")))
    messages = render_prompt(PromptInput((frame,), "open the bank"), recipe)
    prompt = encode_prompt(loaded, messages, [frame], recipe)
    answer = render_answer(chunk, recipe)
    trained = loaded.encoder.encode_training(messages, answer, [(4 * side, 2 * side)])
    num_prompt = len(prompt.encoded.input_ids)
    assert trained.input_ids[:num_prompt] == prompt.encoded.input_ids
    # And the automaton's path for the answer is what is trained behind it, up to the end of the turn.
    path = trained.input_ids[num_prompt:-1]
    assert make_automaton(loaded, recipe).walk(path).is_complete


def test_text_is_generated_greedily(loaded):
    frame = np.random.default_rng(1).integers(0, 256, (70, 150, 3), dtype=np.uint8)
    messages = make_messages(loaded)
    text = generate_text(loaded, messages, [frame], 6, max_image_tokens=8)
    settings = loaded.encoder.images
    size = settings.fit_size(150, 70, 8)
    recipe = make_recipe(SPEC, image_width_px=size[0], image_height_px=size[1])
    prompt = encode_prompt(loaded, messages, [resize_frame(frame, *size)], recipe)
    said: tuple[int, ...] = ()
    for _ in range(6):
        said = (*said, int(recompute_logits(loaded, prompt, said).argmax()))
    ends = {loaded.encoder.end_of_turn_id, loaded.tokenizer.eos_token_id}
    stop = next((index for index, token in enumerate(said) if token in ends), 6)
    assert text == loaded.encoder.decode_text(said[:stop])


def test_a_longer_answer_begins_with_the_shorter(loaded):
    frame = np.zeros((64, 64, 3), np.uint8)
    short, long = (generate_text(loaded, make_messages(loaded), [frame], length) for length in (2, 8))
    assert long.startswith(short.rstrip("\ufffd"))


def test_text_alone_needs_no_picture(loaded):
    messages = [{"role": "user", "content": "hello"}]
    assert generate_text(loaded, messages, (), 3) == generate_text(loaded, messages, (), 3)
