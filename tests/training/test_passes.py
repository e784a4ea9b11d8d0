"""Passes of a step: each drops values of its own, whatever runs them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from tests.training.test_order import fake_row
from vlm_agent.models import dropout
from vlm_agent.training import passes as passes_module
from vlm_agent.training.passes import add_gradients
from vlm_agent.training.processes import Processes

pytestmark = pytest.mark.model


@pytest.mark.parametrize("library", ["hf", "unsloth"])
def test_each_pass_of_a_step_draws_by_a_seed_of_its_own_and_counts_by_its_weight(monkeypatch, library):
    model = torch.nn.Linear(1, 1, bias=False)
    loaded = SimpleNamespace(model=model, library=library, runner=None, sees_anew=False, device=torch.device("cpu"))
    passes = [[fake_row(1, 10)], [fake_row(1, 30)], [fake_row(1, 60)]]
    drawn = []

    def sum_losses(_, rows, features):
        drawn.append((dropout._find_seed(), torch.initial_seed()))
        return model.weight.sum() * len(rows[0].ids)

    monkeypatch.setattr(passes_module, "sum_losses", sum_losses)
    with torch.no_grad():
        model.weight.fill_(2.0)
    loss, num_tokens = add_gradients(loaded, passes, None, 40)
    assert [seed for seed, _ in drawn] == [40, 41, 42]
    if library == "unsloth":  # its dropout is torch's own
        assert [seed for _, seed in drawn] == [40, 41, 42]
    # Every token weighs 1 here: the sums over all passes, by the weight of all of them.
    assert (loss, num_tokens) == (pytest.approx(2.0), 3)
    assert float(model.weight.grad) == pytest.approx(1.0)


def test_passes_are_dealt_out_each_to_one_process():
    for count in (1, 2, 3, 5):
        shares = [Processes(rank, count).deal(range(7)) for rank in range(count)]
        assert sorted(number for share in shares for number in share) == list(range(7))
        even = [Processes(rank, count).deal_evenly(7) for rank in range(count)]
        assert len({len(share) for share in even}) == 1
        assert sorted(number for share in even for number, counts in share if counts) == list(range(7))
        assert all(0 <= number < 7 for share in even for number, _ in share)
