"""4-bit layers that go on giving gradients, however they were used before."""

from __future__ import annotations

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit
from bitsandbytes.nn import Linear4bit

from vlm_agent.models import quantized
from vlm_agent.models.loading import load_model
from vlm_agent.models.quantized import UnpackedLinear4bit, prepare_4bit_layers

pytestmark = pytest.mark.model

CPU = torch.device("cpu")


def make_layer() -> Linear4bit:
    torch.manual_seed(0)
    return Linear4bit(64, 32, bias=True, quant_type="nf4").to(CPU)


@pytest.mark.parametrize("limit", [quantized.UNPACKED_LIMIT_PARAMETERS, 0])
def test_after_a_pass_without_gradients_there_are_gradients_as_before(monkeypatch, limit):
    """On CPUs with AVX512-BF16 bitsandbytes repacks weights for good in a pass without gradients, if it may."""
    monkeypatch.setattr(quantized, "UNPACKED_LIMIT_PARAMETERS", limit)
    layer = make_layer()
    layer.support_avx512bf16_for_cpu = True  # as it is on such a CPU
    prepare_4bit_layers(torch.nn.Sequential(layer), torch.bfloat16, CPU)
    assert layer.support_avx512bf16_for_cpu is False
    assert isinstance(layer, UnpackedLinear4bit) == (limit > 0)
    gradients = []
    for _ in range(2):
        x = torch.ones(3, 64, requires_grad=True)
        layer(x).sum().backward()
        gradients.append(x.grad)
        with torch.no_grad():
            layer(torch.ones(3, 64, dtype=torch.bfloat16))
    assert gradients[0].abs().max() > 0
    assert gradients[0].equal(gradients[1])


def test_every_4_bit_layer_of_a_loaded_model_is_told_so(checkpoints):
    for kind in ("qwen3_vl", "qwen3_vl-nf4"):
        layers = [m for m in load_model(checkpoints[kind], device="cpu").model.modules() if isinstance(m, Linear4bit)]
        assert len(layers) == 21
        assert {layer.support_avx512bf16_for_cpu for layer in layers} == {False}


def test_layers_compute_in_what_they_are_told_and_give_what_they_were_given():
    layer = make_layer()
    prepare_4bit_layers(torch.nn.Sequential(layer), torch.bfloat16, CPU)
    exact = make_layer()
    prepare_4bit_layers(torch.nn.Sequential(exact), torch.float32, CPU)
    x = torch.randn(70, 64)
    coarse, fine = layer(x).detach(), exact(x).detach()
    assert coarse.dtype == fine.dtype == torch.float32
    assert 1e-4 < float((coarse - fine).abs().max()) < 0.1
    assert layer.compute_type_is_set


def test_an_unpacked_copy_does_not_outlive_a_move():
    layer = make_layer()
    prepare_4bit_layers(torch.nn.Sequential(layer), torch.float32, CPU)
    before = layer(torch.ones(1, 64))
    assert layer._unpacked is not None
    layer.to(CPU)
    assert layer._unpacked is None
    assert layer(torch.ones(1, 64)).equal(before)


@pytest.mark.parametrize("tokens", [1, 70, 300])
def test_an_unpacked_layer_gives_the_weights_times_values_plus_its_bias(tokens):
    layer, packed = make_layer(), make_layer()
    bias = torch.randn(32)
    for one in (layer, packed):
        one.bias.data.copy_(bias)
    prepare_4bit_layers(torch.nn.Sequential(layer), torch.bfloat16, CPU)
    x = torch.randn(2, tokens, 64)
    weight = dequantize_4bit(packed.weight.data, packed.weight.quant_state)
    torch.testing.assert_close(layer(x), x @ weight.T + bias, rtol=0.03, atol=0.03)
