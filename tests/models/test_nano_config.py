"""Nano's tokenizer and picture size, as Qwen code expects them."""

from __future__ import annotations

import pytest

from vlm_agent.models.nano_config import IMAGE_HEIGHT_PX, IMAGE_SETTINGS, IMAGE_WIDTH_PX, nano_config, train_tokenizer

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(["open the bank 2024", "open the door"] * 20, 400)


def test_digits_stand_alone_and_texts_come_back_as_they_are(tokenizer):
    ids = tokenizer("open 2024", add_special_tokens=False)["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids)[-4:] == ["2", "0", "2", "4"]
    for text in ("open the bank", " open", "bänk\n2", ""):
        assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text


def test_a_turn_ends_with_its_own_token_and_special_ones_are_one_each(tokenizer):
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|endoftext|>")
    config = nano_config(tokenizer)
    for name, token in (("image_token_id", "<|image_pad|>"), ("vision_start_token_id", "<|vision_start|>")):
        assert tokenizer(token, add_special_tokens=False)["input_ids"] == [getattr(config, name)]
    assert config.text_config.eos_token_id == tokenizer.eos_token_id


def test_a_frame_of_the_game_is_brought_to_nanos_size():
    assert (IMAGE_WIDTH_PX, IMAGE_HEIGHT_PX) == (384, 256) == IMAGE_SETTINGS.fit_size(765, 503)
    assert IMAGE_SETTINGS.num_tokens(IMAGE_WIDTH_PX, IMAGE_HEIGHT_PX) == 96
