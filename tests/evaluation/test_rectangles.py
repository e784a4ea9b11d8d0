"""Rectangles are found however deep they lie in a game state, and nothing else is taken for one."""

from __future__ import annotations

from vlm_agent.evaluation.rectangles import list_boxes


def test_rectangles_at_any_depth() -> None:
    inner = {
        "x": 1,
        "y": 2.5,
        "width": 30,
        "height": 4,
        "name": "cell",
        "below": [{"x": 0, "y": 0, "width": 9, "height": 9}],
    }
    state = {"bank": [{"bounds": inner}, None, "text"], "x": 5, "y": 6}
    assert list(list_boxes(state)) == [(1.0, 2.5, 30.0, 4.0), (0.0, 0.0, 9.0, 9.0)]


def test_what_is_no_rectangle() -> None:
    assert list(list_boxes(None)) == []
    assert list(list_boxes({"x": 1, "y": 2, "width": True, "height": 4})) == []
    assert list(list_boxes({"x": 1, "y": 2, "width": "3", "height": 4})) == []
