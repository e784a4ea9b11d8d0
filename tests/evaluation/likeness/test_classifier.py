"""The classifier finds what differs, in the mean or only in the spread, and finds nothing where nothing does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from vlm_agent.evaluation.likeness.classifier import measure_auc, tell_apart
from vlm_agent.evaluation.likeness.contrasts import Effort

QUICK = Effort(resamples=100, refits=19, halves=10)
COLUMNS = ("place", "size", "noise")
SCORES = st.lists(st.integers(0, 8).map(float), min_size=1, max_size=20).map(np.array)


def draw_rows(rng, num: int, rows: int, *, place: float = 0.0, spread: float = 1.0):
    return [
        np.stack([rng.normal(place, spread, rows), rng.lognormal(0, 1, rows), rng.normal(0, 1, rows)], axis=1)
        for _ in range(num)
    ]


@given(SCORES, SCORES)
def test_the_area_is_that_of_scikit_learn(positives, negatives) -> None:
    truth = [1] * len(positives) + [0] * len(negatives)
    assert measure_auc(positives, negatives) == pytest.approx(roc_auc_score(truth, [*positives, *negatives]))


def test_one_player_twice_is_a_guess() -> None:
    areas, ps = [], []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        found = tell_apart("movements", COLUMNS, draw_rows(rng, 10, 20), draw_rows(rng, 20, 20), QUICK, rng)
        assert found is not None
        areas.append(found.auc)
        ps.append(found.p)
        assert found.low < found.auc < found.high
    assert np.mean(areas) == pytest.approx(0.5, abs=0.06)
    assert max(ps) > 0.2


def test_a_shift_is_told_and_named() -> None:
    rng = np.random.default_rng(1)
    found = tell_apart("movements", COLUMNS, draw_rows(rng, 10, 20, place=4.0), draw_rows(rng, 20, 20), QUICK, rng)
    assert found is not None
    assert found.auc > 0.97
    assert found.p == pytest.approx(0.05)
    assert found.best_alone == "place"
    assert found.floor == pytest.approx(0.5, abs=0.08)
    assert (found.agent_rows, found.player_rows) == (200, 400)


def test_a_perfect_area_of_few_sessions_is_not_certain() -> None:
    rng = np.random.default_rng(5)
    agent, player = ([rng.normal(place, 1.0, (20, 3)) for _ in range(num)] for place, num in ((90, 5), (0, 20)))
    found = tell_apart("movements", COLUMNS, agent, player, QUICK, rng)
    assert found is not None
    assert (found.auc, found.high) == (1.0, 1.0)
    # As of five trials that all came out alike, those of the side with fewer sessions.
    assert found.low == pytest.approx(0.025 ** (1 / 5))


def test_a_session_is_not_known_by_its_other_rows() -> None:
    # Each session has a form of its own; with some of its rows learned from, the rest would be told by that alone.
    areas = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        sides = [[rng.normal(rng.normal(0, 9, 3), 1.0, (20, 3)) for _ in range(num)] for num in (5, 5)]
        found = tell_apart("movements", COLUMNS, *sides, Effort(resamples=10, refits=1, halves=1), rng)
        assert found is not None
        areas.append(found.auc)
    assert np.mean(areas) < 0.65


def test_an_agent_that_always_does_the_same_in_the_middle_is_told_too() -> None:
    rng = np.random.default_rng(2)
    found = tell_apart("presses", COLUMNS, draw_rows(rng, 10, 20, spread=0.05), draw_rows(rng, 20, 20), QUICK, rng)
    assert found is not None
    assert found.auc > 0.9
    assert found.best_alone == "place"


def test_what_is_unknown_tells_nothing() -> None:
    rng = np.random.default_rng(3)
    sides = draw_rows(rng, 10, 20), draw_rows(rng, 20, 20)
    for rows in (*sides[0], *sides[1]):
        rows[::3, 0] = np.nan
        rows[:, 2] = np.nan
    found = tell_apart("movements", COLUMNS, *sides, QUICK, rng)
    assert found is not None
    assert found.auc == pytest.approx(0.5, abs=0.1)


def test_too_few_rows_or_sessions_are_not_classified() -> None:
    rng = np.random.default_rng(4)
    many = draw_rows(rng, 10, 20)
    assert tell_apart("movements", COLUMNS, draw_rows(rng, 10, 3), many, QUICK, rng) is None
    assert tell_apart("movements", COLUMNS, draw_rows(rng, 3, 50), many, QUICK, rng) is None
    assert tell_apart("movements", COLUMNS, [*draw_rows(rng, 3, 50), np.empty((0, 0))], many, QUICK, rng) is None
