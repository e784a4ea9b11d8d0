"""Goals that are marked while recording: dated, taken back, and told anew."""

from __future__ import annotations

from vlm_agent.recording.goal_marks import GoalMarks
from vlm_agent.sessions.types import Goal


def human(t_ns: int, text: str, level: str = "short") -> Goal:
    return Goal(t_ns, text, level, "human")  # type: ignore[arg-type]


def test_a_list_is_told_in_its_order_and_ends() -> None:
    marks = GoalMarks(["a", "b"], "rings", 5)
    assert marks.told == [human(5, "rings", "long")]
    assert [marks.mark(t_ns) for t_ns in (10, 20, 30)] == [human(10, "a"), human(20, "b"), None]
    assert marks.told == [human(5, "rings", "long"), human(10, "a"), human(20, "b")]
    assert not marks.is_asking


def test_a_typed_goal_holds_from_when_its_key_was_pressed() -> None:
    marks = GoalMarks([], None, 5)
    assert marks.told == []
    assert marks.mark(10) is None
    assert marks.is_asking
    assert marks.type(99, " open the bank\n") == human(10, "open the bank")
    assert not marks.is_asking
    # Without its key it holds from now on; an empty line is no goal, and ends the asking.
    assert marks.type(120, "walk") == human(120, "walk")
    marks.mark(130)
    assert marks.type(140, "  ") is None
    assert not marks.is_asking
    assert marks.type(150, "x") == human(150, "x")


def test_goals_of_a_discarded_span_come_again() -> None:
    marks = GoalMarks(["a", "b", "c"], "rings", 0)
    for t_ns in (10, 20):
        marks.mark(t_ns)
    # Half-open: what was told at the span's end stays.
    assert marks.take_back(10, 20) is None
    assert [goal.text for goal in marks.told] == ["rings", "b"]
    assert [marks.mark(30), marks.mark(40)] == [human(30, "a"), human(40, "c")]
    # The goal of the whole play is told anew where the span ends, before all others.
    assert marks.take_back(0, 35) == human(35, "rings", "long")
    assert marks.told == [human(35, "rings", "long"), human(40, "c")]
    assert [marks.mark(t_ns) for t_ns in (50, 60, 70)] == [human(50, "b"), human(60, "a"), None]


def test_typed_goals_of_a_discarded_span_are_gone() -> None:
    marks = GoalMarks([], None, 0)
    marks.type(10, "a")
    assert marks.take_back(0, 20) is None
    assert marks.told == []
    assert marks.mark(30) is None
