"""How wide the targets of numbers are, and what is asked of each kind."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from vlm_agent.training import numbers
from vlm_agent.training.numbers import NumberGoals

pytestmark = pytest.mark.model

GOALS = NumberGoals(soft_points=20.0, soft_dt_ms=30.0, pinball=0.5, gaussian=0.25)


@pytest.mark.parametrize(
    ("is_dt", "maximum", "grown"),
    [(False, 999, (0, 999, 20.0)), (False, 499, (0, 499, 10.0)), (True, 600, (0, 400, 30.0))],
)
def test_places_are_wide_by_thousandths_and_times_by_milliseconds_that_are_left(monkeypatch, is_dt, maximum, grown):
    asked = []

    def grow(range_, value, width):
        asked.append((range_.minimum, range_.maximum, width))
        return SimpleNamespace(taken=[0])

    monkeypatch.setattr(numbers, "grow_tree", grow)
    slot = SimpleNamespace(is_dt=is_dt, minimum=0, maximum=maximum, step=1)
    automaton = SimpleNamespace(slot=lambda name: slot, spec=SimpleNamespace(horizon_ms=600), digits=tuple(range(10)))
    answer = SimpleNamespace(
        states=[SimpleNamespace(automaton=automaton, spent_ms=200)], tokens=[SimpleNamespace(allowed=())]
    )
    place = SimpleNamespace(start=0, slot="any", value=7)
    made = numbers._make_number(answer, place, GOALS)
    assert asked == [grown]
    assert made.is_soft
    assert (made.pinball, made.gaussian) == ((0.5, 0.0) if is_dt else (0.0, 0.25))
