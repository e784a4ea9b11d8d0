"""Checkpoints of both families, plain and quantised: what is loaded, what it computes, and what is refused."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from bitsandbytes.nn import Linear4bit

from vlm_agent.errors import ConfigError, ModelError
from vlm_agent.models import checkpoints as checkpoints_module
from vlm_agent.models.adapters import attach_lora
from vlm_agent.models.forward import apply_head, rope_positions, run_language, see_images
from vlm_agent.models.images import pixel_values
from vlm_agent.models.loading import CPU_DTYPE_VARIABLE, load_model
from vlm_agent.models.quantized import UnpackedLinear4bit, check_quantised, count_quantised, multiply
from vlm_agent.models.tiny import write_tiny_checkpoint

pytestmark = pytest.mark.model

KINDS = ["qwen3_vl", "qwen3_vl-nf4", "qwen2_5_vl", "qwen2_5_vl-nf4"]


def _conversation(loaded, num_images: int = 1):
    side = loaded.encoder.images.factor_px
    sizes = [((3 + i) * side, 2 * side) for i in range(num_images)]
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for width, height in sizes]
    content = [{"type": "image"}] * num_images + [{"type": "text", "text": "Goal: open the bank"}]
    return loaded.encoder.encode_prompt([{"role": "user", "content": content}], sizes), frames


def _own_logits(loaded, encoded, frames):
    features = see_images(loaded.model, pixel_values(frames, loaded.encoder.images), encoded.grid_tensor())
    positions = rope_positions(encoded, loaded.encoder.images, loaded.encoder.image_token_id)
    ids = torch.tensor([encoded.input_ids])
    with torch.no_grad():
        return apply_head(loaded.model, run_language(loaded.model, ids, positions[:, None], features))


@pytest.mark.parametrize("num_images", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_parts_compute_what_the_whole_model_computes(checkpoints, kind, num_images):
    loaded = load_model(checkpoints[kind], device="cpu")
    encoded, frames = _conversation(loaded, num_images)
    ids = torch.tensor([encoded.input_ids])
    with torch.no_grad():
        want = loaded.model(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            mm_token_type_ids=loaded.encoder.token_types(ids),
            pixel_values=pixel_values(frames, loaded.encoder.images),
            image_grid_thw=encoded.grid_tensor(),
        ).logits
    torch.testing.assert_close(_own_logits(loaded, encoded, frames), want, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_positions_are_the_models_own(checkpoints, kind):
    loaded = load_model(checkpoints[kind], device="cpu")
    for num_images in (1, 3):
        encoded, _ = _conversation(loaded, num_images)
        ids = torch.tensor([encoded.input_ids])
        want, _ = loaded.model.model.get_rope_index(
            input_ids=ids, mm_token_type_ids=loaded.encoder.token_types(ids), image_grid_thw=encoded.grid_tensor()
        )
        got = rope_positions(encoded, loaded.encoder.images, loaded.encoder.image_token_id)
        assert got.equal(want[:, 0])


@pytest.mark.parametrize("kind", KINDS)
def test_language_layers_are_4_bit_and_nothing_else_is(checkpoints, kind):
    model = load_model(checkpoints[kind], device="cpu").model
    packed = {name for name, module in model.named_modules() if isinstance(module, Linear4bit)}
    assert packed == {
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and name.startswith("model.language_model.layers.")
    }
    assert not any(p.requires_grad for p in model.parameters())


def test_a_plain_model_has_no_4_bit_layer_and_packing_changes_little(checkpoints):
    plain = load_model(checkpoints["qwen3_vl"], quantization="none", device="cpu")
    packed = load_model(checkpoints["qwen3_vl"], device="cpu")
    ready = load_model(checkpoints["qwen3_vl-nf4"], device="cpu")
    assert not any(isinstance(module, Linear4bit) for module in plain.model.modules())
    encoded, frames = _conversation(plain)
    full, nf4, prepacked = (_own_logits(loaded, encoded, frames) for loaded in (plain, packed, ready))
    assert not nf4.equal(full)
    torch.testing.assert_close(prepacked, nf4, rtol=0, atol=1e-5)


def test_unpacked_layers_give_the_bits_of_packed_ones(checkpoints):
    loaded = load_model(checkpoints["qwen3_vl"], device="cpu")
    encoded, frames = _conversation(loaded)
    unpacked = _own_logits(loaded, encoded, frames)
    for module in loaded.model.modules():
        if isinstance(module, UnpackedLinear4bit):
            module.__class__ = Linear4bit
    torch.testing.assert_close(_own_logits(loaded, encoded, frames), unpacked, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("asked", "able", "expected"),
    [
        (None, {}, torch.float32),
        (None, {"avx512_bf16": True}, torch.bfloat16),
        ("auto", {"avx512_bf16": False, "amx_bf16": True}, torch.bfloat16),
        ("float32", {"avx512_bf16": True, "amx_bf16": True}, torch.float32),
        ("bfloat16", {}, torch.bfloat16),
    ],
)
def test_a_cpu_multiplies_4_bit_layers_in_what_it_is_quick_at(checkpoints, monkeypatch, asked, able, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    monkeypatch.delenv(CPU_DTYPE_VARIABLE)
    if asked is not None:
        monkeypatch.setenv(CPU_DTYPE_VARIABLE, asked)
    loaded = load_model(checkpoints["qwen3_vl"], device="cpu")
    layers = [module for module in loaded.model.modules() if isinstance(module, Linear4bit)]
    assert {layer.compute_dtype for layer in layers} == {expected}
    assert loaded.dtype == torch.float32
    encoded, frames = _conversation(loaded)
    assert _own_logits(loaded, encoded, frames).dtype == torch.float32


@pytest.mark.parametrize("shape", [(1, 3, 24), (1, 64, 24), (2, 77, 24), (70, 24), (24,)])
def test_bfloat16_products_come_in_few_sizes(monkeypatch, shape):
    generator = torch.Generator().manual_seed(0)
    x, weight, bias = (torch.randn(size, generator=generator).bfloat16() for size in (shape, (8, 24), (8,)))
    x.requires_grad_(True)
    linear, sizes = torch.nn.functional.linear, []

    def note(values, *others):
        sizes.append(values.numel() // 24)
        return linear(values, *others)

    monkeypatch.setattr(torch.nn.functional, "linear", note)
    product = multiply(x, weight, bias)
    product.sum().backward()
    expected = linear(x.detach().double(), weight.double(), bias.double())
    torch.testing.assert_close(product.double(), expected, rtol=0.02, atol=0.05)
    torch.testing.assert_close(x.grad.double(), weight.double().sum(0).expand(shape), rtol=0.02, atol=0.05)
    assert sizes[0] < 64 or sizes[0] % 64 == 0


def test_another_word_for_it_is_refused(checkpoints, monkeypatch):
    monkeypatch.setenv(CPU_DTYPE_VARIABLE, "half")
    with pytest.raises(ConfigError, match="must be auto, float32 or bfloat16, got 'half'"):
        load_model(checkpoints["qwen3_vl"], device="cpu")


def test_shells_around_unpacked_weights_are_found(checkpoints):
    model = load_model(checkpoints["qwen3_vl"], device="cpu").model
    check_quantised(model, all_language_layers=True)
    layer = model.model.language_model.layers[1].mlp
    layer.up_proj.weight = torch.nn.Parameter(torch.zeros(128, 64), requires_grad=False)
    with pytest.raises(ModelError, match=r"layers\.1\.mlp\.up_proj"):
        check_quantised(model, all_language_layers=True)
    layer.up_proj = torch.nn.Linear(64, 128)
    with pytest.raises(ModelError, match=r"layers\.1\.mlp\.up_proj.*was to be 4-bit"):
        check_quantised(model, all_language_layers=True)
    check_quantised(model, all_language_layers=False)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_quantised_is_counted_with_an_adapter_or_without(checkpoints, kind):
    model = load_model(checkpoints[kind], device="cpu").model
    count = check_quantised(model, all_language_layers=True)
    assert (count.packed, count.language) == (3 * 7, 3 * 7)
    weights = [module for module in model.modules() if isinstance(getattr(module, "weight", None), torch.Tensor)]
    assert count.whole == len(weights) - 21
    attach_lora(model, rank=2, alpha=2, dropout=0.1, seed=0, vision=True)
    assert count_quantised(model) == count
    assert str(count).startswith("21 of 21 language layers in 4 bits, ")


def _pack(model, name):
    parent, _, last = name.rpartition(".")
    old = model.get_submodule(name)
    packed = Linear4bit(old.in_features, old.out_features, bias=old.bias is not None)
    packed.load_state_dict(old.state_dict())
    setattr(model.get_submodule(parent), last, packed.to("cpu"))


@pytest.mark.parametrize(
    "name",
    [
        "lm_head",
        "model.visual.blocks.1.attn.qkv",
        "model.visual.merger.linear_fc1",
        "model.visual.blocks.2.mlp.linear_fc2",
    ],
)
def test_what_must_be_whole_and_is_not_is_named(checkpoints, name):
    model = load_model(checkpoints["qwen3_vl"], device="cpu").model
    _pack(model, name)
    with pytest.raises(ModelError, match=f"^{name}: was loaded in few bits and must be whole") as caught:
        check_quantised(model, all_language_layers=True)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["model.language_model.embed_tokens", "model.language_model.layers.0.input_layernorm"])
def test_tables_and_norms_that_are_not_whole_are_named(checkpoints, name):
    model = load_model(checkpoints["qwen3_vl"], device="cpu").model
    module = model.get_submodule(name)
    module.weight = torch.nn.Parameter(module.weight.to(torch.uint8), requires_grad=False)
    with pytest.raises(ModelError, match=f"^{name}: was loaded in few bits"):
        check_quantised(model, all_language_layers=False)


def test_bundled_names_mean_one_folder(checkpoints, monkeypatch):
    monkeypatch.setattr(checkpoints_module, "BUNDLED_FOLDER", checkpoints["qwen3_vl"])
    nano, base = load_model("nano", device="cpu"), load_model("base", device="cpu")
    assert nano.source == base.source == "nano"
    assert nano.fingerprint == base.fingerprint
    monkeypatch.setattr(checkpoints_module, "BUNDLED_FOLDER", checkpoints["qwen3_vl"] / "gone")
    with pytest.raises(ModelError, match="missing from this installation"):
        load_model("nano")


def test_fingerprints_tell_weights_apart(checkpoints, tmp_path):
    same = load_model(write_tiny_checkpoint(tmp_path / "same", seed=0), device="cpu").fingerprint
    other = load_model(write_tiny_checkpoint(tmp_path / "other", seed=1), device="cpu").fingerprint
    assert same == load_model(checkpoints["qwen3_vl"], device="cpu").fingerprint != other


def _break_model_type(folder):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_type": "llama"}))


def _break_method(folder):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"quantization_config": {"quant_method": "awq"}}))


def _truncate_weights(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _shrink_config(folder):
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["text_config"]["num_hidden_layers"] = 2
    path.write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), "config.json"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json"),
        (_break_model_type, "llama"),
        (_break_method, "awq"),
        (_truncate_weights, "not a whole safetensors file"),
        (_shrink_config, "unexpected_keys"),
        (lambda folder: (folder / "model.safetensors").unlink(), "weights"),
        (lambda folder: (folder / "tokenizer.json").write_text("{"), "tokenizer"),
        (lambda folder: (folder / "chat_template.jinja").unlink(), "chat template"),
        (lambda folder: (folder / "preprocessor_config.json").unlink(), "preprocessor_config"),
    ],
)
def test_damaged_folders_are_one_error(checkpoints, tmp_path, damage, message):
    folder = shutil.copytree(checkpoints["qwen3_vl"], tmp_path / "damaged")
    damage(folder)
    with pytest.raises(ModelError, match=message) as caught:
        load_model(folder, device="cpu")
    assert "\n" not in str(caught.value)


def test_wrong_names_are_one_error(checkpoints, tmp_path):
    with pytest.raises(ModelError, match="no such model folder"):
        load_model(tmp_path / "nothing")
    with pytest.raises(ModelError, match="got a file"):
        load_model(checkpoints["qwen3_vl"] / "config.json")
    with pytest.raises(ModelError, match="not a model folder"):
        load_model(tmp_path)
    with pytest.raises(ModelError, match="4-bit weights"):
        load_model(checkpoints["qwen3_vl-nf4"], quantization="none")
    with pytest.raises(ModelError, match="no CUDA device"):
        load_model(checkpoints["qwen3_vl"], device="cuda:7" if not torch.cuda.is_available() else "bogus")


def test_a_hub_name_that_can_not_be_had_is_one_error(monkeypatch):
    def refuse(*args, **kwargs):
        raise ConnectionError("no network")

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    with pytest.raises(ModelError, match="the hub did not give it"):
        load_model("someone/some-model")
