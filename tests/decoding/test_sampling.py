"""Choosing a token."""

from __future__ import annotations

import pytest
import torch

from vlm_agent.decoding.sampling import SamplingConfig, make_generator, pick_index
from vlm_agent.errors import ConfigError

LOGITS = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()


def draw(config, num=2000):
    generator = torch.Generator().manual_seed(0)
    counts = [0] * len(LOGITS)
    for _ in range(num):
        counts[pick_index(LOGITS, config, generator)] += 1
    return [count / num for count in counts]


def test_greedy_takes_the_likeliest():
    assert pick_index(LOGITS.flip(0), SamplingConfig()) == 3


def test_without_a_source_of_chance_the_likeliest_is_taken():
    assert {pick_index(LOGITS, SamplingConfig(temperature=5.0)) for _ in range(50)} == {0}


def test_temperature_one_is_the_models_own_distribution():
    assert draw(SamplingConfig(temperature=1.0)) == pytest.approx([0.5, 0.3, 0.15, 0.05], abs=0.04)


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_a_temperature_is_a_power_of_the_models_own_distribution(temperature):
    shares = LOGITS.exp() ** (1 / temperature)
    assert draw(SamplingConfig(temperature=temperature)) == pytest.approx((shares / shares.sum()).tolist(), abs=0.04)


def test_chance_is_the_seeds():
    def draws(seed):
        generator = make_generator(seed)
        return [pick_index(LOGITS, SamplingConfig(temperature=1.0), generator) for _ in range(40)]

    assert draws(1) == draws(1) != draws(2)


def test_nucleus_keeps_the_token_that_crosses_the_line():
    assert draw(SamplingConfig(temperature=1.0, top_p=0.6)) == pytest.approx([0.625, 0.375, 0, 0], abs=0.04)


def test_nucleus_never_empties():
    assert draw(SamplingConfig(temperature=1.0, top_p=0.01), 50) == [1, 0, 0, 0]


def test_out_of_range_is_refused():
    with pytest.raises(ConfigError, match="temperature"):
        SamplingConfig(temperature=-1)
    with pytest.raises(ConfigError, match="top_p"):
        SamplingConfig(top_p=0)
