"""Multiplying patches gives what convolving them gives, and the checkpoint stays what it was."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from vlm_agent.models.loading import load_model
from vlm_agent.models.patch_embedding import multiply_patches

pytestmark = pytest.mark.model


@pytest.mark.parametrize("family", ["qwen3_vl", "qwen2_5_vl"])
def test_a_product_is_the_convolution(checkpoints: dict[str, Path], family: str) -> None:
    loaded = load_model(checkpoints[family], quantization="none", device="cpu")
    embed = loaded.model.model.visual.patch_embed
    assert "forward" in vars(embed)
    embed.requires_grad_(True)
    if embed.proj.bias is not None:
        embed.proj.bias.data.normal_(generator=torch.Generator().manual_seed(2))
    values = embed.proj.weight.flatten(1).shape[1]
    patches = torch.randn(12, values, generator=torch.Generator().manual_seed(1))
    results = []
    for forward in (embed.forward, type(embed).forward.__get__(embed)):
        embed.zero_grad()
        out = forward(patches)
        out.square().sum().backward()
        results.append((out.detach(), embed.proj.weight.grad.clone()))
    (out, gradient), (expected, expected_gradient) = results
    assert out.shape == (12, embed.proj.weight.shape[0])
    torch.testing.assert_close(out, expected)
    # Sums that cancel are as coarse as what they are summed from, on some processors more than on others.
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-4, atol=1e-5 * float(expected_gradient.abs().max()))
    assert {name for name, _ in embed.named_parameters()} <= {"proj.weight", "proj.bias"}


@pytest.mark.parametrize(
    ("settings", "is_product"),
    [({}, True), ({"stride": 1}, False), ({"padding": 1}, False), ({"groups": 3}, False)],
)
def test_only_a_kernel_that_takes_each_value_once_is_a_product(settings: dict[str, int], is_product: bool) -> None:
    proj = torch.nn.Conv3d(3, 6, 2, **({"stride": 2} | settings))
    embed = SimpleNamespace(proj=proj)
    multiply_patches(SimpleNamespace(model=SimpleNamespace(visual=SimpleNamespace(patch_embed=embed))))
    assert hasattr(embed, "forward") == is_product
