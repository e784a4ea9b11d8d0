"""What is said to be kept is what autograd keeps, to the byte; the rest is held against tables made by hand."""

from __future__ import annotations

import pytest
import torch

from vlm_agent.decoding.lean import LeanStack
from vlm_agent.models.adapters import attach_lora
from vlm_agent.models.dropout import dropout_seed
from vlm_agent.models.forward import run_language
from vlm_agent.models.loading import CPU_DTYPE_VARIABLE, load_model
from vlm_agent.models.quantized import UnpackedLinear4bit
from vlm_agent.models.tiny import write_tiny_checkpoint
from vlm_agent.models.token_trees import TokenTree
from vlm_agent.training.config import LoraSettings, TrainConfig
from vlm_agent.training.planning.cards import find_card
from vlm_agent.training.planning.memory import (
    PassSize,
    Setting,
    count_copies,
    count_saved,
    count_weights,
    cpu_setting,
    cuda_setting,
    describe_trained,
    estimate_play,
    estimate_training,
)
from vlm_agent.training.planning.shapes import read_shape

pytestmark = pytest.mark.model

RANK = 8
TREE = TokenTree((0, 12, 22, 30, 40), (-1, 0, 0, -1))
"""A start of 12 tokens with two branches, the second not behind what it sees, and a window of its own."""


def _train(shape, dropout=0.0):
    return describe_trained(shape, TrainConfig(lora=LoraSettings(dropout=dropout)), RANK)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny_checkpoint(tmp_path_factory.mktemp("memory") / "tiny")


def _count_kept(model, rows, tokens, tree):
    """Bytes that autograd keeps of the language layers, weights left out, in storages each counted once."""
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    own |= {m._unpacked.untyped_storage().data_ptr() for m in model.modules() if isinstance(m, UnpackedLinear4bit)}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    ids = torch.zeros(rows, tokens, dtype=torch.long)
    positions = torch.arange(tokens).expand(3, rows, -1)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), dropout_seed(0):
        run_language(model, ids, positions, tree=tree)
    return sum(size for size, _ in kept.values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("dropout", [0.0, 0.05])
@pytest.mark.parametrize(("rows", "tree"), [(1, None), (2, None), (1, TREE)])
def test_a_layer_keeps_what_is_said_to_the_byte(folder, dtype, dropout, rows, tree):
    quantization = "nf4" if dtype is torch.float32 else "none"
    loaded = load_model(folder, quantization=quantization, device="cpu")
    model = loaded.model if dtype is torch.float32 else loaded.model.to(dtype)
    with torch.no_grad():
        run_language(model, torch.zeros(1, 4, dtype=torch.long), torch.zeros(3, 1, 4, dtype=torch.long))
    attach_lora(model, rank=RANK, alpha=8, dropout=dropout, seed=0).train()
    tokens, shape = 40, read_shape(folder)
    setting = Setting(dtype.itemsize, quantization == "nf4", quantization == "nf4", recomputes=False)
    size = PassSize(rows * tokens, 10, tree is not None, *(count_copies(tree) if tree else (0, 0)))
    layer = count_saved(shape, setting, _train(shape, dropout), size)
    # Layers share sines and cosines. The first layer's input needs no gradient: its norm keeps none, the last norm
    # does; and dropout keeps no mask for its three adapters on that input.
    shared = 2 * rows * tokens * shape.head_size * dtype.itemsize
    spared = 3 * rows * tokens * shape.hidden * 4 if dropout else 0
    assert _count_kept(model, rows, tokens, tree) == shape.layers * layer + shared - spared


@pytest.mark.parametrize("mixes", [False, True])
@pytest.mark.parametrize(("rows", "tree"), [(1, None), (2, None), (1, TREE)])
def test_a_layer_that_is_trained_itself_keeps_what_is_said(folder, mixes, rows, tree):
    model = load_model(folder, quantization="none", device="cpu", in_float32=True).model
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(".visual." not in f".{name}")
    tokens, shape = 40, read_shape(folder)
    setting = Setting(2 if mixes else 4, False, False, recomputes=False, keeps_float=mixes)
    size = PassSize(rows * tokens, 10, tree is not None, *(count_copies(tree) if tree else (0, 0)))
    with torch.autocast("cpu", torch.bfloat16, enabled=mixes):
        kept = _count_kept(model, rows, tokens, tree)
    layer = count_saved(shape, setting, describe_trained(shape, TrainConfig(full=True), 0), size)
    # Sines and cosines, the input of the first layer and the last norm's, and weights as they are multiplied.
    shared = 2 * rows * tokens * shape.head_size * 4 + 2 * rows * tokens * shape.hidden * 4
    casts = 2 * shape.matrices if mixes else 0
    # In two precisions some values are kept in both.
    assert kept == pytest.approx(shape.layers * layer + shared + casts, rel=0.05 if mixes else 0.001)


@pytest.mark.parametrize(
    ("optimizer", "rank", "per_parameter"),
    [
        ("adamw", 128, 4 + 4 + 4 + 8),
        ("adamw-8bit", 128, 4 + 4 + 4 + 2 + 1 / 32),
        ("adamw-8bit", 8, 4 + 4 + 4 + 8),  # matrices of 8 x 64 are too small for 8 bits
        ("paged-adamw-8bit", 128, 4 + 4 + 4),
    ],
)
def test_what_a_trained_parameter_takes_by_optimizer(folder, optimizer, rank, per_parameter):
    shape = read_shape(folder)
    trained = describe_trained(shape, TrainConfig(optimizer=optimizer), rank)
    use = estimate_training(shape, cpu_setting(shape, "nf4"), trained, PassSize(100, 10), kept_bytes=0)
    assert use.adapter == round(shape.count_lora(rank) * per_parameter)


def test_shared_weights_are_a_share_and_what_is_gathered(folder):
    shape, config = read_shape(folder), TrainConfig(full=True, shard=True)
    setting = Setting(4, False, False, recomputes=False)

    def estimate(processes):
        trained = describe_trained(shape, config, 0, processes)
        return estimate_training(shape, setting, trained, PassSize(100, 10), kept_bytes=0)

    alone, two, four = map(estimate, (1, 2, 4))
    gathered = 2 * 4 * (shape.total - shape.language + 2 * shape.language // shape.layers)
    assert two.weights == 4 * shape.total // 2 + gathered
    assert four.weights == 4 * shape.total // 4 + gathered
    assert alone.weights == 4 * shape.total
    parameters = shape.total - shape.vision
    assert (alone.adapter, two.adapter, four.adapter) == (16 * parameters, 6 * parameters, 3 * parameters)
    assert alone.activations == two.activations == four.activations


@pytest.mark.parametrize("family", ["qwen3_vl", "qwen2_5_vl"])
def test_parameters_are_those_of_the_real_model(tmp_path, family):
    folder = write_tiny_checkpoint(tmp_path / family, family)
    model = load_model(folder, quantization="none", device="cpu").model
    shape = read_shape(folder)
    assert shape.total == sum(parameter.numel() for parameter in model.parameters())
    assert shape.vision == sum(parameter.numel() for parameter in model.model.visual.parameters())
    assert shape.embedding == shape.head == model.lm_head.weight.numel()
    wrapped = attach_lora(model, rank=RANK, alpha=8, dropout=0.0, seed=0)
    assert shape.count_lora(RANK) == sum(p.numel() for p in wrapped.parameters() if p.requires_grad)


def test_packed_weights_weigh_what_they_weigh_on_disk(tmp_path, monkeypatch):
    folder = write_tiny_checkpoint(tmp_path / "packed", nf4=True)
    model = load_model(folder, device="cpu").model
    packed = 0
    for module in model.modules():
        if isinstance(module, UnpackedLinear4bit):
            state = module.weight.quant_state
            scales = state.absmax.nbytes + state.state2.absmax.nbytes
            packed += module.weight.nbytes + scales
    shape = read_shape(folder)
    plain = Setting(4, is_packed=True, unpacked_bytes=0, recomputes=False)
    whole = 4 * (shape.total - shape.packed)
    # Blocks of tiny layers are not full: a few bytes more.
    assert count_weights(shape, plain) - whole == pytest.approx(packed, rel=0.01)
    for dtype, size in (("float32", 4), ("bfloat16", 2)):
        monkeypatch.setenv(CPU_DTYPE_VARIABLE, dtype)
        assert count_weights(shape, cpu_setting(shape, "nf4")) == count_weights(shape, plain) + size * shape.packed


def test_recomputing_keeps_a_fraction_and_longer_passes_take_more(folder):
    shape, size = read_shape(folder), PassSize(1000, 100)
    keeping = Setting(2, is_packed=True, unpacked_bytes=0, recomputes=False)
    sparing = Setting(2, is_packed=True, unpacked_bytes=0, recomputes=True)
    full, spared = (
        estimate_training(shape, setting, _train(shape), size, kept_bytes=7) for setting in (keeping, sparing)
    )
    assert spared.activations < full.activations
    assert (spared.weights, spared.adapter, spared.kept, spared.moment) == (full.weights, full.adapter, 7, full.moment)
    longer = estimate_training(shape, sparing, _train(shape), PassSize(2000, 100), kept_bytes=7)
    assert longer.total > spared.total
    # Beside three layers, or their inputs and one of them: embeddings twice, and the last states before and after norm.
    streams, layer = 2 * 1000 * shape.hidden, count_saved(shape, sparing, _train(shape), size)
    assert full.activations == 3 * layer + 4 * streams
    assert spared.activations == 3 * streams + layer + 4 * streams
    # Log-probabilities, their gradient and the logits of the targets; and gradients within one MLP.
    head, within = 100 * shape.vocabulary * (4 + 4 + 2), 2 * 1000 * (shape.intermediate + 2 * shape.hidden)
    assert full.moment == max(head + within, 2 * shape.hidden * shape.intermediate)
    assert full.reserve == 0
    parts = (full.weights, full.adapter, full.activations, full.moment, full.kept)
    assert (full.alive, full.total) == (sum(parts), sum(parts))


@pytest.mark.parametrize("at_once", [2, 4])
def test_passes_side_by_side_share_the_holes_of_one_heap(folder, at_once):
    shape = read_shape(folder)
    setting = cpu_setting(shape, "nf4")
    one, several = (
        estimate_training(shape, setting, _train(shape), PassSize(1000, 100, at_once=n), kept_bytes=0)
        for n in (1, at_once)
    )
    assert several.activations == at_once * one.activations
    assert several.moment == at_once * one.moment
    assert several.reserve == one.reserve == 70_000_000 + round(0.35 * (one.activations + one.moment))
    assert several.total - several.reserve == several.alive
    # Gradients of the step so far, and each pass's own.
    assert several.adapter - one.adapter == 4 * (at_once - 1) * shape.count_lora(RANK)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_play_counts_every_copy_that_the_lean_stack_keeps(folder, monkeypatch, dtype):
    monkeypatch.setenv(CPU_DTYPE_VARIABLE, dtype)
    shape, setting = read_shape(folder), cpu_setting(read_shape(folder), "nf4")
    copied = estimate_play(shape, setting, RANK, 600, 60).weights - count_weights(shape, setting)
    stack = LeanStack(load_model(folder, device="cpu").model)
    matrices = [getattr(layer, name) for layer in stack._layers for name in ("qkv", "out", "gate_up", "down")]
    kept = [tensor for matrix in matrices for tensor in (matrix.exact, matrix.coarse) if tensor is not None]
    # Norms are counted as often as matrices, and kept once.
    assert copied == pytest.approx(sum(tensor.nbytes for tensor in kept), rel=0.02)


def test_a_card_computes_in_what_it_can(folder):
    shape = read_shape(folder)
    assert find_card("T4").value_bytes == 4
    small, large = (
        estimate_play(shape, cuda_setting(find_card(n).value_bytes, "none"), RANK, 600, 60) for n in ("l4", "t4")
    )
    assert large.weights == 2 * small.weights
    assert large.activations == 2 * small.activations == 2 * 2 * 3 * 32 * 660 * 2
