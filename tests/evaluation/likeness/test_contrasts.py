"""The player against themself is 1; what is planted is found, and no more than is there."""

from __future__ import annotations

import numpy as np
import pytest

from vlm_agent.evaluation.likeness.contrasts import (
    MOST,
    Effort,
    contrast_kinds,
    contrast_numbers,
)
from vlm_agent.evaluation.likeness.distances import measure_distances

QUICK = Effort(splits=60, resamples=40, permutations=99)


def draw_sessions(rng, num: int, values: int, *, shift: float = 0.0, form: float = 0.0):
    """Sessions whose values differ by the form of the day and by chance."""
    return [rng.normal(100 + shift + form * rng.normal(), 10.0, values) for _ in range(num)]


def test_distances_are_those_of_all_values() -> None:
    rng = np.random.default_rng(1)
    agent, player = draw_sessions(rng, 6, 30, shift=5), draw_sessions(rng, 14, 20)
    found = contrast_numbers(agent, player, QUICK, rng)
    expected = measure_distances(np.concatenate(agent), np.concatenate(player))
    assert found is not None
    assert found.distances["wasserstein"] == pytest.approx(expected.wasserstein)
    assert found.distances["ks"] == pytest.approx(expected.ks)
    assert found.distances["energy"] == pytest.approx(expected.energy)


@pytest.mark.parametrize("form", [0.0, 6.0])
@pytest.mark.parametrize(("num_agent", "per_session"), [(5, 10), (5, 60), (30, 30)])
def test_the_player_against_themself_is_one_whatever_the_sizes(form, num_agent, per_session) -> None:
    # More or fewer values than the player has, fewer or more sessions: the ratio's mean stays near 1.
    ratios, ps = [], []
    for seed in range(12):
        rng = np.random.default_rng([seed, num_agent, per_session])
        agent = draw_sessions(rng, num_agent, per_session, form=form)
        player = draw_sessions(rng, 20, 30, form=form)
        found = contrast_numbers(agent, player, QUICK, rng)
        assert found is not None
        ratios.append(found.ratio)
        ps.append(found.p)
    assert np.exp(np.mean(np.log(ratios))) == pytest.approx(1.0, abs=0.3)
    assert sum(p < 0.05 for p in ps) <= 3  # with 12 draws more than 3 would come once in 500


def test_a_shift_is_found_and_grows_with_its_size() -> None:
    rng = np.random.default_rng(2)
    player = draw_sessions(rng, 20, 30)
    ratios = []
    for shift in (0.0, 5.0, 20.0):
        found = contrast_numbers(draw_sessions(rng, 8, 30, shift=shift), player, QUICK, rng)
        assert found is not None
        ratios.append(found.ratio)
        assert found.low < found.ratio < found.high
    assert ratios[0] < 2 < ratios[1] < ratios[2]
    assert found.p == pytest.approx(0.01)  # the least that 99 exchanges can give


def test_a_difference_of_forms_is_no_difference_of_players() -> None:
    # Two sessions of 200 values each would be surely apart if values, not sessions, were exchanged.
    rng = np.random.default_rng(3)
    ps = []
    for _ in range(10):
        sides = draw_sessions(rng, 3, 200, form=8.0), draw_sessions(rng, 6, 200, form=8.0)
        found = contrast_numbers(*sides, QUICK, rng)
        assert found is not None
        ps.append(found.p)
    assert np.mean(ps) == pytest.approx(0.5, abs=0.25)


def test_few_freak_values_hardly_move_the_leading_ratio() -> None:
    rng = np.random.default_rng(4)
    agent, player = draw_sessions(rng, 10, 30), draw_sessions(rng, 20, 30)
    agent[0][0] = 1e4
    found = contrast_numbers(agent, player, QUICK, rng)
    assert found is not None
    assert found.ratios["wasserstein"] > 5 * found.ratio


def test_a_player_who_never_varies_is_left_beyond_any_number() -> None:
    found = contrast_numbers([np.full(30, 60.0)] * 4, [np.full(30, 80.0)] * 6, QUICK, np.random.default_rng(5))
    assert found is not None
    assert found.ratio == MOST
    assert found.distances["wasserstein"] == pytest.approx(20.0)


def test_too_few_values_or_none_that_differ_are_left_out() -> None:
    rng = np.random.default_rng(6)
    player = draw_sessions(rng, 10, 30)
    few = draw_sessions(rng, 19, 1)
    assert contrast_numbers(few, player, QUICK, rng, least=20) is None
    assert contrast_numbers(player, few, QUICK, rng, least=20) is None
    assert contrast_numbers(few, player, QUICK, rng, least=19) is not None
    assert contrast_numbers([np.ones(100), np.empty(0)], player, QUICK, rng) is None  # of one session only
    assert contrast_numbers([np.ones(30)] * 4, [np.ones(30)] * 4, QUICK, rng) is None


def test_kinds_are_contrasted_by_total_variation() -> None:
    rng = np.random.default_rng(7)
    player = [rng.choice([0.0, 1.0, 8.0], 30, p=[0.6, 0.3, 0.1]) for _ in range(20)]
    same = [rng.choice([0.0, 1.0, 8.0], 30, p=[0.6, 0.3, 0.1]) for _ in range(8)]
    other = [rng.choice([0.0, 1.0, 8.0], 30, p=[0.2, 0.3, 0.5]) for _ in range(8)]
    alike, apart = (contrast_kinds(agent, player, QUICK, rng) for agent in (same, other))
    assert alike is not None
    assert apart is not None
    assert apart.distances["total_variation"] == pytest.approx(0.4, abs=0.1)
    assert alike.ratio < 2 < apart.ratio


def test_the_same_seed_gives_the_same_numbers() -> None:
    rng = np.random.default_rng(8)
    sides = draw_sessions(rng, 6, 30), draw_sessions(rng, 12, 30)
    one, other = (contrast_numbers(*sides, QUICK, np.random.default_rng(9)) for _ in range(2))
    assert one == other
