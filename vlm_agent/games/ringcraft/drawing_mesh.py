"""Solids as flat arrays: projected, culled and sorted all at once, because a frame has a millisecond.

Every face becomes one or more quadrilaterals (a triangle repeats its last corner), so that all corners fit one array.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pygame

from vlm_agent.games.ringcraft.geometry import NEAR_UNITS, TILE_UNITS, VIEW_TILES, Projection
from vlm_agent.games.ringcraft.layout import LAYOUT
from vlm_agent.games.ringcraft.solids import Solid
from vlm_agent.games.ringcraft.sprites import tint

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Shape:
    """One solid as arrays, in its own coordinates (tiles)."""

    corners: Floats
    """(quads, 4, 3)."""
    colours: Integers
    """(quads, 3)."""


@dataclass(frozen=True)
class Placement:
    """Where and how a shape stands."""

    middle: tuple[float, float]
    """Middle of its footprint, tiles."""
    tile: tuple[int, int]
    """Its south-west tile: decides whether it is near enough to be seen, as in `geometry.visible_world`."""
    turn: float = 0.0
    """Radians anticlockwise from north."""
    squeeze: tuple[float, float] = (1.0, 1.0)
    """Factors on its own x and y."""


@dataclass(frozen=True)
class Mesh:
    """Shapes in their places."""

    corners: Floats
    """(quads, 4, 3), local units."""
    colours: Integers
    """(quads, 3)."""
    owners: Integers
    """(quads,): which shape each belongs to."""
    middles: Floats
    """(shapes, 3), local units; painting goes by its depth, as in `geometry.visible_world`."""
    tiles: Integers
    """(shapes, 2)."""


@dataclass(frozen=True)
class Faces:
    """Quadrilaterals in view, furthest shape first, to be painted in this order."""

    depths: Floats
    """(n,): of the shape each belongs to."""
    quads: Integers
    """(n, 4, 2): columns and rows in viewport pixels."""
    colours: Integers
    """(n, 3)."""


def project_all(projection: Projection, points: Floats) -> tuple[Floats, Floats, Floats]:
    """Projects many points at once, by the same formula as `Projection.project`.

    Args:
        projection: The camera.
        points: (..., 3): x, y and height in local units.

    Returns:
        Columns, rows and depths, each (...), in pixels of the viewport (not of the frame) and local units. Points
        behind the eye have a depth below `NEAR_UNITS` and a meaningless place.
    """
    x, y = points[..., 0] - projection.eye_x, points[..., 1] - projection.eye_y
    down = projection.eye_up - points[..., 2]
    across = x * projection.cos_yaw + y * projection.sin_yaw
    ahead = y * projection.cos_yaw - x * projection.sin_yaw
    depths = ahead * projection.cos_pitch + down * projection.sin_pitch
    below = down * projection.cos_pitch - ahead * projection.sin_pitch
    sizes = projection.scale / np.maximum(depths, NEAR_UNITS)
    columns = projection.centre_x - LAYOUT.viewport.x + across * sizes
    rows = projection.centre_y - LAYOUT.viewport.y + below * sizes
    return columns, rows, depths


def compile_solid(solid: Solid, brightness: float) -> Shape:
    """Returns a solid as a shape, its colours multiplied by `brightness`."""
    corners, colours = [], []
    for face, colour in zip(solid.faces, solid.colours, strict=True):
        points = [solid.vertices[index] for index in face]
        for second in range(1, len(points) - 1, 2):
            third, fourth = points[second + 1], points[min(second + 2, len(points) - 1)]
            corners.append((points[0], points[second], third, fourth))
            colours.append(tint(colour, brightness))
    return Shape(
        np.array(corners, dtype=np.float64).reshape(-1, 4, 3), np.array(colours, dtype=np.int64).reshape(-1, 3)
    )


def assemble(shapes: Sequence[Shape], placements: Sequence[Placement]) -> Mesh:
    """Returns shapes in their places as one mesh."""
    counts = [len(shape.corners) for shape in shapes]
    owners = np.repeat(np.arange(len(shapes)), counts)
    local = np.concatenate([np.zeros((0, 4, 3)), *(shape.corners for shape in shapes)])
    colours = np.concatenate([np.zeros((0, 3), dtype=np.int64), *(shape.colours for shape in shapes)])
    rows = [(*one.middle, one.turn, *one.squeeze) for one in placements]
    table = np.array(rows, dtype=np.float64).reshape(-1, 5)
    east, north, turn, wide, deep = table[owners].T[..., None]
    across, ahead = local[..., 0] * wide, local[..., 1] * deep
    cosine, sine = np.cos(turn), np.sin(turn)
    x, y = east + across * cosine - ahead * sine, north + across * sine + ahead * cosine
    return Mesh(
        corners=np.stack([x, y, local[..., 2]], axis=-1) * TILE_UNITS,
        colours=colours,
        owners=owners,
        middles=np.concatenate([table[:, :2], np.zeros((len(table), 1))], axis=1) * TILE_UNITS,
        tiles=np.array([one.tile for one in placements], dtype=np.int64).reshape(-1, 2),
    )


def faces_in_view(mesh: Mesh, projection: Projection, player: tuple[int, int], size: tuple[int, int]) -> Faces:
    """Returns the faces that look at the camera.

    Args:
        mesh: What to look at.
        projection: The camera.
        player: Tile of the player; shapes further than `VIEW_TILES` away are left out.
        size: Width and height of the viewport, pixels.
    """
    columns, rows, depths = project_all(projection, mesh.corners)
    across, down = columns[:, 1:] - columns[:, :1], rows[:, 1:] - rows[:, :1]
    is_facing = across[:, 0] * down[:, 1] < down[:, 0] * across[:, 1]
    is_on_screen = (columns.max(axis=1) >= 0) & (columns.min(axis=1) < size[0])
    is_on_screen &= (rows.max(axis=1) >= 0) & (rows.min(axis=1) < size[1]) & (depths.min(axis=1) >= NEAR_UNITS)
    is_near = (np.abs(mesh.tiles - np.array(player)) <= VIEW_TILES).all(axis=1)[mesh.owners]
    found = np.nonzero(is_facing & is_on_screen & is_near)[0]
    shape_depths = project_all(projection, mesh.middles)[2]
    owner_depths = shape_depths[mesh.owners[found]]
    order = np.argsort(-owner_depths, kind="stable")
    found = found[order]
    quads = np.rint(np.stack([columns[found], rows[found]], axis=-1)).astype(np.int64)
    return Faces(owner_depths[order], quads, mesh.colours[found])


def merge(first: Faces, second: Faces) -> Faces:
    """Returns two lists of faces as one, furthest first."""
    depths = np.concatenate([first.depths, second.depths])
    order = np.argsort(-depths, kind="stable")
    quads = np.concatenate([first.quads, second.quads])[order]
    return Faces(depths[order], quads, np.concatenate([first.colours, second.colours])[order])


def paint_faces(target: pygame.Surface, quads: Integers, colours: Integers) -> None:
    """Paints quadrilaterals (n, 4, 2) with their colours (n, 3), in order."""
    draw = pygame.draw.polygon
    for colour, quad in zip(colours.tolist(), quads.tolist(), strict=True):
        draw(target, colour, quad)
