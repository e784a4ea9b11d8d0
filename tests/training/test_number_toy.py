"""What soft targets are for, on a toy: numbers that scatter around what can be known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from vlm_agent.training.digit_trees import END, NumberRange, grow_tree
from vlm_agent.training.number_losses import collate_numbers, find_number_losses
from vlm_agent.training.numbers import LearntNumber

pytestmark = pytest.mark.model

CPU = torch.device("cpu")
SPAN = NumberRange(0, 999, 1)


class _Toy(torch.nn.Module):
    """Says a number between 0 and 999 digit by digit, given one input and the digits so far."""

    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(9 + 4 * 12, 96), torch.nn.GELU(), torch.nn.Linear(96, 96), torch.nn.GELU(),
            torch.nn.Linear(96, 11),
        )  # fmt: skip

    def forward(self, inputs, prefixes):
        waves = [f(inputs * 2**k) for k in range(4) for f in (torch.sin, torch.cos)]
        written = torch.zeros(len(inputs), 4, 12)
        for row, prefix in enumerate(prefixes):
            written[row, len(prefix), 11] = 1
            for place, digit in enumerate(prefix):
                written[row, place, int(digit)] = 1
        return self.layers(torch.cat([torch.stack([inputs, *waves], -1), written.flatten(1)], -1))


def _train_toy(width, seed, steps=250):
    """Train on noisy numbers; return how far the likeliest answer, the median and a draw are from the truth."""
    rng = np.random.default_rng(seed)
    inputs = rng.uniform(-1, 1, 120)
    noisy = np.clip(_find_truth(inputs) + rng.normal(0, 25, len(inputs)), 0, 999).round().astype(int)
    placed, owners, prefixes = [], [], []
    for index, value in enumerate(noisy.tolist()):
        tree = grow_tree(SPAN, value, width)
        ends = ((), *[(END,)] * (len(tree.taken) - 1))
        number = LearntNumber(0, tree, tuple(range(10)), ends, is_soft=width > 0)
        placed.append((len(owners), number))
        owners += [index] * len(number.tree.taken)
        prefixes += [str(value)[:node] for node in range(len(number.tree.taken))]
    batch = collate_numbers(placed, np.concatenate([number.tree.taken for _, number in placed]), CPU)
    given = torch.tensor(inputs, dtype=torch.float32)[owners]
    model = _Toy(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(steps):
        loss = find_number_losses(model(given, prefixes), batch).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return np.mean([_measure_toy(model, one) for one in np.linspace(-0.95, 0.95, 20)], axis=0)


def _find_truth(inputs):
    return 500 + 350 * np.sin(2 * inputs)


TEXTS = [str(value) for value in range(1000)]
PREFIXES = sorted({text[:size] for text in TEXTS for size in range(len(text) + 1)})


@torch.no_grad()
def _measure_toy(model, given):
    at = {prefix: row for row, prefix in enumerate(PREFIXES)}
    logits = model(torch.full((len(PREFIXES),), float(given)), PREFIXES)
    legal = torch.zeros(len(PREFIXES), 11, dtype=torch.bool)
    for text in TEXTS:
        legal[at[text], END] = True
        for size in range(len(text)):
            legal[at[text[:size]], int(text[size])] = True
    logs = logits.double().masked_fill(~legal, -math.inf).log_softmax(-1).numpy()
    shares = np.exp([sum(logs[at[t[:size]], int(t[size])] for size in range(len(t))) + logs[at[t], END] for t in TEXTS])
    assert shares.sum() == pytest.approx(1)
    likeliest = ""
    while (outcome := int(logs[at[likeliest]].argmax())) != END:
        likeliest += str(outcome)
    median = int(shares.cumsum().searchsorted(0.5))
    errors = np.abs(np.arange(1000) - _find_truth(given))
    return errors[int(likeliest)], errors[median], shares @ errors


def test_from_noisy_numbers_soft_targets_learn_to_answer_less_wrongly():
    plain, soft = (np.mean([_train_toy(width, seed) for seed in range(2)], axis=0) for width in (0.0, 20.0))
    # Measured: the likeliest answer is off by 16 and 13, the median by 13 and 9.
    assert soft[0] < 0.9 * plain[0]
    assert soft[1] < 0.8 * plain[1]
    # What it costs: the model says a wider distribution than the numbers have, so a drawn answer is off by more.
    assert soft[2] > plain[2]
