"""Published checkpoints in small: the folders are what they say they are, whatever the toolkit makes of them."""

from __future__ import annotations

import json

import pytest
from safetensors import safe_open
from transformers import AutoTokenizer

from tests.models.published import PACKED, WORKING

pytestmark = pytest.mark.model


@pytest.mark.parametrize("name", WORKING)
def test_token_ids_of_config_and_tokenizer_agree(published, name):
    folder = published(name)
    config = json.loads((folder / "config.json").read_text())
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    for key, token in (("image_token_id", "<|image_pad|>"), ("vision_start_token_id", "<|vision_start|>")):
        assert tokenizer.convert_tokens_to_ids(token) == config[key]
        assert tokenizer(f"a{token}b", add_special_tokens=False)["input_ids"].count(config[key]) == 1
    assert config[key] < len(tokenizer) <= config.get("text_config", config)["vocab_size"]


@pytest.mark.parametrize("name", PACKED)
def test_packed_layers_have_the_state_that_bitsandbytes_writes(published, name):
    names = []
    for path in published(name).glob("*.safetensors"):
        with safe_open(path, framework="np") as opened:
            names.extend(opened.keys())
    packed = [key for key in names if key.endswith(".quant_state.bitsandbytes__nf4")]
    assert packed
    assert all(f"{key.rpartition('.quant_state')[0]}.absmax" in names for key in packed)
