"""Which windows are drawn, hidden and spread: each by chance of its own."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.training.synthetic import _make_window
from vlm_agent.actions.types import ActionChunk, Click, Move
from vlm_agent.training.moments import hide_recent, is_idle, spread, thin_idle

pytestmark = pytest.mark.model

WINDOWS = [replace(_make_window(tick, "train", str(tick), "long"), target=ActionChunk()) for tick in range(400)]


def test_what_is_measured_is_spread_over_all():
    assert spread(range(10), 4) == [0, 2, 5, 7]
    assert spread(range(10), 10) == spread(range(10), 99) == list(range(10))
    assert spread([], 3) == []


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (ActionChunk(), True),
        (ActionChunk((Move(20, 1, 1),)), True),
        (ActionChunk((Move(20, 1, 1), Click(20, 1, 1))), False),
        (ActionChunk(done=True), False),
    ],
)
def test_a_window_is_idle_where_nothing_is_pressed_or_said(target, expected):
    assert is_idle(replace(WINDOWS[0], target=target)) == expected


def test_what_is_hidden_has_nothing_to_do_with_what_was_kept():
    kept = thin_idle(WINDOWS, 0.5, 3)
    assert 150 < len(kept) < 250
    hidden = sum(not window.recent for window in hide_recent(kept, 0.5, 3))
    assert 0.35 < hidden / len(kept) < 0.65
    assert all(window.recent for window in hide_recent(kept, 0.0, 3))
    assert not any(window.recent for window in hide_recent(kept, 1.0, 3))
