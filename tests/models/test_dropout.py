"""Dropout that depends on a seed alone."""

from __future__ import annotations

import threading

import pytest
import torch
from peft import LoraConfig, get_peft_model

from vlm_agent.errors import ModelError
from vlm_agent.models.dropout import SeededDropout, dropout_seed, leave_dropout_to_torch, seed_dropout

pytestmark = pytest.mark.model


def _drop(seed: int, probability: float = 0.25, shape: tuple[int, ...] = (3, 1001, 7)) -> torch.Tensor:
    with dropout_seed(seed):
        return SeededDropout(probability)(torch.ones(shape))


def test_values_are_dropped_as_often_as_asked_and_the_mean_stays():
    for probability in (0.05, 0.25, 0.9):
        dropped = _drop(1, probability, (400, 1000))
        assert float((dropped == 0).float().mean()) == pytest.approx(probability, abs=0.003)
        assert float(dropped.mean()) == pytest.approx(1, abs=0.02)
        assert len(dropped.unique()) == 2


def test_it_is_a_function_of_the_seed_in_every_thread():
    want, found = _drop(5), []
    threads = [threading.Thread(target=lambda: found.append(_drop(5))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert all(one.equal(want) for one in found)
    assert not _drop(6).equal(want)


def test_layers_and_passes_draw_differently():
    first, second, x = SeededDropout(0.5), SeededDropout(0.5, number=1), torch.ones(100)
    drawn = []
    for seed in range(3):
        with dropout_seed(seed):
            drawn += [first(x), second(x)]
    assert len({tuple(one.tolist()) for one in drawn}) == 6


def test_a_layer_that_is_run_again_drops_the_same_also_in_a_thread_of_autograds():
    layer, x, found = SeededDropout(0.5), torch.ones(100), []
    with dropout_seed(3):
        want = layer(x)
        assert layer(x).equal(want)
        thread = threading.Thread(target=lambda: found.append(layer(x)))
        thread.start()
        thread.join()
    assert found[0].equal(want)


def test_gradients_pass_where_values_do():
    x = torch.ones(50, requires_grad=True)
    with dropout_seed(0):
        y = SeededDropout(0.5)(x)
    y.sum().backward()
    assert x.grad.equal(y.detach())


def test_outside_training_nothing_happens_and_training_needs_a_seed():
    layer, x = SeededDropout(0.5), torch.ones(8)
    with pytest.raises(ModelError, match="dropout_seed"):
        layer(x)
    assert layer.eval()(x) is x
    assert SeededDropout(0.0)(x) is x


def _wrap(probability: float):
    torch.manual_seed(0)
    layers = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 4))
    return get_peft_model(layers, LoraConfig(target_modules=["0", "1"], lora_dropout=probability))


def _dropouts(wrapped) -> list[torch.nn.Module]:
    return [module.lora_dropout["default"] for module in wrapped.modules() if hasattr(module, "lora_dropout")]


def test_layers_of_an_adapter_drop_what_it_says_each_by_draws_of_its_own():
    wrapped = _wrap(0.25)
    seed_dropout(wrapped)
    with dropout_seed(1):
        dropped = [layer.train()(torch.ones(4000)) for layer in _dropouts(wrapped)]
    assert len(dropped) == 2
    assert not dropped[0].equal(dropped[1])
    for one in dropped:
        assert float((one == 0).float().mean()) == pytest.approx(0.25, abs=0.03)


def test_torchs_own_dropout_is_put_back_with_its_probability():
    wrapped = _wrap(0.25)
    seed_dropout(wrapped)
    leave_dropout_to_torch(wrapped)
    assert [(type(layer), layer.p) for layer in _dropouts(wrapped)] == [(torch.nn.Dropout, 0.25)] * 2
