"""Wheels of any unit: notches are whole, and all turns add up to them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm_agent.sessions.wheel import Notches, find_units_a_notch


@pytest.mark.parametrize(
    ("turns", "units"),
    [
        ([], 1),
        ([0, 0], 1),
        ([1, -1, 2, 1, 3], 1),
        ([0.25, -0.5], 1),
        ([120, -120, 240], 120),
        ([15] * 8, 120),
        ([120, 0.25, 0.25, 15, 15], 120),
        ([30, 8, 4, 2, 1, 60, 40], 120),
        ([1] * 50 + [7], 1),
    ],
)
def test_the_unit_of_a_wheel(turns, units):
    assert find_units_a_notch(turns) == units


def test_parts_add_up_and_the_rest_is_known():
    notches = Notches(120)
    assert [notches.add(0, turn)[1] for turn in (120, -120, 0.25, 0.25, 0.25, 0.25, 15, -240)] == [
        *(1, -1, 0, 0, 0, 1, 0, -2)
    ]
    assert notches.has_rest
    assert [notches.add(0, 15)[1] for _ in range(7)] == [0] * 6 + [1]
    assert not notches.has_rest


def test_so_many_notches_at_once_are_units():
    assert Notches(1).add(-120, 3) == (-1, 3)


@given(st.lists(st.integers(-480, 480), max_size=60))
def test_nothing_is_lost(turns):
    notches = Notches(120)
    for way in (1, -1):
        told = sum(notches.add(0, turn)[1] for turn in turns if turn * way > 0)
        assert told == way * (sum(turn * way for turn in turns if turn * way > 0) // 120)
