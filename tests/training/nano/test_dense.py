"""Targets of the dense stage lie on the patches the model sees them on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vlm_agent.training.nano.dense import (
    DenseHead,
    decimal_digits,
    dense_loss,
    dense_targets,
    patch_middles,
    place_digits,
)
from vlm_agent.training.nano.samples import Thing

ROWS, COLUMNS = 16, 24


def test_digits() -> None:
    assert decimal_digits(7) == [0, 0, 7]
    assert decimal_digits(940) == [9, 4, 0]


def test_a_thing_is_on_its_patches_in_the_order_of_merged_tokens() -> None:
    # Patch row 1, column 2 is the lower left patch of merged cell (0, 1): token 1, third of its four patches.
    left, top = 2 * 1000 // COLUMNS + 2, 1000 // ROWS + 2
    thing = Thing("furnace", left, top, left + 38, top + 58)
    targets = dense_targets([thing], {"furnace": 3}, ROWS, COLUMNS)
    assert np.argwhere(targets.classes == 3).tolist() == [[1, 2]]
    x, y = thing.centre
    assert targets.digits[1, 2].tolist() == [*decimal_digits(x), *decimal_digits(y)]


def test_what_may_be_anywhere_is_told_by_the_place_of_each_patch_that_shows_it() -> None:
    thing = Thing("tree", 0, 0, 1000 // COLUMNS * 2 + 2, 1000 // ROWS, is_anywhere=True)
    targets = dense_targets([thing], {"tree": 1}, ROWS, COLUMNS)
    assert np.argwhere(targets.classes).tolist() == [[0, 0], [0, 1]]
    for quarter in (0, 1):
        assert targets.digits[0, quarter].tolist() == place_digits(*patch_middles(ROWS, COLUMNS)[quarter])
    mark = Thing("mark", 22, 0, 36, 20, is_anywhere=True)  # the right upper quarter of the first patch
    assert dense_targets([mark], {"mark": 1}, ROWS, COLUMNS).digits[0, 0].tolist() == place_digits(31, 15)


def test_small_things_win_over_large_ones_and_unknown_names_are_nothing() -> None:
    window, button = Thing("window", 0, 0, 1000, 1000), Thing("close", 500, 500, 545, 570)
    classes = dense_targets([button, window], {"window": 1, "close": 2}, ROWS, COLUMNS).classes
    assert (classes == 2).sum() >= 1
    assert (classes == 1).sum() > 300
    assert not dense_targets([window], {}, ROWS, COLUMNS).classes.any()


def test_a_blank_screen_has_a_loss_too() -> None:
    classes, digits = torch.zeros(1, 6, 4, dtype=torch.long), torch.zeros(1, 6, 4, 6, dtype=torch.long)
    loss, scores = dense_loss(DenseHead(8, 3), torch.zeros(1, 6, 8), classes, digits)
    assert torch.isfinite(loss)
    assert scores == {}


def test_the_loss_falls_to_nothing_when_the_head_is_right() -> None:
    targets = dense_targets([Thing("a", 100, 100, 300, 300)], {"a": 1}, ROWS, COLUMNS)
    classes, digits = torch.from_numpy(targets.classes)[None], torch.from_numpy(targets.digits)[None]
    head = DenseHead(8, 2)
    torch.manual_seed(0)
    features = torch.randn(1, 96, 8, requires_grad=True)
    optimizer = torch.optim.Adam([features, *head.parameters()], lr=0.05)
    losses = []
    for _ in range(120):
        loss, scores = dense_loss(head, features, classes, digits)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.05 * losses[0]
    assert scores["class"] == pytest.approx(1.0)
    assert scores["digit1"] == pytest.approx(1.0)
