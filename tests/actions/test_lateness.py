"""What came too late is dropped with its release, and what is ahead keeps its time."""

from __future__ import annotations

import pytest

from vlm_agent.actions.lateness import drop_late
from vlm_agent.actions.types import ActionChunk, Click, Key, Move


@pytest.mark.parametrize(
    ("actions", "latency_ms", "kept", "num_late"),
    [
        ((Move(0, 1, 1), Key(100, "a")), 0, (Move(0, 1, 1), Key(100, "a")), 0),
        # At its very time it is not late.
        ((Key(100, "a"), Key(100, "b")), 100, (Key(100, "a"), Key(100, "b")), 0),
        ((Key(100, "a"), Key(100, "b")), 100.5, (Key(200, "b"),), 1),
        ((Key(100, "a"), Key(100, "b"), Key(50, "c")), 150, (Key(200, "b"), Key(50, "c")), 1),
        # The release of what was never pressed goes with it, and the press after it stays whole.
        (
            (Key(0, "a", "down"), Key(200, "a", "up"), Key(50, "a", "down"), Key(50, "a", "up")),
            100,
            (Key(250, "a", "down"), Key(50, "a", "up")),
            2,
        ),
        # What was down before the chunk is released; a button and a key of one name are two things.
        ((Key(200, "a", "up"),), 100, (Key(200, "a", "up"),), 0),
        (
            (Click(0, 1, 1, "left", "down"), Key(200, "left", "up"), Click(0, 1, 1, "left", "up")),
            100,
            (Key(200, "left", "up"),),
            2,
        ),
        # A full press and release, both late, leave nothing behind that a later release could fall to.
        (
            (Key(0, "a", "down"), Key(10, "a", "up"), Key(190, "a", "up")),
            100,
            (Key(200, "a", "up"),),
            2,
        ),
    ],
)
def test_what_is_ahead_keeps_its_time(actions, latency_ms, kept, num_late):
    assert drop_late(ActionChunk(actions), latency_ms) == (ActionChunk(kept), num_late)


def test_the_word_that_the_goal_is_reached_is_never_late():
    assert drop_late(ActionChunk(done=True), 600) == (ActionChunk(done=True), 0)
