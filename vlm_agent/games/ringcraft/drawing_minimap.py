"""The minimap with its dots, the compass, and the orbs beside them."""

from __future__ import annotations

from math import cos, pi, sin

import numpy as np
import pygame

from vlm_agent.games.ringcraft.drawing_ground import scene_key, tile_colours
from vlm_agent.games.ringcraft.drawing_mesh import Integers
from vlm_agent.games.ringcraft.drawing_panels import Palette, box_of
from vlm_agent.games.ringcraft.geometry import minimap_point, npc_position, player_position
from vlm_agent.games.ringcraft.icons import compass_picture
from vlm_agent.games.ringcraft.layout import LAYOUT
from vlm_agent.games.ringcraft.rules import RULES
from vlm_agent.games.ringcraft.skins import ground_skin, slab
from vlm_agent.games.ringcraft.sprites import GOLD, Colour, tint
from vlm_agent.games.ringcraft.state import FULL_TURN, MAP_TILES, State

_COMPASS_STEP = 16
"""Yaw units between two pictures of the compass."""
_HOLE: Colour = (255, 0, 255)
_DOTS: dict[str, Colour] = {"tree": (24, 84, 24), "well": (60, 120, 200), "statue": (220, 220, 226)}
_PLAIN_DOT: Colour = (96, 66, 36)
_ORB_COLOURS: dict[str, Colour] = {
    "hitpoints": (150, 24, 28),
    "prayer": (52, 120, 130),
    "run": (150, 116, 40),
    "special": (34, 92, 150),
}
_FULL_ORBS = {"hitpoints": "10", "prayer": "1", "run": "100", "special": "100"}


class MinimapPainter:
    """Paints the top right corner of the frame, and keeps the turned map between camera turns."""

    def __init__(self) -> None:
        """Starts without anything kept."""
        self._map: pygame.Surface | None = None
        self._map_key: object = None
        self._turned: pygame.Surface | None = None
        self._turned_yaw = -1
        self._rim: pygame.Surface | None = None
        self._compasses: dict[int, pygame.Surface] = {}

    def key(self, state: State) -> tuple[object, ...]:
        """Returns a value that is equal for states whose minimap looks the same."""
        camera = state.camera
        people = tuple(npc_position(npc, state) for npc in state.npcs)
        end = state.player.path[-1] if state.player.path else None
        player = (player_position(state), end, state.player.is_running)
        return camera.yaw, camera.focus_x, camera.focus_y, people, player, scene_key(state)

    def paint(self, target: pygame.Surface, backdrop: pygame.Surface, state: State, palette: Palette) -> None:
        """Paints minimap, compass and orbs.

        Args:
            target: The frame.
            backdrop: The frame with nothing but its stone.
            state: What to show.
            palette: Colours of the panels.
        """
        disc = box_of(LAYOUT.minimap)
        target.set_clip(disc)
        self._paint_ground(target, disc, state)
        _paint_dots(target, state, palette)
        target.blit(self._rim_over(disc, backdrop, palette), disc)
        target.set_clip(None)
        target.blit(backdrop, (LAYOUT.compass.x, LAYOUT.compass.y), box_of(LAYOUT.compass))
        target.blit(self._compass(state.camera.yaw), (LAYOUT.compass.x, LAYOUT.compass.y))
        for name in LAYOUT.orbs:
            _paint_orb(target, name, backdrop, state, palette)

    def forget(self) -> None:
        """Drops what depends on the panel skin."""
        self._rim = None

    def _paint_ground(self, target: pygame.Surface, disc: pygame.Rect, state: State) -> None:
        step, yaw = LAYOUT.minimap_px_per_tile, state.camera.yaw
        key = scene_key(state)
        if key != self._map_key or self._map is None:
            colours = tile_colours(state.floors, ground_skin(state.skin.ground), state.skin.brightness)
            self._map = _map_picture(colours, step)
            self._map_key, self._turned_yaw = key, -1
        if yaw != self._turned_yaw or self._turned is None:
            self._turned = pygame.transform.rotate(self._map, -yaw * 360 / FULL_TURN)
            self._turned_yaw = yaw
        target.fill((0, 0, 0), disc)
        turn = yaw * 2 * pi / FULL_TURN
        east, north = MAP_TILES / 2 - 0.5 - state.camera.focus_x, MAP_TILES / 2 - 0.5 - state.camera.focus_y
        across = (east * cos(turn) + north * sin(turn)) * step
        ahead = (north * cos(turn) - east * sin(turn)) * step
        column, row = LAYOUT.minimap.centre
        target.blit(self._turned, self._turned.get_rect(center=(round(column + across), round(row - ahead))))

    def _rim_over(self, disc: pygame.Rect, backdrop: pygame.Surface, palette: Palette) -> pygame.Surface:
        if self._rim is None:
            self._rim = pygame.Surface(disc.size, 0, backdrop)
            self._rim.blit(backdrop, (0, 0), disc)
            middle = (LAYOUT.minimap.centre[0] - disc.left, LAYOUT.minimap.centre[1] - disc.top)
            radius = LAYOUT.minimap_radius_px
            pygame.draw.circle(self._rim, tint(palette.skin.stone, 0.45), middle, radius + 1)
            pygame.draw.circle(self._rim, tint(palette.skin.stone, 1.4), middle, radius - 1)
            pygame.draw.circle(self._rim, _HOLE, middle, radius - 3)
            self._rim.set_colorkey(_HOLE)
        return self._rim

    def _compass(self, yaw: int) -> pygame.Surface:
        step = yaw // _COMPASS_STEP
        picture = self._compasses.get(step)
        if picture is None:
            turn = step * _COMPASS_STEP * 2 * pi / FULL_TURN
            picture = self._compasses[step] = compass_picture(LAYOUT.compass.width, turn)
        return picture


def _map_picture(colours: Integers, step: int) -> pygame.Surface:
    """Returns the map from above, north up, `step` px a tile, with black beyond its edge."""
    pixels = np.repeat(np.repeat(colours.transpose(1, 0, 2)[::-1], step, axis=0), step, axis=1)
    picture = pygame.image.frombuffer(pixels.astype(np.uint8).data, (MAP_TILES * step, MAP_TILES * step), "RGB")
    return picture.copy()


def _paint_dots(target: pygame.Surface, state: State, palette: Palette) -> None:
    for thing in state.objects:
        kind = RULES.objects[thing.kind]
        point = minimap_point(state, thing.x + (kind.width - 1) / 2, thing.y + (kind.depth - 1) / 2)
        if point is None:
            continue
        at = (round(point[0]), round(point[1]))
        if thing.kind == "bank_booth":
            pygame.draw.circle(target, (0, 0, 0), at, 5)
            pygame.draw.circle(target, (44, 76, 214), at, 4)
            pygame.draw.circle(target, GOLD, at, 2)
        elif thing.kind == "furnace":
            flame = [(0, -7), (5, 0), (4, 5), (-4, 5), (-5, 0)]
            pygame.draw.polygon(target, (60, 20, 10), [(at[0] + x, at[1] + y) for x, y in flame])
            core = [(0, -4), (3, 1), (2, 4), (-2, 4), (-3, 1)]
            pygame.draw.polygon(target, (255, 140, 20), [(at[0] + x, at[1] + y) for x, y in core])
        else:
            pygame.draw.circle(target, _DOTS.get(thing.kind, _PLAIN_DOT), at, 2)
    for npc in state.npcs:
        point = minimap_point(state, *npc_position(npc, state))
        if point is not None:
            pygame.draw.rect(target, (255, 255, 0), (round(point[0]) - 1, round(point[1]) - 1, 3, 3))
    if state.player.path:
        point = minimap_point(state, *state.player.path[-1])
        if point is not None:
            x, y = round(point[0]), round(point[1])
            pygame.draw.line(target, (30, 20, 10), (x, y), (x, y - 9))
            pygame.draw.polygon(target, (230, 30, 30), [(x, y - 10), (x + 6, y - 7), (x, y - 4)])
    point = minimap_point(state, *player_position(state))
    if point is not None:
        pygame.draw.rect(target, (255, 255, 255), (round(point[0]) - 1, round(point[1]) - 1, 3, 3))


def _paint_orb(target: pygame.Surface, name: str, backdrop: pygame.Surface, state: State, palette: Palette) -> None:
    box = box_of(LAYOUT.orbs[name])
    slab(target, box, tint(palette.skin.stone, 0.7), raised=False)
    middle = (box.right - box.height // 2 - 1, box.centery)
    colour = _ORB_COLOURS[name]
    if name == "run" and state.player.is_running:
        colour = (236, 204, 60)
    pygame.draw.circle(target, tint(colour, 0.4), middle, box.height // 2)
    pygame.draw.circle(target, colour, middle, box.height // 2 - 2)
    icon = palette.icon(name)
    target.blit(icon, icon.get_rect(center=middle))
    text = _FULL_ORBS[name]
    palette.lettering.write(target, text, (box.left + 11, box.top + 7), (0, 255, 0), 15, anchor="centre")
