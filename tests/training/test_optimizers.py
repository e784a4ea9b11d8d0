"""Optimizers move what has a gradient, and nothing else."""

from __future__ import annotations

import pytest
import torch

from vlm_agent.training.optimizers import make_optimizer

pytestmark = pytest.mark.model


@pytest.mark.parametrize("name", ["adamw", "adamw-8bit"])
def test_weights_do_not_decay_and_the_first_step_is_the_rate(name):
    still, moved = torch.nn.Parameter(torch.ones(70, 64)), torch.nn.Parameter(torch.ones(70, 64))
    optimizer = make_optimizer(name, [still, moved])
    assert {group["lr"] for group in optimizer.param_groups} == {0.0}
    still.grad, moved.grad = torch.zeros(70, 64), torch.full((70, 64), 3.0)
    for group in optimizer.param_groups:
        group["lr"] = 0.25
    optimizer.step()
    assert still.equal(torch.ones(70, 64))
    torch.testing.assert_close(moved.detach(), torch.full((70, 64), 0.75), rtol=1e-3, atol=0)
