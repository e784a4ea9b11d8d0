"""What came before a window: its own session, unbroken, oldest first, and never itself."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vlm_agent.actions.spec import ActionSpec
from vlm_agent.actions.types import ActionChunk
from vlm_agent.chat import make_conversational, make_recipe
from vlm_agent.dataset.histories import Histories
from vlm_agent.dataset.windows import Window

MS = 1_000_000
SPEC = ActionSpec(160, 96, keys=("a",))
PLAIN = make_recipe(SPEC, image_width_px=64, image_height_px=32)
PICTURES = replace(PLAIN, history_frames=3)
TALK = make_conversational(PLAIN, 4)


def window(t_ms: float, session: str = "s", goal: str = "x", level: str = "long") -> Window:
    where = {"frame_width_px": 160, "frame_height_px": 96, "target": ActionChunk()}
    return Window(session, 0, round(t_ms * MS), "train", goal, level, "human", 1.0, f"{session}{t_ms}", **where)


def runs(windows, recipe) -> list[list[Window]]:
    return Histories(windows, recipe).runs


@pytest.mark.parametrize("recipe", [PICTURES, TALK])
def test_a_run_ends_where_a_decision_lies_too_far_off(recipe):
    gap_ms = recipe.most_gap_ms
    near = [window(0), window(gap_ms), window(2 * gap_ms)]
    assert runs(near, recipe) == [near]
    assert runs(near[::-1], recipe) == [near]
    far = [window(0), window(gap_ms + 1e-6)]
    assert runs(far, recipe) == [[far[0]], [far[1]]]


@pytest.mark.parametrize("recipe", [PICTURES, TALK])
def test_sessions_are_apart_however_their_clocks_run(recipe):
    mixed = [window(600 * number, session) for number in range(3) for session in "ab"]
    assert runs(mixed, recipe) == [mixed[::2], mixed[1::2]]


def test_in_a_conversation_goals_and_levels_are_apart_and_of_pictures_they_are_one():
    first, other = [window(0), window(600)], [window(1200, goal="y"), window(1800, goal="y")]
    short = [window(0, level="short"), window(600, level="short")]
    assert runs([*first, *other, *short], TALK) == [first, other, short]
    assert runs([*first, *other, *short], PICTURES) == [[*first, *other]]


def test_what_is_shown_is_what_came_before_oldest_first():
    windows = [window(600 * number) for number in range(5)]
    histories = Histories(windows, PICTURES)
    assert [list(histories.before(one)) for one in windows] == [
        [], windows[:1], windows[:2], windows[1:3], windows[2:4]
    ]  # fmt: skip
    # A window with another goal at the same moment has the same past.
    assert histories.before(window(1200, goal="y")) == tuple(windows[:2])
    assert Histories(windows, PLAIN).before(windows[2]) == ()
    assert Histories(windows, PLAIN).runs == []


def test_a_decision_goes_on_where_all_that_was_shown_before_is_shown_with_it():
    windows = [window(600 * number) for number in range(6)]
    histories = Histories(windows, TALK)
    assert [len(histories.before(one)) for one in windows] == [0, 1, 2, 3, 2, 3]
    assert [histories.goes_on(one) for one in windows] == [False, True, True, True, False, True]
