"""Convex outlines on the screen: making them from points, and telling whether a pixel is inside."""

from __future__ import annotations

from collections.abc import Sequence

Point = tuple[float, float]
"""Column and row, frame pixels (or x and y, tiles)."""
Polygon = tuple[Point, ...]


def convex_hull(points: Sequence[Point]) -> Polygon:
    """Return the convex outline of some points (monotone chain)."""
    ordered = sorted(points)
    chains: list[Point] = []
    for sequence in (ordered, ordered[::-1]):
        start = len(chains)
        for point in sequence:
            while len(chains) - start >= 2 and _turn(chains[-2], chains[-1], point) <= 0:
                chains.pop()
            chains.append(point)
        chains.pop()
    return tuple(chains)


def _turn(a: Point, b: Point, c: Point) -> float:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def is_inside(polygon: Polygon, x: float, y: float) -> bool:
    """Tell whether a point lies inside a convex polygon given in the order of `convex_hull`."""
    # A plain loop: this runs for every thing near the pointer in every export.
    left, top = polygon[-1]
    for right, bottom in polygon:
        if (right - left) * (y - top) < (bottom - top) * (x - left):
            return False
        left, top = right, bottom
    return True
