"""Published checkpoints in small: what lies in their folders is what is loaded and computed, or one line says why not.

The folders themselves are checked first: they are what they say they are, whatever the toolkit makes of them.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from bitsandbytes.functional import QuantState, dequantize_4bit
from bitsandbytes.nn import Linear4bit
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from tests.models.published import PACKED, PUBLISHED, REFUSED, WORKING
from vlm_agent.doctor.checks import State, check_model
from vlm_agent.errors import ModelError
from vlm_agent.models import loading as loading_module
from vlm_agent.models.adapters import attach_lora
from vlm_agent.models.forward import apply_head, rope_positions, run_language, see_images
from vlm_agent.models.images import pixel_values
from vlm_agent.models.loading import FAMILIES, load_model
from vlm_agent.models.quantized import UnpackedLinear4bit
from vlm_agent.training.planning.candidates import read_candidate

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


def read_stored_values(folder):
    """Every weight of a folder in float32 under its name in the loaded model, and the names of those in 4 bits."""
    tensors = {}
    for path in folder.glob("*.safetensors"):
        tensors |= load_file(path)
    values, packed = {}, set()
    for name, tensor in tensors.items():
        ours = name
        if name.startswith("visual."):
            ours = f"model.{name}"
        elif name.startswith("model.") and not name.startswith(("model.visual.", "model.language_model.")):
            ours = name.replace("model.", "model.language_model.", 1)
        beside = {key.removeprefix(f"{name}."): tensors[key] for key in tensors if key.startswith(f"{name}.")}
        if beside:
            tensor = dequantize_4bit(tensor, QuantState.from_dict(beside, device="cpu"))
            packed.add(ours)
        if ".weight." not in name:
            values[ours] = tensor.float()
    return values, packed


def read_loaded_values(model):
    values, packed = {}, set()
    for name, parameter in model.named_parameters():
        values[name] = parameter.data
        module = model.get_submodule(name.rpartition(".")[0])
        if isinstance(module, Linear4bit) and name.endswith(".weight"):
            values[name] = dequantize_4bit(parameter.data, parameter.quant_state).float()
            packed.add(name)
    return values, packed


@pytest.mark.parametrize(
    "name",
    [
        *PACKED,
        "Qwen3-VL-4B-Instruct",
        "Qwen3-VL-8B-float16",
        "Qwen3-VL-8B-saved-by-5",
        "Qwen2.5-VL-3B-Instruct",
        "Qwen2.5-VL-7B-saved-by-5",
    ],
)
def test_what_is_loaded_is_what_the_files_hold(published, name):
    folder = published(name)
    loaded = load_model(folder, device="cpu", quantization="nf4" if PUBLISHED[name].packs else "none")
    want, stored_packed = read_stored_values(folder)
    got, packed = read_loaded_values(loaded.model)
    assert got.keys() == want.keys()
    for key, value in want.items():
        assert got[key].equal(value), key
        assert got[key].dtype == torch.float32
    # Vision towers in 4 bits are unpacked when loaded, layers of the language part stay as they are.
    assert packed == {key for key in stored_packed if ".language_model." in key}
    assert loaded.dtype == torch.float32
    assert (loaded.model.lm_head.weight is loaded.model.model.language_model.embed_tokens.weight) == (
        "lm_head.weight" not in want
    )


def match_as_unsloth(full_name, patterns=None):
    """Whether a layer is packed, as Unsloth has transformers 5 read lists: a name means the same components anywhere.

    Names of the language part without its prefix, and `language_model.model.`, mean the layers of transformers 5.
    """
    for pattern in patterns or ():
        renamed = pattern.replace("language_model.model.", "model.language_model.")
        if f".{renamed}." in f".{full_name}.":
            return False
    return True


class FastVisionModel:
    """Loads as Unsloth does: the list in config.json decides what is packed, read in its own way."""

    @staticmethod
    def from_pretrained(model_name, **options):
        passed = {name: options[name] for name in ("dtype", "attn_implementation", "local_files_only")}
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("transformers.integrations.bitsandbytes.should_convert_module", match_as_unsloth)
            kind = json.loads((Path(model_name) / "config.json").read_text())["model_type"]
            return FAMILIES[kind].model_class.from_pretrained(model_name, **passed), object()


@pytest.mark.parametrize(
    "name",
    [
        "unsloth-Qwen3-VL-2B-unsloth-bnb-4bit",
        "unsloth-Qwen3-VL-8B-unsloth-bnb-4bit",
        "unsloth-Qwen2.5-VL-3B-unsloth-bnb-4bit",
        "Qwen3-VL-8B-bnb-skip-null",
    ],
)
def test_what_unsloth_loads_transformers_loads_alike(published, monkeypatch, name):
    module = ModuleType("unsloth")
    module.FastVisionModel = FastVisionModel
    monkeypatch.setitem(sys.modules, "unsloth", module)
    theirs, their_packed = read_loaded_values(load_model(published(name), device="cpu", library="unsloth").model)
    ours, packed = read_loaded_values(load_model(published(name), device="cpu").model)
    assert their_packed == packed
    assert theirs.keys() == ours.keys()
    assert all(theirs[key].float().equal(value) for key, value in ours.items())


def show(loaded):
    """Logits of a prompt with a picture."""
    side = loaded.encoder.images.factor_px
    size = (3 * side, 2 * side)
    frame = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    message = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Goal: open the bank"}]}
    encoded = loaded.encoder.encode_prompt([message], [size])
    features = see_images(loaded.model, pixel_values([frame], loaded.encoder.images), encoded.grid_tensor())
    positions = rope_positions(encoded, loaded.encoder.images, loaded.encoder.image_token_id)
    return apply_head(
        loaded.model, run_language(loaded.model, torch.tensor([encoded.input_ids]), positions[:, None], features)
    )


@pytest.mark.parametrize("name", ["Qwen3-VL-8B-bnb-skip-null", "Qwen2.5-VL-7B-bnb-skip-null"])
def test_a_tower_in_4_bits_computes_what_its_unpacked_weights_compute(published, tmp_path, name):
    folder = shutil.copytree(published(name), tmp_path / "whole")
    values, _ = read_stored_values(folder)
    config = json.loads((folder / "config.json").read_text())
    del config["quantization_config"]
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").unlink()
    save_file(values, folder / "model.safetensors")
    with torch.no_grad():
        want = show(load_model(folder, quantization="none", device="cpu"))
        got = show(load_model(published(name), device="cpu"))
    torch.testing.assert_close(got, want, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["unsloth-Qwen2.5-VL-3B-unsloth-bnb-4bit", "Qwen3-VL-8B-bnb-skip-null"])
def test_a_partly_packed_tower_can_be_adapted(published, name):
    loaded = load_model(published(name), device="cpu", trainable=True)
    with torch.inference_mode():
        show(loaded)  # whoever decides before training must not leave anything behind that has no gradients
    wrapped = attach_lora(loaded.model, rank=2, alpha=2, dropout=0.0, seed=0, vision=True)
    for key, parameter in wrapped.named_parameters():
        if "lora_B" in key:
            torch.nn.init.constant_(parameter, 0.01)
    pixels = torch.rand(1 * 4 * 4, 3 * 2 * loaded.encoder.images.patch_px**2)
    tower = loaded.model.model.visual
    features = tower(pixels, grid_thw=torch.tensor([[1, 4, 4]])).pooler_output
    (torch.cat(tuple(features)) if not isinstance(features, torch.Tensor) else features).square().sum().backward()
    grown = [parameter.grad for key, parameter in wrapped.named_parameters() if ".visual." in key and "lora_" in key]
    assert grown
    assert all(grad is not None and grad.abs().sum() > 0 for grad in grown)


@pytest.mark.parametrize("name", ["Qwen3-VL-8B-bnb-float16", "Qwen2.5-VL-7B-bnb-skip-null"])
def test_everything_whole_is_cast_to_the_dtype_of_a_card(published, monkeypatch, name):
    monkeypatch.setattr(loading_module, "pick_dtype", lambda device: torch.bfloat16)
    loaded = load_model(published(name), device="cpu")
    assert {p.dtype for p in loaded.model.parameters()} == {torch.bfloat16, torch.uint8}
    assert show(loaded).isfinite().all()


def test_passes_without_gradients_leave_nothing_that_training_can_not_keep(published):
    model = load_model(published("Qwen3-VL-8B-bnb-float16"), device="cpu", trainable=True).model
    layer = next(module for module in model.modules() if isinstance(module, UnpackedLinear4bit))
    with torch.inference_mode():
        want = layer(torch.ones(1, layer.in_features))
    x = torch.ones(1, layer.in_features, requires_grad=True)
    got = layer(x)
    got.sum().backward()
    assert got.equal(want)
    assert x.grad.abs().sum() > 0


@pytest.mark.parametrize("name", REFUSED)
def test_what_can_not_be_used_is_refused_in_one_line_by_all(published, name):
    folder = published(name)
    told = set()
    for ask in (load_model, lambda path: read_candidate(str(path), "nf4")):
        with pytest.raises(ModelError, match=PUBLISHED[name].refused) as caught:
            ask(folder)
        told.add(str(caught.value))
    check = check_model(str(folder))
    assert check.state is State.FAILED
    assert told == {check.found}
    (line,) = told
    assert "\n" not in line
    assert "Qwen/Qwen" in line  # what works instead


@pytest.mark.parametrize("name", REFUSED)
def test_plan_refuses_without_weights_too(published, tmp_path, name):
    folder = shutil.copytree(published(name), tmp_path / "bare", ignore=shutil.ignore_patterns("*.safetensors"))
    with pytest.raises(ModelError, match=PUBLISHED[name].refused.removeprefix("to ")):
        read_candidate(str(folder), "nf4")


@pytest.mark.parametrize("name", WORKING)
def test_plan_knows_what_is_packed_from_the_weights(published, name):
    shape = read_candidate(str(published(name)), "nf4").shape
    values, packed = read_stored_values(published(name))
    count = sum(values[key].numel() for key in packed if ".language_model." in key)
    assert shape.packed == count or not packed
    assert shape.total == sum(value.numel() for value in values.values())
