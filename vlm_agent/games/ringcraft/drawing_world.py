"""The world in the viewport: ground, things and people, furthest first, for any camera pose."""

from __future__ import annotations

from dataclasses import dataclass
from math import atan2, cos, pi, sin

import numpy as np
import numpy.typing as npt
import pygame

from vlm_agent.games.ringcraft import scenery
from vlm_agent.games.ringcraft.drawing_ground import Floats, paint_ground, project_all, tile_colours
from vlm_agent.games.ringcraft.geometry import (
    NEAR_UNITS,
    PLAYER_HEIGHT_UNITS,
    TILE_UNITS,
    VIEW_TILES,
    Projection,
    npc_position,
    player_position,
    projection_of,
)
from vlm_agent.games.ringcraft.rules import RULES
from vlm_agent.games.ringcraft.skins import ground_skin
from vlm_agent.games.ringcraft.solids import Solid
from vlm_agent.games.ringcraft.sprites import Colour, tint
from vlm_agent.games.ringcraft.state import FULL_TURN, Npc, State

_FOOTPRINT_INSET = 0.06
"""As in `geometry.object_box`."""
_FIGURE_SLIMNESS = 0.78
"""Brings people, drawn 0.72 tiles wide, into the box of `geometry.figure_box`."""
_PLAYER_COAT: Colour = (214, 60, 150)
_STRIDE_TILES = 0.3

Drawn = list[tuple[Colour, list[list[int]]]]
"""Faces of one thing in painting order: colour and corners in viewport pixels."""


@dataclass(frozen=True)
class Mesh:
    """Solids in world position as flat arrays, ready to project at once."""

    points: Floats
    """(n, 3) corners of all faces one after another, local units."""
    starts: npt.NDArray[np.int64]
    """First corner of each face."""
    ends: list[int]
    """One past the last corner of each face."""
    owners: npt.NDArray[np.int64]
    """Which solid each face belongs to."""
    colours: list[Colour]
    """Of each face."""
    middles: Floats
    """(solids, 3) middle of each footprint on the ground, local units; painting goes by its depth."""
    tiles: npt.NDArray[np.int64]
    """(solids, 2) south-west tile of each footprint."""


def place(solids: list[Solid], middles: Floats, tiles: npt.NDArray[np.int64], brightness: float) -> Mesh:
    """Returns solids, whose corners are already in world tiles, as one mesh."""
    points, starts, ends, owners, colours = [], [], [], [], []
    for owner, solid in enumerate(solids):
        offset = len(points)
        points.extend(solid.vertices)
        for corners, colour in zip(solid.faces, solid.colours, strict=True):
            starts.append(offset + corners[0])
            ends.append(offset + corners[-1] + 1)
            owners.append(owner)
            colours.append(tint(colour, brightness))
    return Mesh(
        points=np.array(points, dtype=np.float64).reshape(-1, 3) * TILE_UNITS,
        starts=np.array(starts, dtype=np.int64),
        ends=ends,
        owners=np.array(owners, dtype=np.int64),
        colours=colours,
        middles=middles * TILE_UNITS,
        tiles=tiles,
    )


def faces_in_view(
    mesh: Mesh, projection: Projection, player: tuple[int, int], size: tuple[int, int]
) -> list[tuple[float, Drawn]]:
    """Returns depth and visible faces of each solid in view, furthest first.

    Args:
        mesh: What to look at.
        projection: The camera.
        player: Tile of the player; solids further than `VIEW_TILES` away are left out.
        size: Width and height of the viewport, pixels.
    """
    if not mesh.colours:
        return []
    columns, rows, depths = project_all(projection, mesh.points)
    ax, ay = columns[mesh.starts], rows[mesh.starts]
    bx, by = columns[mesh.starts + 1] - ax, rows[mesh.starts + 1] - ay
    cx, cy = columns[mesh.starts + 2] - ax, rows[mesh.starts + 2] - ay
    middle_depths = project_all(projection, mesh.middles)[2]
    count = len(mesh.middles)
    shown = (np.abs(mesh.tiles - np.array(player)) <= VIEW_TILES).all(axis=1)
    heads = mesh.starts[np.searchsorted(mesh.owners, np.arange(count))]
    for values, limit, above in ((columns, size[0], False), (rows, size[1], False), (depths, NEAR_UNITS, True)):
        lowest, highest = np.minimum.reduceat(values, heads), np.maximum.reduceat(values, heads)
        shown &= lowest >= limit if above else (highest >= 0) & (lowest < limit)
    facing = (bx * cy - by * cx < 0) & shown[mesh.owners]
    places = np.rint(np.stack([columns, rows], axis=1)).astype(np.int64).tolist()
    faces: list[Drawn] = [[] for _ in range(count)]
    starts = mesh.starts.tolist()
    owners = mesh.owners.tolist()
    for index in np.nonzero(facing)[0].tolist():
        faces[owners[index]].append((mesh.colours[index], places[starts[index] : mesh.ends[index]]))
    order = np.argsort(-middle_depths, kind="stable").tolist()
    return [(float(middle_depths[index]), faces[index]) for index in order if faces[index]]


class WorldPainter:
    """Paints the world of a state, and keeps what does not change while the camera stands still."""

    def __init__(self) -> None:
        """Starts without anything kept."""
        self._scene_key: object = None
        self._tile_colours: npt.NDArray[np.uint8] = np.zeros((0, 0, 3), dtype=np.uint8)
        self._mesh: Mesh | None = None
        self._pose_key: object = None
        self._ground: pygame.Surface | None = None
        self._things: list[tuple[float, Drawn]] = []
        self._figures: dict[tuple[object, ...], Solid] = {}

    def key(self, state: State) -> tuple[object, ...]:
        """Returns a value that is equal for states whose world looks the same."""
        people = tuple((npc.kind, *npc_position(npc, state), npc.x - npc.previous_x) for npc in state.npcs)
        player = state.player
        return (
            projection_of(state),
            (player.x, player.y, player_position(state), player.facing, self._player_pose(state)),
            people,
            self._scene_identity(state),
        )

    def paint(self, target: pygame.Surface, state: State) -> None:
        """Paints onto a viewport-sized surface."""
        projection = projection_of(state)
        player = (state.player.x, state.player.y)
        self._prepare_scene(state)
        self._prepare_pose(target, state, projection, player)
        if self._ground is None:
            raise AssertionError("the ground is prepared above")
        target.blit(self._ground, (0, 0))
        people = self._people_in_view(state, projection, player, target.get_size())
        draw = pygame.draw.polygon
        for _, faces in sorted(self._things + people, key=lambda item: -item[0]):
            for colour, corners in faces:
                draw(target, colour, corners)

    def _scene_identity(self, state: State) -> tuple[object, ...]:
        things = tuple((thing.kind, thing.x, thing.y, thing.style) for thing in state.objects)
        floors = tuple((floor.x, floor.y, floor.width, floor.depth, floor.kind) for floor in state.floors)
        return things, floors, state.skin.ground, state.skin.brightness

    def _prepare_scene(self, state: State) -> None:
        key = self._scene_identity(state)
        if key == self._scene_key:
            return
        skin, brightness = ground_skin(state.skin.ground), state.skin.brightness
        self._tile_colours = tile_colours(state.floors, skin, brightness)
        solids, middles = [], []
        for thing in state.objects:
            kind = RULES.objects[thing.kind]
            middle = (thing.x + kind.width / 2, thing.y + kind.depth / 2)
            solid = scenery.thing(thing.kind, kind.height, thing.style, skin)
            squeeze = 1 - 2 * _FOOTPRINT_INSET / max(kind.width, kind.depth)
            solids.append(_moved(solid, middle, 0.0, (squeeze, squeeze)))
            middles.append((*middle, 0.0))
        tiles = np.array([(thing.x, thing.y) for thing in state.objects], dtype=np.int64).reshape(-1, 2)
        self._mesh = place(solids, np.array(middles).reshape(-1, 3), tiles, brightness)
        self._scene_key, self._pose_key = key, None
        self._figures.clear()

    def _prepare_pose(
        self, target: pygame.Surface, state: State, projection: Projection, player: tuple[int, int]
    ) -> None:
        key = (projection, player)
        if key == self._pose_key or self._mesh is None:
            return
        if self._ground is None:
            self._ground = pygame.Surface(target.get_size(), 0, target)
        self._ground.fill(tint(ground_skin(state.skin.ground).sky, state.skin.brightness))
        paint_ground(self._ground, projection, player, self._tile_colours)
        self._things = faces_in_view(self._mesh, projection, player, target.get_size())
        self._pose_key = key

    def _people_in_view(
        self, state: State, projection: Projection, player: tuple[int, int], size: tuple[int, int]
    ) -> list[tuple[float, Drawn]]:
        solids, middles, tiles = [], [], []
        for npc in state.npcs:
            x, y = npc_position(npc, state)
            solids.append(_moved(self._npc(npc, state), (x + 0.5, y + 0.5), _heading(npc), (_FIGURE_SLIMNESS, 1.0)))
            middles.append((x + 0.5, y + 0.5, 0.0))
            tiles.append((npc.x, npc.y))
        x, y = player_position(state)
        stride, reach = self._player_pose(state)
        body = self._figure(PLAYER_HEIGHT_UNITS, _PLAYER_COAT, stride, reach)
        turn = state.player.facing * 2 * pi / FULL_TURN
        solids.append(_moved(body, (x + 0.5, y + 0.5), turn, (_FIGURE_SLIMNESS, 1.0)))
        middles.append((x + 0.5, y + 0.5, 0.0))
        tiles.append(player)
        mesh = place(solids, np.array(middles), np.array(tiles), state.skin.brightness)
        return faces_in_view(mesh, projection, player, size)

    def _npc(self, npc: Npc, state: State) -> Solid:
        kind = RULES.npcs[npc.kind]
        moves = (npc.x, npc.y) != (npc.previous_x, npc.previous_y)
        if npc.kind == "goat":
            return self._figures.setdefault(("goat",), scenery.goat(kind.height, kind.colour))
        return self._figure(kind.height, kind.colour, _swing(state.ms_in_tick) if moves else 0.0, 0.0)

    def _figure(self, height: int, coat: Colour, stride: float, reach: float) -> Solid:
        key = (height, coat, stride, reach)
        figure = self._figures.get(key)
        if figure is None:
            figure = self._figures[key] = scenery.person(height, coat, stride, reach)
        return figure

    def _player_pose(self, state: State) -> tuple[float, float]:
        """Returns how far the legs are apart and how far the hands reach, tiles."""
        if state.player.animation in ("walk", "run"):
            return _swing(state.ms_in_tick * (2 if state.player.animation == "run" else 1)), 0.0
        if state.player.animation == "smelt":
            return 0.0, (0.26, 0.14)[state.ms_in_tick // 300 % 2]
        return 0.0, 0.0


def _swing(ms: int) -> float:
    """Returns one of four positions of the legs, a new one every 75 ms of walking."""
    return (0.0, _STRIDE_TILES, 0.0, -_STRIDE_TILES)[ms // 75 % 4]


def _heading(npc: Npc) -> float:
    """Returns where a character looks, radians anticlockwise from north: where it walks, else a fixed direction."""
    east, north = npc.x - npc.previous_x, npc.y - npc.previous_y
    if east == 0 and north == 0:
        return (npc.home_x * 7 + npc.home_y * 3) % 8 * pi / 4
    return atan2(-east, north)


def _moved(solid: Solid, middle: tuple[float, float], turn: float, squeeze: tuple[float, float]) -> Solid:
    """Returns a solid squeezed in its own x and y, turned anticlockwise, and moved to a place in tiles."""
    c, s = cos(turn), sin(turn)
    placed = []
    for x, y, z in solid.vertices:
        across, ahead = x * squeeze[0], y * squeeze[1]
        placed.append((middle[0] + across * c - ahead * s, middle[1] + across * s + ahead * c, z))
    return Solid(placed, solid.faces, solid.colours)
