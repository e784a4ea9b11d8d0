"""Which entries of two settings differ."""

from __future__ import annotations

from typing import Any

import pytest

from vlm_agent.training.differences import find_differences


@pytest.mark.parametrize(
    ("left", "right", "names"),
    [
        ({}, {}, []),
        ({"a": 1, "b": {"c": [1, 2]}}, {"b": {"c": [1, 2]}, "a": 1}, []),
        ({"a": 1, "b": {"c": 2, "d": 3}}, {"a": 2, "b": {"c": 2, "d": 4}}, ["a", "b.d"]),
        ({"a": {"b": 1}}, {"a": None}, ["a"]),
        ({"a": 1}, {"b": 1}, ["a", "b"]),
        ([1], [2], [""]),
    ],
)
def test_every_entry_that_differs_is_named(left: Any, right: Any, names: list[str]) -> None:
    assert find_differences(left, right) == names
