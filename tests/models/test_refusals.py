"""Checkpoints whose parts don't fit each other, or that hold no numbers: one line, from loading, plan and doctor."""

from __future__ import annotations

import json
import math
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from vlm_agent.doctor.checks import State, check_model
from vlm_agent.errors import ModelError
from vlm_agent.models.finite import check_finite
from vlm_agent.models.loading import load_model
from vlm_agent.training.planning.candidates import read_candidate

pytestmark = pytest.mark.model


def change_json(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def refuse_everywhere(folder, match):
    """Ask all three for a folder; return the one line they all say."""
    told = set()
    for ask in (load_model, lambda path: read_candidate(str(path), "nf4")):
        with pytest.raises(ModelError, match=match) as caught:
            ask(folder)
        told.add(str(caught.value))
    check = check_model(str(folder))
    assert check.state is State.FAILED
    assert told == {check.found}
    assert "\n" not in check.found


def _add_token(folder):
    def add(content):
        added = content["added_tokens_decoder"]
        top = max(map(int, added))
        for number in range(200):
            added[str(top + 1 + number)] = {**added[str(top)], "content": f"<extra_{number}>"}

    change_json(folder / "tokenizer_config.json", add)


def _add_words(folder):
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    content["model"]["vocab"] |= {f"zzz{number}": 1000 + number for number in range(3)}
    path.write_text(json.dumps(content))


def _name_extra_tokens(folder):
    change_json(
        folder / "tokenizer_config.json",
        lambda content: content.update(additional_special_tokens=[f"<s_{number}>" for number in range(200)]),
    )


@pytest.mark.parametrize("grow", [_add_token, _add_words, _name_extra_tokens])
def test_more_token_ids_than_rows(published, tmp_path, grow):
    folder = shutil.copytree(published("Qwen3-VL-8B-Instruct"), tmp_path / "grown")
    grow(folder)
    refuse_everywhere(folder, r"the tokenizer gives ids up to \d+ \('.*'\), but the token table has \d+ rows")


@pytest.mark.parametrize("key", ["image_token_id", "vision_end_token_id", "pad_token_id"])
@pytest.mark.parametrize("name", ["Qwen3-VL-8B-Instruct", "Qwen2.5-VL-7B-Instruct"])
def test_special_ids_beyond_the_rows(published, tmp_path, name, key):
    folder = shutil.copytree(published(name), tmp_path / "other")
    change_json(folder / "config.json", lambda content: content.update({key: 151_655}))
    refuse_everywhere(folder, f"config.json has {key} 151655, but the token table has")


def test_special_ids_inside_of_the_text_config(published, tmp_path):
    folder = shutil.copytree(published("Qwen3-VL-8B-Instruct"), tmp_path / "other")
    change_json(folder / "config.json", lambda content: content["text_config"].update(eos_token_id=[1, 151_645]))
    refuse_everywhere(folder, "config.json has eos_token_id 151645, but the token table has")


def test_another_picture_token_than_the_tokenizers(published, tmp_path):
    folder = shutil.copytree(published("Qwen3-VL-8B-Instruct"), tmp_path / "other")
    change_json(folder / "config.json", lambda content: content.update(image_token_id=5))
    refuse_everywhere(folder, r"config.json has image_token_id 5, but the tokenizer writes <\|image_pad\|> as")


def _spoil(folder, name, value):
    for path in sorted(folder.glob("*.safetensors")):
        tensors = load_file(path)
        if name in tensors:
            tensors[name].view(-1)[-1] = value
            save_file(tensors, path)
            return
    raise AssertionError(name)


LAYER = "model.language_model.layers.1.mlp.up_proj.weight"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("Qwen3-VL-8B-Instruct", LAYER),
        ("Qwen3-VL-8B-float16", "model.visual.blocks.3.norm2.bias"),
        ("Qwen2.5-VL-7B-Instruct", "visual.merger.ln_q.weight"),
        ("unsloth-Qwen2.5-VL-7B-bnb-4bit", "visual.blocks.0.attn.qkv.weight.nested_absmax"),
        ("Qwen3-VL-8B-bnb-float16", f"{LAYER}.absmax"),
        ("Qwen3-VL-8B-bnb-skip-null", "lm_head.weight"),
    ],
)
def test_weights_that_are_no_numbers_are_named(published, tmp_path, name, tensor, value):
    folder = shutil.copytree(published(name), tmp_path / "spoilt")
    _spoil(folder, tensor, value)
    with pytest.raises(ModelError, match=f"{tensor} holds NaN or Inf") as caught:
        load_model(folder, device="cpu")
    assert "\n" not in str(caught.value)


def test_large_numbers_and_empty_tensors_are_numbers(tmp_path):
    largest = torch.full((3,), torch.finfo(torch.float32).max)
    save_file({"a": largest, "b": -largest, "c": torch.zeros(0), "d": torch.ones(2).int()}, tmp_path / "x.safetensors")
    check_finite([tmp_path / "x.safetensors"])


def _read_states(folder):
    return {
        path.name: [name for name in load_file(path) if "quant_state" in name] for path in folder.glob("*.safetensors")
    }


@pytest.mark.parametrize("name", ["Qwen3-VL-8B-bnb-skip-null", "Qwen2.5-VL-7B-bnb-skip-null"])
def test_packed_weights_are_known_without_what_config_says(published, tmp_path, name):
    folder = shutil.copytree(published(name), tmp_path / "bare")
    change_json(folder / "config.json", lambda content: content.pop("quantization_config"))
    loaded = load_model(folder, device="cpu")
    assert loaded.quantization == "nf4"
    with pytest.raises(ModelError, match="holds 4-bit weights"):
        load_model(folder, device="cpu", quantization="none")


def test_plain_weights_are_known_whatever_config_says(published, tmp_path):
    plain, stale = published("Qwen3-VL-8B-Instruct"), tmp_path / "stale"
    shutil.copytree(plain, stale)
    packed = json.loads((published("Qwen3-VL-8B-bnb-skip-null") / "config.json").read_text())
    change_json(
        stale / "config.json", lambda content: content.update(quantization_config=packed["quantization_config"])
    )
    want, got = (load_model(folder, device="cpu", quantization="none").model for folder in (plain, stale))
    assert all(value.equal(got.get_parameter(key)) for key, value in want.named_parameters())
    assert load_model(stale, device="cpu").quantization == "nf4"


def test_4_bits_packed_into_other_numbers_than_bytes_are_refused(checkpoints, tmp_path):
    folder = shutil.copytree(checkpoints["qwen3_vl-nf4"], tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    layer = next(name for name in weights if name.endswith("q_proj.weight"))
    weights[layer] = weights[layer].view(1, -1).view(torch.bfloat16).view(-1, 1)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"bnb_4bit_quant_storage BF16 .*q_proj.*use the full checkpoint"):
        load_model(folder, device="cpu")
    with pytest.raises(ModelError, match="bnb_4bit_quant_storage BF16"):
        read_candidate(str(folder), "nf4")


def test_what_only_the_weights_tell_is_refused_too(published, tmp_path):
    folder = shutil.copytree(published("Qwen3-VL-8B-Instruct-FP8"), tmp_path / "bare")
    change_json(folder / "config.json", lambda content: content.pop("quantization_config"))
    refuse_everywhere(folder, r"q_proj.weight is stored as F8_E4M3; only plain weights and bitsandbytes NF4")


@pytest.mark.parametrize(("rest", "match"), [("pytorch_model.bin", "pickles can run code"), ("", "no .*weights here")])
def test_weights_in_pickles_are_not_read(published, tmp_path, rest, match):
    folder = shutil.copytree(
        published("Qwen3-VL-8B-Instruct"), tmp_path / "bare", ignore=shutil.ignore_patterns("*.safetensors*")
    )
    if rest:
        torch.save({}, folder / rest)
    with pytest.raises(ModelError, match=match):
        load_model(folder, device="cpu")
    assert check_model(str(folder)).state is State.FAILED
    assert not read_candidate(str(folder), "nf4").has_weights


def test_the_hubs_cache_means_its_snapshot(published, tmp_path):
    root = tmp_path / "models--Qwen--Qwen3-VL-8B-Instruct"
    shutil.copytree(published("Qwen3-VL-8B-Instruct"), root / "snapshots" / "abc")
    want = str((root / "snapshots" / "abc").resolve())
    assert read_candidate(str(root), "nf4").has_weights
    assert load_model(root, device="cpu").source == want
    (root / "snapshots" / "def").mkdir()
    with pytest.raises(ModelError, match=r"cache of a model with 2 snapshots; give one of"):
        load_model(root, device="cpu")
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text("abc\n")
    assert check_model(str(root)).state is State.OK


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.pop("vision_config"),
        lambda content: content["text_config"].update(hidden_size="wide"),
        lambda content: content["text_config"].update(num_hidden_layers=None),
        lambda content: content["text_config"].update(rope_scaling={"rope_type": "unheard of"}),
        lambda content: content.update(text_config=[1]),
        lambda content: content.update(quantization_config="nf4"),
    ],
)
def test_odd_configs_are_one_line(published, tmp_path, change):
    folder = shutil.copytree(published("Qwen3-VL-8B-Instruct"), tmp_path / "odd")
    change_json(folder / "config.json", change)
    told = []
    for ask in (load_model, lambda path: read_candidate(str(path), "nf4")):
        with pytest.raises(ModelError) as caught:
            ask(folder)
        told.append(str(caught.value))
    assert told[0] == told[1]
    assert "\n" not in told[0]
