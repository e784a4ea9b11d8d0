"""The world in the viewport: ground, things and people, furthest first, for any camera pose."""

from __future__ import annotations

from math import atan2, pi

import numpy as np
import pygame

from vlm_agent.games.ringcraft import scenery
from vlm_agent.games.ringcraft.drawing_ground import paint_ground, scene_key, tile_colours
from vlm_agent.games.ringcraft.drawing_mesh import (
    Faces,
    Integers,
    Mesh,
    Placement,
    Shape,
    assemble,
    compile_solid,
    faces_in_view,
    merge,
    paint_faces,
)
from vlm_agent.games.ringcraft.geometry import (
    PLAYER_HEIGHT_UNITS,
    Projection,
    npc_position,
    player_position,
    projection_of,
)
from vlm_agent.games.ringcraft.rules import RULES
from vlm_agent.games.ringcraft.skins import ground_skin
from vlm_agent.games.ringcraft.sprites import Colour, tint
from vlm_agent.games.ringcraft.state import FULL_TURN, Npc, State

_FOOTPRINT_INSET = 0.06
"""As in `geometry.object_box`."""
_SQUEEZE, _GOAT_SQUEEZE = (0.78, 1.0), (0.9, 0.6)
"""Bring people, drawn 0.72 tiles wide, and goats, 0.8 long, into the box of `geometry.figure_box`."""
_PLAYER_COAT: Colour = (214, 60, 150)
_STRIDE_TILES = 0.3


class WorldPainter:
    """Paints the world of a state, and keeps what does not change while the camera stands still."""

    def __init__(self) -> None:
        """Starts without anything kept."""
        self._scene_key: object = None
        self._tile_colours: Integers = np.zeros((0, 0, 3), dtype=np.int64)
        self._mesh = assemble((), ())
        self._pose_key: object = None
        self._ground: pygame.Surface | None = None
        self._things: Faces | None = None
        self._figures: dict[tuple[object, ...], Shape] = {}

    def key(self, state: State) -> tuple[object, ...]:
        """Returns a value that is equal for states whose world looks the same."""
        people = tuple((npc.kind, *npc_position(npc, state), npc.x - npc.previous_x) for npc in state.npcs)
        player = state.player
        return (
            projection_of(state),
            (player.x, player.y, player_position(state), player.facing, self._player_pose(state)),
            people,
            scene_key(state),
        )

    def paint(self, target: pygame.Surface, state: State) -> None:
        """Paints onto a viewport-sized surface."""
        projection = projection_of(state)
        player = (state.player.x, state.player.y)
        self._prepare_scene(state)
        ground, things = self._prepare_pose(target, state, projection, player)
        target.blit(ground, (0, 0))
        faces = merge(things, faces_in_view(self._people(state), projection, player, target.get_size()))
        paint_faces(target, faces.quads, faces.colours)

    def _prepare_scene(self, state: State) -> None:
        key = scene_key(state)
        if key == self._scene_key:
            return
        skin, brightness = ground_skin(state.skin.ground), state.skin.brightness
        self._tile_colours = tile_colours(state.floors, skin, brightness)
        shapes, placements = [], []
        for thing in state.objects:
            kind = RULES.objects[thing.kind]
            squeeze = 1 - 2 * _FOOTPRINT_INSET / max(kind.width, kind.depth)
            middle = (thing.x + kind.width / 2, thing.y + kind.depth / 2)
            shapes.append(compile_solid(scenery.thing(thing.kind, kind.height, thing.style, skin), brightness))
            placements.append(Placement(middle, (thing.x, thing.y), squeeze=(squeeze, squeeze)))
        self._mesh = assemble(shapes, placements)
        self._scene_key, self._pose_key = key, None
        self._figures.clear()

    def _prepare_pose(
        self, target: pygame.Surface, state: State, projection: Projection, player: tuple[int, int]
    ) -> tuple[pygame.Surface, Faces]:
        key = (projection, player)
        if key == self._pose_key and self._ground is not None and self._things is not None:
            return self._ground, self._things
        if self._ground is None:
            self._ground = pygame.Surface(target.get_size(), 0, target)
        self._ground.fill(tint(ground_skin(state.skin.ground).sky, state.skin.brightness))
        paint_ground(self._ground, projection, player, self._tile_colours)
        self._things = faces_in_view(self._mesh, projection, player, target.get_size())
        self._pose_key = key
        return self._ground, self._things

    def _people(self, state: State) -> Mesh:
        shapes, placements = [], []
        brightness = state.skin.brightness
        for npc in state.npcs:
            kind = RULES.npcs[npc.kind]
            moves = (npc.x, npc.y) != (npc.previous_x, npc.previous_y)
            stride = _swing(state.ms_in_tick) if moves else 0.0
            x, y = npc_position(npc, state)
            shapes.append(self._figure(npc.kind, kind.height, kind.colour, (stride, 0.0), brightness))
            squeeze = _GOAT_SQUEEZE if npc.kind == "goat" else _SQUEEZE
            placements.append(Placement((x + 0.5, y + 0.5), (npc.x, npc.y), _heading(npc), squeeze))
        player = state.player
        x, y = player_position(state)
        turn = player.facing * 2 * pi / FULL_TURN
        pose = self._player_pose(state)
        shapes.append(self._figure("player", PLAYER_HEIGHT_UNITS, _PLAYER_COAT, pose, brightness))
        placements.append(Placement((x + 0.5, y + 0.5), (player.x, player.y), turn, _SQUEEZE))
        return assemble(shapes, placements)

    def _figure(self, kind: str, height: int, coat: Colour, pose: tuple[float, float], brightness: float) -> Shape:
        key = (kind, pose)
        figure = self._figures.get(key)
        if figure is None:
            solid = scenery.goat(height, coat) if kind == "goat" else scenery.person(height, coat, *pose)
            figure = self._figures[key] = compile_solid(solid, brightness)
        return figure

    def _player_pose(self, state: State) -> tuple[float, float]:
        """Returns how far the legs are apart and how far the hands reach, tiles."""
        if state.player.animation in ("walk", "run"):
            return _swing(state.ms_in_tick * (2 if state.player.animation == "run" else 1)), 0.0
        if state.player.animation == "smelt":
            return 0.0, (0.2, 0.1)[state.ms_in_tick // 300 % 2]
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
