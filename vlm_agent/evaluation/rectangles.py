"""The rectangles that a game state tells of: where its buttons, cells and things are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Box = tuple[float, float, float, float]
"""Left, top, width, height, frame pixels."""


def list_boxes(state: Any) -> Iterator[Box]:
    """Yield every rectangle in a game state, however deep: whatever has an x, a y, a width and a height.

    Args:
        state: plain data; None has none.
    """
    if isinstance(state, Mapping):
        sides = [state.get(side) for side in ("x", "y", "width", "height")]
        if all(isinstance(side, int | float) and not isinstance(side, bool) for side in sides):
            left, top, width, height = (float(side) for side in sides if side is not None)
            yield left, top, width, height
    inners = state.values() if isinstance(state, Mapping) else state if isinstance(state, list) else ()
    for inner in inners:
        yield from list_boxes(inner)
