"""Tokenizing conversations: the prompt is a prefix of training, and just the answer with its stop token is learnt."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vlm_agent.errors import ConfigError, ModelError
from vlm_agent.models.chat_templates import END_OF_TURN, IMAGE_TOKEN
from vlm_agent.models.encoding import IGNORED_LABEL
from vlm_agent.models.loading import load_model

pytestmark = pytest.mark.model


@pytest.fixture(scope="module", params=["qwen3_vl", "qwen2_5_vl"])
def encoder(request, checkpoints):
    return load_model(checkpoints[request.param], quantization="none", device="cpu").encoder


def _messages(text: str, num_images: int = 1) -> list[dict]:
    images = [{"type": "image"}] * num_images
    return [
        {"role": "system", "content": [{"type": "text", "text": "You play."}]},
        {"role": "user", "content": [*images, {"type": "text", "text": text}]},
    ]


def _size(encoder, columns: int = 3, rows: int = 2) -> tuple[int, int]:
    return columns * encoder.images.factor_px, rows * encoder.images.factor_px


ANSWERS = ['{"actions":[]}', '{"actions":[{"event":"KEY","dt":0,"key":"a"}]}', "C90,1,2"]
WORDS = st.text(st.characters(codec="utf-8", exclude_characters="<"), max_size=40)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=WORDS, answer=st.sampled_from(ANSWERS))
def test_training_starts_with_the_prompt_and_learns_the_answer_and_the_stop_token(encoder, text, answer):
    messages, sizes = _messages(text), [_size(encoder)]
    prompt = encoder.encode_prompt(messages, sizes)
    whole = encoder.encode_training(messages, answer, sizes)
    assert whole.input_ids[: len(prompt.input_ids)] == prompt.input_ids
    learnt = [label for label in whole.labels if label != IGNORED_LABEL]
    assert learnt == [*encoder.encode_text(answer), encoder.end_of_turn_id]
    assert whole.num_target_tokens == len(learnt)
    assert set(whole.labels[: len(prompt.input_ids)]) == {IGNORED_LABEL}


@pytest.mark.parametrize("num_images", [0, 1, 3])
def test_ids_are_those_of_the_whole_conversation_rendered_by_the_template(encoder, num_images):
    messages, answer = _messages("Goal: open the bank", num_images), '{"actions":[]}'
    sizes = [_size(encoder, 3 + i) for i in range(num_images)]
    full = [*messages, {"role": "assistant", "content": answer}]
    text = encoder.tokenizer.apply_chat_template(full, tokenize=False)
    for width, height in sizes:
        text = text.replace(IMAGE_TOKEN, "<|pad_here|>" * encoder.images.num_tokens(width, height), 1)
    text = text.replace("<|pad_here|>", IMAGE_TOKEN)
    assert text.endswith(f"{END_OF_TURN}\n")
    assert list(encoder.encode_training(messages, answer, sizes).input_ids) == encoder.encode_text(text[:-1])


def test_placeholders_match_the_grid(encoder):
    encoded = encoder.encode_prompt(_messages("hi", 2), [_size(encoder, 3, 2), _size(encoder, 1, 5)])
    ids = torch.tensor(encoded.input_ids)
    assert int(encoder.token_types(ids).sum()) == 3 * 2 + 1 * 5
    assert encoded.grid_tensor().tolist() == [[1, 4, 6], [1, 10, 2]]


def test_pictures_and_placeholders_must_agree(encoder):
    with pytest.raises(ModelError, match="1 picture placeholders for 2 pictures"):
        encoder.encode_prompt(_messages("hi", 1), [_size(encoder)] * 2)
    with pytest.raises(ModelError, match="2 picture placeholders for 1 pictures"):
        encoder.encode_prompt(_messages(f"hi {IMAGE_TOKEN}", 1), [_size(encoder)])
    with pytest.raises(ConfigError, match="multiple"):
        encoder.encode_prompt(_messages("hi", 1), [(100, 100)])


def test_decode_gives_the_text_back(encoder):
    text = '{"actions":[{"event":"KEY","dt":0,"key":"ä"}]}'
    assert encoder.decode_text([*encoder.encode_text(text), encoder.end_of_turn_id]) == text
