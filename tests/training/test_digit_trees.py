"""Digit trees by hand, and against enumerating all values by their texts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm_agent.training.digit_trees import END, OUTCOMES, DigitTree, NumberRange, grow_tree


def _bell(value: int, truth: int, width: float) -> float:
    return math.exp(-((value - truth) ** 2) / (2 * width**2))


def test_targets_by_hand():
    tree = grow_tree(NumberRange(0, 12, 1), 1, 3.0)
    weight = {value: _bell(value, 1, 3.0) for value in range(13)}
    total = sum(weight.values())
    assert tree.taken.tolist() == [1, END]
    first = np.zeros(OUTCOMES)
    first[:10] = [weight[digit] for digit in range(10)]
    first[1] += weight[10] + weight[11] + weight[12]
    np.testing.assert_allclose(tree.targets[0], first / total)
    second = np.zeros(OUTCOMES)
    second[[0, 1, 2, END]] = weight[10], weight[11], weight[12], weight[1]
    np.testing.assert_allclose(tree.targets[1], second / second.sum())
    assert tree.legal[0].tolist() == [True] * 10 + [False]
    assert np.flatnonzero(tree.legal[1]).tolist() == [0, 1, 2, END]


def test_times_of_a_grid_by_hand():
    tree = grow_tree(NumberRange(0, 120, 10), 20, 20.0)
    assert tree.taken.tolist() == [2, 0, END]
    # No number but 0 ends in anything but 0, and 100, 110 and 120 are behind the digit 1.
    assert np.flatnonzero(tree.legal[0]).tolist() == list(range(10))
    assert np.flatnonzero(tree.legal[1]).tolist() == [0]
    assert np.flatnonzero(tree.legal[2]).tolist() == [END]
    weight = {value: _bell(value, 20, 20.0) for value in range(0, 121, 10)}
    behind_1 = weight[10] + weight[100] + weight[110] + weight[120]
    assert tree.targets[0, 1] == pytest.approx(behind_1 / sum(weight.values()))
    assert tree.targets[1:].max(1).tolist() == [1.0, 1.0]
    assert tree.branches.tolist() == [0, 1, 2 * 11 + END, 3, 4, 5, 6, 7, 8, 9, 1, 1, 1]
    assert tree.shares.tolist() == [1, 0.25, 1, 1, 1, 1, 1, 1, 1, 1, 0.25, 0.25, 0.25]


def test_a_near_miss_is_asked_for_more_than_a_far_one():
    tree = grow_tree(NumberRange(0, 999, 1), 547, 4.0)
    assert (np.diff(tree.targets[2, :8]) > 0).all()
    assert (np.diff(tree.targets[2, 7:10]) < 0).all()
    assert tree.targets[1, 4] > tree.targets[1, 5] > tree.targets[1, 3] > tree.targets[1, 0]
    assert tree.targets[0, 5] == pytest.approx(1.0)
    # Where a decade ends the first digits share.
    border = grow_tree(NumberRange(0, 999, 1), 400, 4.0)
    assert 0.4 < border.targets[0, 3] < border.targets[0, 4] < 0.6


def test_a_number_that_cannot_be_written_has_no_tree():
    for truth in (5, 130):
        with pytest.raises(ValueError, match=f"{truth} is no value"):
            grow_tree(NumberRange(0, 120, 10), truth, 0.0)


@st.composite
def numbers(draw):
    step = draw(st.sampled_from((1, 2, 7, 10, 16, 50)))
    minimum = draw(st.sampled_from((0, 0, 1)))
    maximum = draw(st.integers(max(step, minimum), 2500))
    span = NumberRange(minimum, maximum, step)
    values = list(range(-(-minimum // step) * step, maximum + 1, step))
    return span, values, draw(st.sampled_from(values)), draw(st.sampled_from((0.0, 0.01, 3.0, 40.0, 1e6)))


def _outcomes_behind(values: list[int], prefix: str) -> dict[int, list[int]]:
    """The values that begin with some digits, by what comes next."""
    found: dict[int, list[int]] = {}
    for value in values:
        text = str(value)
        if text.startswith(prefix):
            found.setdefault(int(text[len(prefix)]) if len(text) > len(prefix) else END, []).append(value)
    return found


@given(case=numbers())
def test_targets_are_those_of_enumerating_all_values(case):
    span, values, truth, width = case
    tree = grow_tree(span, truth, width)
    weight = {value: _bell(value, truth, width) if width else float(value == truth) for value in values}
    np.testing.assert_allclose(tree.targets.sum(1), 1.0)
    assert tree.values.tolist() == values
    chance = 1.0
    for node, outcome in enumerate(tree.taken.tolist()):
        behind = _outcomes_behind(values, str(truth)[:node])
        assert np.flatnonzero(tree.legal[node]).tolist() == sorted(behind)
        assert not tree.targets[node][~tree.legal[node]].any()
        total = sum(weight[value] for some in behind.values() for value in some)
        for one, some in behind.items():
            assert tree.targets[node, one] == pytest.approx(sum(weight[value] for value in some) / total, abs=1e-12)
        chance *= tree.targets[node, outcome]
    # What is asked of the digits together is what is asked of the value.
    assert chance == pytest.approx(1 / sum(weight.values()), rel=1e-9)
    if width == 0:
        assert tree.targets.tolist() == np.eye(OUTCOMES)[tree.taken].tolist()


@given(case=numbers())
def test_branches_part_the_values(case):
    span, values, truth, _ = case
    tree = grow_tree(span, truth, 0.0)
    behind = [_outcomes_behind(values, str(truth)[:node]) for node in range(len(tree.taken))]
    for value, branch, share in zip(values, tree.branches.tolist(), tree.shares.tolist(), strict=True):
        node, outcome = divmod(branch, OUTCOMES)
        mates = behind[node][outcome]
        is_beside = outcome != tree.taken[node]
        # Whoever leaves the way shares a branch with all who leave it there; the true value ends it, alone.
        assert value in mates
        assert is_beside or (value == truth and outcome == END and node == len(tree.taken) - 1)
        assert share == pytest.approx(1 / len(mates))
    assert np.bincount(tree.branches, tree.shares)[np.unique(tree.branches)] == pytest.approx(1.0)


def expand(tree: DigitTree, shares: np.ndarray) -> dict[int, float]:
    """Return the distribution over values that probabilities of outcomes (J, 11) say, by walking from the root."""
    found: dict[int, float] = {}
    values = [int(value) for value in tree.values]
    truth = "".join(map(str, tree.taken.tolist()[:-1]))
    mass = 1.0
    for node, outcome in enumerate(tree.taken.tolist()):
        legal = shares[node] * tree.legal[node] / (shares[node] * tree.legal[node]).sum()
        for one, some in _outcomes_behind(values, truth[:node]).items():
            if one != outcome:
                found |= dict.fromkeys(some, mass * legal[one] / len(some))
        mass *= legal[outcome]
    return {**found, int(truth): mass}
