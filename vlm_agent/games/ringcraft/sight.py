"""Where a player can point to reach a thing: the part of it that is in view and not behind something else.

Built on `geometry`, which says what is drawn where; this module adds the choice of a comfortable place on it.
"""

from __future__ import annotations

from math import ceil, hypot

import numpy as np
import numpy.typing as npt

from vlm_agent.games.ringcraft.geometry import Visible, minimap_point, visible_widgets, visible_world
from vlm_agent.games.ringcraft.layout import Rect
from vlm_agent.games.ringcraft.state import State

GRID = 9
"""A thing is looked at through a grid of this many points a side."""
_MIN_SIDE_PX = 4
_MINIMAP_AIM_PX = 7
_MINIMAP_REACH_TILES = 15.0
"""Tiles; a walk by the minimap goes no further than this at once, a little inside its rim."""


def find_object(state: State, kind: str) -> int | None:
    """Return the index of the object of a kind that is nearest to the player, or None."""
    return next(iter(sort_objects(state, kind)), None)


def sort_objects(state: State, kind: str) -> list[int]:
    """Return the indices of all objects of a kind, the nearest to the player first."""
    near = [(_distance(state, index), index) for index, thing in enumerate(state.objects) if thing.kind == kind]
    return [index for _, index in sorted(near)]


def reachable_rect(state: State, index: int) -> Rect | None:
    """Return a rectangle on the screen where every point is the object, or None while it can't be pointed at.

    It is the roomiest place on the part that shows: windows, nearer things and the viewport's edge don't count.
    """
    world = visible_world(state)
    seen = next((one for one in world if one.kind == "object" and one.index == index), None)
    if seen is None or min(seen.rect.width, seen.rect.height) < _MIN_SIDE_PX:
        return None
    covers = [widget.rect for widget in visible_widgets(state) if widget.rect.intersect(seen.rect)]
    # A click goes through the player's own figure.
    nearer = [one for one in world[world.index(seen) + 1 :] if one.kind != "player"]
    return _roomiest(seen.rect, _hits(seen, nearer, covers))


def minimap_rect(state: State, index: int) -> Rect | None:
    """Return where to click on the minimap to walk to an object, or most of the way there."""
    thing, player = state.objects[index], state.player
    east, north = thing.x - player.x, thing.y - player.y
    distance = max(hypot(east, north), 1.0)
    share = min(1.0, _MINIMAP_REACH_TILES / distance)
    point = minimap_point(state, player.x + east * share, player.y + north * share)
    if point is None:
        return None
    half = _MINIMAP_AIM_PX // 2
    return Rect(round(point[0]) - half, round(point[1]) - half, _MINIMAP_AIM_PX, _MINIMAP_AIM_PX)


def _distance(state: State, index: int) -> float:
    thing, player = state.objects[index], state.player
    return hypot(thing.x - player.x, thing.y - player.y)


def _hits(seen: Visible, nearer: list[Visible], covers: list[Rect]) -> npt.NDArray[np.bool_]:
    """Tell for each point of the grid (rows, columns) whether pointing there points at `seen`."""
    hits = np.zeros((GRID, GRID), dtype=bool)
    for row in range(GRID):
        for column in range(GRID):
            x, y = _grid_point(seen.rect, column, row)
            hits[row, column] = (
                seen.contains(x, y)
                and not any(cover.contains(x, y) for cover in covers)
                and not any(one.contains(x, y) for one in nearer)
            )
    return hits


def _grid_point(rect: Rect, column: int, row: int) -> tuple[float, float]:
    return rect.x + (column + 0.5) * rect.width / GRID, rect.y + (row + 0.5) * rect.height / GRID


def _roomiest(rect: Rect, hits: npt.NDArray[np.bool_]) -> Rect | None:
    """Return the square of grid cells that are all hits and lie furthest from any that is not."""
    room = np.zeros((GRID, GRID), dtype=int)
    still = hits
    while still.any():
        # A cell's room grows for as long as its eight neighbors are still there.
        room += still
        rows = np.pad(still, 1)
        rows = rows[:-2] & rows[1:-1] & rows[2:]
        still = rows[:, :-2] & rows[:, 1:-1] & rows[:, 2:]
    if not room.any():
        return None
    best = np.argwhere(room == room.max())
    middle = np.argwhere(hits).mean(axis=0)
    row, column = (int(value) for value in best[int(np.argmin(np.abs(best - middle).sum(axis=1)))])
    reach = int(room[row, column]) - 1
    if reach == 0:
        return None
    # From centre to centre of the outer cells: a thing's outline is convex, so all between belongs to it.
    (left, top), (right, bottom) = (_grid_point(rect, column + side, row + side) for side in (-reach, reach))
    found = Rect(ceil(left), ceil(top), int(right) - ceil(left) + 1, int(bottom) - ceil(top) + 1)
    return found if min(found.width, found.height) >= _MIN_SIDE_PX else None
