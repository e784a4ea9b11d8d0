"""Walking: which tiles are free, and the shortest way over them in eight directions."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from vlm_agent.games.ringcraft.rules import RULES
from vlm_agent.games.ringcraft.state import MAP_TILES, GameObject, State

Tile = tuple[int, int]

# Straight steps first, so that equally short ways prefer them; the order is part of the game's determinism.
_STEPS = ((-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (1, -1), (-1, 1), (1, 1))


def footprint(thing: GameObject) -> list[Tile]:
    """Return the tiles that an object stands on."""
    kind = RULES.objects[thing.kind]
    return [(thing.x + dx, thing.y + dy) for dx in range(kind.width) for dy in range(kind.depth)]


def blocked_tiles(state: State) -> set[Tile]:
    """Return all tiles nobody can walk on."""
    return {tile for thing in state.objects for tile in footprint(thing)}


def tiles_beside(tiles: Iterable[Tile]) -> set[Tile]:
    """Return the tiles that share an edge with some tiles, those themselves left out."""
    inner = set(tiles)
    around = {(x + dx, y + dy) for x, y in inner for dx, dy in _STEPS[:4]}
    return {(x, y) for x, y in around - inner if 0 <= x < MAP_TILES and 0 <= y < MAP_TILES}


def find_path(start: Tile, goals: set[Tile], blocked: set[Tile]) -> list[Tile]:
    """Return the tiles of a shortest way to one of the goals, without the start.

    Where no goal can be reached the way leads to the reachable tile nearest to one, which may be the start.
    """
    came_from: dict[Tile, Tile] = {start: start}
    queue = deque([start])
    while queue:
        tile = queue.popleft()
        if tile in goals:
            return _trace(came_from, tile)
        for step in _free_steps(tile, blocked):
            if step not in came_from:
                came_from[step] = tile
                queue.append(step)
    if not goals:
        return []
    nearest = min(came_from, key=lambda tile: (min(_distance(tile, goal) for goal in goals), tile))
    return _trace(came_from, nearest)


def _free_steps(tile: Tile, blocked: set[Tile]) -> list[Tile]:
    x, y = tile
    steps = []
    for dx, dy in _STEPS:
        step = (x + dx, y + dy)
        if step in blocked or not (0 <= step[0] < MAP_TILES and 0 <= step[1] < MAP_TILES):
            continue
        # A diagonal may not cut a corner.
        if dx and dy and ((x + dx, y) in blocked or (x, y + dy) in blocked):
            continue
        steps.append(step)
    return steps


def _distance(a: Tile, b: Tile) -> int:
    return (a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2


def _trace(came_from: dict[Tile, Tile], tile: Tile) -> list[Tile]:
    path = []
    while came_from[tile] != tile:
        path.append(tile)
        tile = came_from[tile]
    return path[::-1]
