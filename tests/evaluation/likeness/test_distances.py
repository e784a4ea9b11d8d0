"""Distances are those of SciPy, and behave as distances."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from vlm_agent.evaluation.likeness.distances import lay_ladder, lay_tally, measure_distances

SAMPLES = st.lists(st.integers(-50, 50).map(lambda value: value / 4), min_size=1, max_size=30).map(np.array)


@given(SAMPLES, SAMPLES)
def test_all_three_are_those_of_scipy(one, other) -> None:
    found = measure_distances(one, other)
    assert found.wasserstein == pytest.approx(stats.wasserstein_distance(one, other))
    assert found.ks == pytest.approx(stats.ks_2samp(one, other, method="asymp").statistic)
    assert found.energy == pytest.approx(stats.energy_distance(one, other), abs=1e-7)


@given(SAMPLES, SAMPLES, st.integers(0, 2**32 - 1))
def test_a_weight_is_a_value_that_is_there_so_often(one, other, seed) -> None:
    counts = np.random.default_rng(seed).integers(1, 4, len(one))
    values = np.concatenate([one, other])
    is_one = np.arange(len(values)) < len(one)
    weights = np.where(is_one, np.concatenate([counts, np.zeros(len(other))]), 0.0)
    found = lay_ladder(values).measure(weights, (~is_one).astype(float))
    expected = measure_distances(np.repeat(one, counts), other)
    assert (found.wasserstein, found.ks) == pytest.approx((expected.wasserstein, expected.ks))
    assert found.energy == pytest.approx(expected.energy, abs=1e-7)


@given(SAMPLES, SAMPLES, st.floats(-100, 100), st.floats(0.5, 8))
def test_shifting_changes_nothing_and_scaling_scales(one, other, shift, scale) -> None:
    plain, moved = measure_distances(one, other), measure_distances(scale * one + shift, scale * other + shift)
    assert moved.wasserstein == pytest.approx(scale * plain.wasserstein, abs=1e-9)
    assert moved.energy == pytest.approx(np.sqrt(scale) * plain.energy, abs=1e-6)


@given(SAMPLES, SAMPLES, SAMPLES)
def test_they_are_symmetric_nothing_to_oneself_and_keep_the_triangle(one, other, third) -> None:
    for name in ("wasserstein", "ks", "energy"):
        way, back, detour, rest, self_ = (
            getattr(measure_distances(*pair), name)
            for pair in ((one, other), (other, one), (one, third), (third, other), (one, one))
        )
        assert way == pytest.approx(back)
        assert self_ == pytest.approx(0.0, abs=1e-9)
        assert way <= detour + rest + 1e-7


def test_total_variation_by_hand() -> None:
    tally = lay_tally(np.array([7.0, 7, 7, 2, 7, 2, 2, 9]))
    one = np.array([1.0, 1, 1, 1, 0, 0, 0, 0])  # 3/4 are 7, 1/4 is 2
    assert tally.measure(one, 1 - one) == pytest.approx((abs(3 / 4 - 1 / 4) + abs(1 / 4 - 2 / 4) + 1 / 4) / 2)
    assert tally.measure(one, 5 * one) == 0.0
