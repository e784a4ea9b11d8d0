"""Prompts in front of a model, and answers without a grammar."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.decoding.tiny_prompts import recompute_logits
from vlm_agent.actions.spec import ActionSpec
from vlm_agent.actions.types import ActionChunk, Click, Key
from vlm_agent.chat import PromptInput, make_recipe, render_answer, render_prompt
from vlm_agent.decoding.engine import Engine
from vlm_agent.decoding.prompts import PictureShelf, encode_prompt, generate_text, make_automaton
from vlm_agent.models.images import pixel_values, resize_frame

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
    assert prompt.encoded.image_grids == trained.image_grids
    shown = pixel_values([resize_frame(frame, 4 * side, 2 * side)], loaded.encoder.images)
    assert prompt.pixel_values.equal(shown)
    assert trained.input_ids[:num_prompt] == prompt.encoded.input_ids
    # And the automaton's path for the answer is what is trained behind it, up to the end of the turn.
    path = trained.input_ids[num_prompt:-1]
    assert make_automaton(loaded, recipe).walk(path).is_complete


def test_done_can_be_forbidden(loaded):
    recipe = make_recipe(SPEC, image_width_px=64, image_height_px=64)
    done = loaded.encoder.encode_text(render_answer(ActionChunk(done=True), recipe))
    assert make_automaton(loaded, recipe).walk(done).is_complete
    with pytest.raises(ValueError, match="allowed"):
        make_automaton(loaded, recipe, allow_done=False).walk(done)


@pytest.mark.parametrize("history_frames", [1, 2])
def test_a_picture_that_is_drawn_over_is_prepared_anew_and_one_that_is_shown_again_is_not(loaded, history_frames):
    side = loaded.encoder.images.factor_px
    recipe = replace(make_recipe(SPEC, image_width_px=2 * side, image_height_px=side), history_frames=history_frames)
    shelf, frame = PictureShelf(loaded, recipe), np.zeros((200, 320, 3), np.uint8)

    def look(*frames):
        shelf.show(frames)
        blocks = [{"type": "image"}] * len(frames)
        prompt = shelf.encode([{"role": "user", "content": [*blocks, {"type": "text", "text": "go"}]}])
        return [picture.pixel_values for picture in prompt.pictures]

    [black] = look(frame)
    if history_frames == 1:  # a game may draw into the same array, tick after tick
        frame[:] = 255
        [white] = look(frame)
        assert not white.equal(black)
        return
    earlier, now = look(frame, np.full_like(frame, 255))
    assert earlier.equal(black)
    assert not now.equal(black)


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
    ids = list(loaded.encoder.encode_prompt(messages).input_ids)
    said: list[int] = []
    with torch.inference_mode():
        for _ in range(3):
            loaded.model.model.rope_deltas = None
            said.append(int(loaded.model(input_ids=torch.tensor([ids + said]), use_cache=False).logits[0, -1].argmax()))
    assert generate_text(loaded, messages, (), 3) == loaded.encoder.decode_text(said)


def test_text_ends_at_the_end_of_a_turn_or_of_all_text(loaded, monkeypatch):
    asked = {}

    def write(self, prompt, end_ids, max_new_tokens):
        asked.update(ends=set(end_ids), most=max_new_tokens, grids=prompt.encoded.image_grids)
        return (65,)

    monkeypatch.setattr(Engine, "write", write)
    monkeypatch.setattr(loaded.encoder, "end_of_turn_id", 7)
    frame = np.zeros((64, 320, 3), np.uint8)
    generate_text(loaded, make_messages(loaded), [frame], 11)
    size = loaded.encoder.images.fit_size(320, 64)
    assert asked == {
        "ends": {7, loaded.tokenizer.eos_token_id}, "most": 11, "grids": (loaded.encoder.images.grid(*size),)
    }  # fmt: skip
