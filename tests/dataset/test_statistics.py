"""Counts over windows, by hand."""

from __future__ import annotations

from vlm_agent.actions.types import ActionChunk, Click, Key, Move
from vlm_agent.dataset.statistics import WindowStatistics, statistics_table
from vlm_agent.dataset.windows import Window


def window(*actions, goal="open the bank", level="short") -> Window:
    return Window("s", 0, 0, "train", goal, level, "game", 1.0, "ab", 96, 64, ActionChunk(actions))


def test_windows_are_counted_by_what_is_done_in_them():
    counts = WindowStatistics()
    for one in (
        window(),
        window(goal="make rings", level="long"),
        window(Click(0, 1, 2), Key(0, "a")),
        window(Move(0, 1, 2), Click(0, 1, 2)),
        window(Key(0, "a")),
    ):
        counts.add(one)
    assert counts.to_json() == {
        "windows": 5,
        "idle_share": 0.4,
        "mean_actions": 1.0,
        "events": {"CLICK": 2, "KEY": 2, "MOVE": 1},
        "actions_per_window": {"0": 2, "1": 1, "2": 2},
        "levels": {"long": 1, "short": 4},
        "goals": {"open the bank": 4, "make rings": 1},
        "different_goals": 2,
    }
    [row] = zip(*(column.cells for column in statistics_table({"train": counts.to_json()}).columns), strict=True)
    assert row == ("train", "5", "40%", "1.00", "2", "2", "0", "1", "2")
    assert WindowStatistics().to_json()["mean_actions"] == 0
