"""The ground of the map: one colour a tile, and the tiles in view as polygons for a camera pose."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pygame

from vlm_agent.games.ringcraft.drawing_mesh import Floats, Integers, paint_faces, project_all
from vlm_agent.games.ringcraft.geometry import NEAR_UNITS, TILE_UNITS, VIEW_TILES, Projection
from vlm_agent.games.ringcraft.skins import GroundSkin
from vlm_agent.games.ringcraft.state import MAP_TILES, Floor, State

Booleans = npt.NDArray[np.bool_]

_SEEDS_OF_GRAIN = (73856093, 19349663, 83492791)


def scene_key(state: State) -> tuple[object, ...]:
    """Returns a value that is equal for states with the same things on the same ground in the same colours."""
    things = tuple((thing.kind, thing.x, thing.y, thing.style) for thing in state.objects)
    floors = tuple((floor.x, floor.y, floor.width, floor.depth, floor.kind) for floor in state.floors)
    return things, floors, state.skin.ground, state.skin.brightness


def tile_grain() -> Floats:
    """Returns -1, 0 or 1 for every tile, (x, y): the few that are darker or lighter than their surroundings."""
    x, y = np.mgrid[0:MAP_TILES, 0:MAP_TILES].astype(np.int64)
    mixed = (x * _SEEDS_OF_GRAIN[0]) ^ (y * _SEEDS_OF_GRAIN[1])
    mixed = ((mixed ^ (mixed >> 7)) * _SEEDS_OF_GRAIN[2]) & 0xFFFFFF
    chance = (mixed >> 9) & 0xFF
    return (chance > 232).astype(np.float64) - (chance < 23)


def tile_colours(floors: Sequence[Floor], skin: GroundSkin, brightness: float) -> Integers:
    """Returns the colour of every tile of the map, (x, y, 3).

    There are few shades, so that most neighbours are alike and can be painted as one.
    """
    grain = tile_grain()
    x, y = np.mgrid[0:MAP_TILES, 0:MAP_TILES]
    rolling = np.sin(x * 0.55 + 0.8 * np.sin(y * 0.35)) + np.cos(y * 0.6 + 0.5 * np.sin(x * 0.4))
    shade = 1.0 + np.rint(rolling * 1.4) * 0.036 + grain * 0.05
    colours = np.array(skin.grass) * shade[..., None]
    for floor in floors:
        part = np.s_[max(0, floor.x) : floor.x + floor.width, max(0, floor.y) : floor.y + floor.depth]
        if floor.kind == "stone":
            colours[part] = (np.array(skin.stone) * (1.0 + 0.07 * ((x + y) % 2 * 2 - 1))[..., None])[part]
        elif floor.kind == "wood":
            colours[part] = (np.array(skin.wood) * (1.0 + 0.08 * (x % 2 * 2 - 1))[..., None])[part]
        else:
            colours[part] = (np.array(skin.path) * (1.0 + 0.06 * grain)[..., None])[part]
    return np.clip(np.round(colours * brightness), 0, 255).astype(np.int64)


def paint_ground(target: pygame.Surface, projection: Projection, player: tuple[int, int], colours: Integers) -> None:
    """Paints the tiles round the player onto a viewport-sized surface.

    Args:
        target: 512 x 334 px, filled with sky already.
        projection: The camera.
        player: Tile of the player; tiles further than `VIEW_TILES` from it are left out, as in `geometry.tile_at`.
        colours: What `tile_colours` returned.
    """
    west, south = max(0, player[0] - VIEW_TILES), max(0, player[1] - VIEW_TILES)
    east, north = min(MAP_TILES, player[0] + VIEW_TILES + 1), min(MAP_TILES, player[1] + VIEW_TILES + 1)
    # Runs of tiles leave hairline cracks where their corners do not meet; what shows through is this.
    plain = colours[west:east, south:north].reshape(-1, 3).mean(axis=0).astype(np.int64)
    outline = _outline(projection, np.array([(west, south), (west, north), (east, north), (east, south)]))
    if len(outline) > 2:
        pygame.draw.polygon(target, plain.tolist(), outline)
    x, y = np.mgrid[west : east + 1, south : north + 1]
    points = np.stack([x * TILE_UNITS, y * TILE_UNITS, np.zeros(x.shape)], axis=-1)
    columns, rows, depths = project_all(projection, points)
    left, right = _extremes(columns)
    top, bottom = _extremes(rows)
    width, height = target.get_size()
    seen = (right >= 0) & (left < width) & (bottom >= 0) & (top < height) & (_extremes(depths)[0] >= NEAR_UNITS)
    colours = colours[west:east, south:north]
    (column, first), past = _runs(seen, colours)
    places = np.rint(np.stack([columns, rows], axis=-1)).astype(np.int64)
    corners = [places[column, first], places[column, past], places[column + 1, past], places[column + 1, first]]
    paint_faces(target, np.stack(corners, axis=1), colours[column, first])


def _outline(projection: Projection, corners: Integers) -> list[tuple[float, float]]:
    """Returns a convex patch of ground, given by its corners in tiles, in viewport pixels, cut off before the eye."""
    points = np.concatenate([corners * TILE_UNITS, np.zeros((len(corners), 1))], axis=1).astype(np.float64)
    room = project_all(projection, points)[2] - NEAR_UNITS
    kept = []
    for index in range(len(points)):
        before, here = room[index - 1], room[index]
        if (before >= 0) != (here >= 0):
            kept.append(points[index - 1] + (points[index] - points[index - 1]) * (before / (before - here)))
        if here >= 0:
            kept.append(points[index])
    if not kept:
        return []
    columns, rows, _ = project_all(projection, np.array(kept))
    return list(zip(columns.tolist(), rows.tolist(), strict=True))


def _runs(seen: Booleans, colours: Integers) -> tuple[tuple[Integers, Integers], Integers]:
    """Returns where runs of seen tiles of one colour begin, (x, y), and one past where they end, y."""
    same = (colours[:, 1:] == colours[:, :-1]).all(axis=-1)
    joined = same & seen[:, 1:] & seen[:, :-1]
    edge = np.zeros((len(seen), 1), dtype=bool)
    column, first = np.nonzero(seen & ~np.concatenate([edge, joined], axis=1))
    last = np.nonzero(seen & ~np.concatenate([joined, edge], axis=1))[1]
    return (column, first), last + 1


def _extremes(values: Floats) -> tuple[Floats, Floats]:
    """Returns the least and the greatest value of each tile's four corners."""
    low = np.minimum(values[:-1], values[1:])
    high = np.maximum(values[:-1], values[1:])
    return np.minimum(low[:, :-1], low[:, 1:]), np.maximum(high[:, :-1], high[:, 1:])
