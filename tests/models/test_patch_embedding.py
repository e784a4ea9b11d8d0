"""Multiplying patches gives what convolving them gives, and the checkpoint stays what it was."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from vlm_agent.models.loading import load_model

pytestmark = pytest.mark.model


@pytest.mark.parametrize("family", ["qwen3_vl", "qwen2_5_vl"])
def test_a_product_is_the_convolution(checkpoints: dict[str, Path], family: str) -> None:
    loaded = load_model(checkpoints[family], quantization="none", device="cpu")
    embed = loaded.model.model.visual.patch_embed
    assert "forward" in vars(embed)
    embed.requires_grad_(True)
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
