"""The ground of the map: one colour a tile, and the tiles in view as polygons for a camera pose."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pygame

from vlm_agent.games.ringcraft.geometry import NEAR_UNITS, TILE_UNITS, VIEW_TILES, Projection
from vlm_agent.games.ringcraft.layout import LAYOUT
from vlm_agent.games.ringcraft.skins import GroundSkin
from vlm_agent.games.ringcraft.state import MAP_TILES, Floor

Floats = npt.NDArray[np.float64]

_SEEDS_OF_GRAIN = (73856093, 19349663, 83492791)


def project_all(projection: Projection, points: Floats) -> tuple[Floats, Floats, Floats]:
    """Projects many points at once, by the same formula as `Projection.project`.

    Args:
        projection: The camera.
        points: (n, 3): x, y and height in local units.

    Returns:
        Columns, rows and depths, each (n,), in pixels of the viewport (not of the frame) and local units. Points behind
        the eye have a depth below `NEAR_UNITS` and a meaningless place.
    """
    x, y = points[:, 0] - projection.eye_x, points[:, 1] - projection.eye_y
    down = projection.eye_up - points[:, 2]
    across = x * projection.cos_yaw + y * projection.sin_yaw
    ahead = y * projection.cos_yaw - x * projection.sin_yaw
    depths = ahead * projection.cos_pitch + down * projection.sin_pitch
    below = down * projection.cos_pitch - ahead * projection.sin_pitch
    sizes = projection.scale / np.maximum(depths, NEAR_UNITS)
    columns = projection.centre_x - LAYOUT.viewport.x + across * sizes
    rows = projection.centre_y - LAYOUT.viewport.y + below * sizes
    return columns, rows, depths


def tile_grain() -> npt.NDArray[np.int64]:
    """Returns a fixed number 0..255 for every tile, (x, y): what makes neighbouring tiles differ."""
    x, y = np.mgrid[0:MAP_TILES, 0:MAP_TILES].astype(np.int64)
    mixed = (x * _SEEDS_OF_GRAIN[0]) ^ (y * _SEEDS_OF_GRAIN[1])
    mixed = ((mixed ^ (mixed >> 7)) * _SEEDS_OF_GRAIN[2]) & 0xFFFFFF
    grain: npt.NDArray[np.int64] = (mixed >> 9) & 0xFF
    return grain


def tile_colours(floors: Sequence[Floor], skin: GroundSkin, brightness: float) -> npt.NDArray[np.uint8]:
    """Returns the colour of every tile of the map, (x, y, 3)."""
    grain = tile_grain()
    x, y = np.mgrid[0:MAP_TILES, 0:MAP_TILES]
    rolling = 0.05 * np.sin(x * 0.55 + 0.8 * np.sin(y * 0.35)) + 0.05 * np.cos(y * 0.6 + 0.5 * np.sin(x * 0.4))
    shade = 1.0 + rolling + (grain - 128) / 128 * 0.06
    colours = np.array(skin.grass) * shade[..., None]
    for floor in floors:
        part = np.s_[max(0, floor.x) : floor.x + floor.width, max(0, floor.y) : floor.y + floor.depth]
        if floor.kind == "stone":
            checks = 1.0 + 0.07 * ((x + y) % 2 * 2 - 1)
            colours[part] = (np.array(skin.stone) * (checks + (grain - 128) / 128 * 0.02)[..., None])[part]
        elif floor.kind == "wood":
            planks = 1.0 + 0.08 * (x % 2 * 2 - 1)
            colours[part] = (np.array(skin.wood) * (planks + (grain - 128) / 128 * 0.03)[..., None])[part]
        else:
            colours[part] = (np.array(skin.path) * (1.0 + (grain - 128) / 128 * 0.07)[..., None])[part]
    return np.clip(np.round(colours * brightness), 0, 255).astype(np.uint8)


def paint_ground(
    target: pygame.Surface, projection: Projection, player: tuple[int, int], colours: npt.NDArray[np.uint8]
) -> None:
    """Paints the tiles round the player onto a viewport-sized surface.

    Args:
        target: 512 x 334 px, filled with sky already.
        projection: The camera.
        player: Tile of the player; tiles further than `VIEW_TILES` from it are left out, as in `geometry.tile_at`.
        colours: What `tile_colours` returned.
    """
    west, south = max(0, player[0] - VIEW_TILES), max(0, player[1] - VIEW_TILES)
    east, north = min(MAP_TILES, player[0] + VIEW_TILES + 1), min(MAP_TILES, player[1] + VIEW_TILES + 1)
    x, y = np.mgrid[west : east + 1, south : north + 1]
    points = np.stack([x.ravel() * TILE_UNITS, y.ravel() * TILE_UNITS, np.zeros(x.size)], axis=1)
    columns, rows, depths = (values.reshape(x.shape) for values in project_all(projection, points))
    corners = [np.s_[:-1, :-1], np.s_[:-1, 1:], np.s_[1:, 1:], np.s_[1:, :-1]]
    left, right = _extremes([columns[part] for part in corners])
    top, bottom = _extremes([rows[part] for part in corners])
    nearest = _extremes([depths[part] for part in corners])[0]
    width, height = target.get_size()
    seen = (right >= 0) & (left < width) & (bottom >= 0) & (top < height) & (nearest >= NEAR_UNITS)
    places = np.rint(np.stack([columns, rows], axis=-1)).astype(np.int64)
    quads = np.stack([places[part][seen] for part in corners], axis=1).tolist()
    draw = pygame.draw.polygon
    for colour, quad in zip(colours[west:east, south:north][seen].tolist(), quads, strict=True):
        draw(target, colour, quad)


def _extremes(parts: list[Floats]) -> tuple[Floats, Floats]:
    low, high = parts[0], parts[0]
    for part in parts[1:]:
        low, high = np.minimum(low, part), np.maximum(high, part)
    return low, high
