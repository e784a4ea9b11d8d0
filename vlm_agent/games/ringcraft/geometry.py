"""Where the world of a state is on the screen: projection, click boxes, minimap, and the list of all that is visible.

Drawing, hit-testing and the game-state export all ask this module, so what is drawn is what can be hit and what is
exported. The projection is that of the fixed-size client this game is a cousin of (128 local units a tile, angles
0..2047), in floating point. Nothing here changes a state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, pi, sin
from typing import Literal

from vlm_agent.games.ringcraft.layout import LAYOUT, Rect
from vlm_agent.games.ringcraft.polygons import Point, Polygon, convex_hull, is_inside
from vlm_agent.games.ringcraft.rules import RULES
from vlm_agent.games.ringcraft.state import FULL_TURN, MAP_TILES, TICK_MS, GameObject, Menu, Npc, State

TILE_UNITS = 128
"""Local units in a tile."""
PITCH_MIN, PITCH_MAX = 180, 383
"""Limits of the camera's steepness."""
ZOOM_MIN, ZOOM_MAX = 220, 620
"""Limits of the projection's scale, pixels."""
VIEW_TILES = 14
"""Tiles further than this from the player are neither drawn nor hit."""
NEAR_UNITS = 50
"""What is nearer to the eye than this is behind it."""
EYE_HEIGHT_UNITS = 50
"""The camera looks at this height above the player's tile."""
NPC_HALF_WIDTH_UNITS = 36
PLAYER_HEIGHT_UNITS = 190


@dataclass(frozen=True, slots=True)
class Projection:
    """The camera of one moment: local units to frame pixels and back."""

    eye_x: float
    """Local units, as are the next two."""
    eye_y: float
    eye_up: float
    sin_yaw: float
    cos_yaw: float
    sin_pitch: float
    cos_pitch: float
    scale: float
    """Pixels."""
    centre_x: float
    """Frame pixel of the viewport's middle."""
    centre_y: float

    def project(self, x: float, y: float, up: float = 0.0) -> tuple[float, float, float] | None:
        """Return column, row and depth of a point in local units; None when it is behind the eye."""
        x, y, down = x - self.eye_x, y - self.eye_y, self.eye_up - up
        across = x * self.cos_yaw + y * self.sin_yaw
        ahead = y * self.cos_yaw - x * self.sin_yaw
        depth = ahead * self.cos_pitch + down * self.sin_pitch
        if depth < NEAR_UNITS:
            return None
        below = down * self.cos_pitch - ahead * self.sin_pitch
        return self.centre_x + across * self.scale / depth, self.centre_y + below * self.scale / depth, depth

    def ground_at(self, column: float, row: float) -> Point | None:
        """Return the tile coordinates (float) of the ground seen at a pixel; None above the horizon."""
        across, below = (column - self.centre_x) / self.scale, (row - self.centre_y) / self.scale
        ahead = self.cos_pitch - below * self.sin_pitch
        down = below * self.cos_pitch + self.sin_pitch
        if down <= 0:
            return None
        reach = self.eye_up / down
        across, ahead = across * reach, ahead * reach
        x = self.eye_x + across * self.cos_yaw - ahead * self.sin_yaw
        y = self.eye_y + across * self.sin_yaw + ahead * self.cos_yaw
        return x / TILE_UNITS, y / TILE_UNITS


VisibleKind = Literal["object", "npc", "player", "widget"]


@dataclass(frozen=True, slots=True)
class Visible:
    """One thing on the screen that can be drawn, pointed at or exported."""

    kind: VisibleKind
    name: str
    """For a widget its place (`inventory`, `tab`, `bank_slot`, `bank_quantity`, …), else the kind in `rules.json`."""
    index: int
    """Index into the list the state keeps it in; for named widgets the position in the layout's order."""
    rect: Rect
    """Bounding rectangle, clipped to the part of the screen it can show in."""
    polygon: Polygon = ()
    """Outline in frame pixels, unclipped; empty for widgets, which are their rectangle."""
    depth: float = 0.0
    """Distance from the eye in local units; 0 for widgets."""
    label: str = ""
    """Sub-name of a widget: tab, quantity, …"""

    def contains(self, x: float, y: float) -> bool:
        """Tell whether a pixel belongs to it."""
        return self.rect.contains(x, y) and (not self.polygon or is_inside(self.polygon, x, y))


def player_position(state: State) -> Point:
    """Return where the player is drawn, in tiles: between ticks it slides along the trail of the last one."""
    player = state.player
    if len(player.trail) < 2:
        return float(player.x), float(player.y)
    along = state.ms_in_tick / TICK_MS * (len(player.trail) - 1)
    step = min(int(along), len(player.trail) - 2)
    (x, y), (next_x, next_y) = player.trail[step], player.trail[step + 1]
    part = along - step
    return x + (next_x - x) * part, y + (next_y - y) * part


def npc_position(npc: Npc, state: State) -> Point:
    """Return where a character is drawn, in tiles."""
    part = state.ms_in_tick / TICK_MS
    return npc.previous_x + (npc.x - npc.previous_x) * part, npc.previous_y + (npc.y - npc.previous_y) * part


def projection_of(state: State) -> Projection:
    """Return the projection of a state's camera."""
    camera = state.camera
    yaw, pitch = camera.yaw * 2 * pi / FULL_TURN, camera.pitch * 2 * pi / FULL_TURN
    # The eye backs off as it rises, so that the player stays about the same size.
    distance = 600 + 3 * camera.pitch
    reach = distance * cos(pitch)
    centre_x, centre_y = LAYOUT.viewport.x + LAYOUT.viewport.width / 2, LAYOUT.viewport.y + LAYOUT.viewport.height / 2
    return Projection(
        eye_x=(camera.focus_x + 0.5) * TILE_UNITS + reach * sin(yaw),
        eye_y=(camera.focus_y + 0.5) * TILE_UNITS - reach * cos(yaw),
        eye_up=EYE_HEIGHT_UNITS + distance * sin(pitch),
        sin_yaw=sin(yaw),
        cos_yaw=cos(yaw),
        sin_pitch=sin(pitch),
        cos_pitch=cos(pitch),
        scale=float(camera.zoom),
        centre_x=centre_x,
        centre_y=centre_y,
    )


def tile_polygon(projection: Projection, x: int, y: int, width: int = 1, depth: int = 1) -> Polygon | None:
    """Return the outline of a ground rectangle given in tiles, south-west corner first; None if behind the eye."""
    west, south = x * TILE_UNITS, y * TILE_UNITS
    east, north = (x + width) * TILE_UNITS, (y + depth) * TILE_UNITS
    points = []
    for corner_x, corner_y in ((west, south), (west, north), (east, north), (east, south)):
        point = projection.project(corner_x, corner_y)
        if point is None:
            return None
        points.append(point[:2])
    return tuple(points)


def tile_at(state: State, column: float, row: float) -> tuple[int, int] | None:
    """Return the map tile seen at a pixel of the viewport, or None."""
    if not LAYOUT.viewport.contains(column, row):
        return None
    ground = projection_of(state).ground_at(column, row)
    if ground is None:
        return None
    x, y = int(ground[0] // 1), int(ground[1] // 1)
    near = abs(x - state.player.x) <= VIEW_TILES and abs(y - state.player.y) <= VIEW_TILES
    return (x, y) if near and 0 <= x < MAP_TILES and 0 <= y < MAP_TILES else None


def box_corners(
    projection: Projection, low: Point, high: Point, height: float
) -> tuple[tuple[float, float, float], ...] | None:
    """Return the 8 projected corners of an upright box, bottom four then top four; None if one is behind the eye.

    `low` and `high` are its south-west and north-east corners in tiles; the order of corners is that of `tile_polygon`.
    """
    west, south, east, north = low[0] * TILE_UNITS, low[1] * TILE_UNITS, high[0] * TILE_UNITS, high[1] * TILE_UNITS
    corners = []
    for up in (0.0, height):
        for x, y in ((west, south), (west, north), (east, north), (east, south)):
            corner = projection.project(x, y, up)
            if corner is None:
                return None
            corners.append(corner)
    return tuple(corners)


def object_box(thing: GameObject) -> tuple[Point, Point, float]:
    """Return the south-west and north-east corners (tiles) and the height (local units) of an object."""
    kind = RULES.objects[thing.kind]
    inset = 0.06
    return (
        (thing.x + inset, thing.y + inset),
        (thing.x + kind.width - inset, thing.y + kind.depth - inset),
        float(kind.height),
    )


def figure_box(position: Point, height: float) -> tuple[Point, Point, float]:
    """Return the box of a character that stands at a position in tiles."""
    half = NPC_HALF_WIDTH_UNITS / TILE_UNITS
    x, y = position[0] + 0.5, position[1] + 0.5
    return (x - half, y - half), (x + half, y + half), height


def visible_world(state: State) -> list[Visible]:
    """Return objects, characters and the player in the viewport, furthest first (the order to draw in)."""
    projection = projection_of(state)
    seen: list[Visible | None] = []
    for index, thing in enumerate(state.objects):
        if max(abs(thing.x - state.player.x), abs(thing.y - state.player.y)) <= VIEW_TILES:
            seen.append(_see(projection, "object", thing.kind, index, object_box(thing)))
    for index, npc in enumerate(state.npcs):
        if max(abs(npc.x - state.player.x), abs(npc.y - state.player.y)) <= VIEW_TILES:
            box = figure_box(npc_position(npc, state), RULES.npcs[npc.kind].height)
            seen.append(_see(projection, "npc", npc.kind, index, box))
    seen.append(_see(projection, "player", "player", 0, figure_box(player_position(state), PLAYER_HEIGHT_UNITS)))
    found = [one for one in seen if one is not None]
    found.sort(key=lambda one: -one.depth)
    return found


def _see(
    projection: Projection, kind: VisibleKind, name: str, index: int, box: tuple[Point, Point, float]
) -> Visible | None:
    corners = box_corners(projection, *box)
    if corners is None:
        return None
    columns, rows = [corner[0] for corner in corners], [corner[1] for corner in corners]
    left, top = int(min(columns)), int(min(rows))
    rect = Rect(left, top, int(max(columns)) - left + 1, int(max(rows)) - top + 1).intersect(LAYOUT.viewport)
    if rect is None:
        return None
    depth = sum(corner[2] for corner in corners[:4]) / 4
    return Visible(kind, name, index, rect, convex_hull([corner[:2] for corner in corners]), depth)


def minimap_point(state: State, x: float, y: float) -> Point | None:
    """Return the pixel of a tile's middle on the minimap, which turns with the camera; None beyond its rim."""
    camera = state.camera
    angle = camera.yaw * 2 * pi / FULL_TURN
    east, north = x - camera.focus_x, y - camera.focus_y
    step = LAYOUT.minimap_px_per_tile
    across = (east * cos(angle) + north * sin(angle)) * step
    ahead = (north * cos(angle) - east * sin(angle)) * step
    rim = LAYOUT.minimap_radius_px - 4
    if across * across + ahead * ahead > rim * rim:
        return None
    column, row = LAYOUT.minimap.centre
    return column + across, row - ahead


def minimap_tile(state: State, column: float, row: float) -> tuple[int, int] | None:
    """Return the tile under a pixel of the minimap; None outside its disc or off the map."""
    camera = state.camera
    middle_column, middle_row = LAYOUT.minimap.centre
    across, ahead = column - middle_column, middle_row - row
    if across * across + ahead * ahead > LAYOUT.minimap_radius_px**2:
        return None
    angle = camera.yaw * 2 * pi / FULL_TURN
    step = LAYOUT.minimap_px_per_tile
    x = round(camera.focus_x + (across * cos(angle) - ahead * sin(angle)) / step)
    y = round(camera.focus_y + (across * sin(angle) + ahead * cos(angle)) / step)
    return (x, y) if 0 <= x < MAP_TILES and 0 <= y < MAP_TILES else None


def menu_rect(menu: Menu) -> Rect:
    """Return the rectangle of an open right-click menu."""
    height = LAYOUT.menu_header_height_px + len(menu.options) * LAYOUT.menu_row_height_px + 3
    return Rect(menu.x, menu.y, menu.width, height)


def menu_row_rects(menu: Menu) -> list[Rect]:
    """Return the rectangle of each option of an open menu, top to bottom."""
    top = menu.y + LAYOUT.menu_header_height_px
    step = LAYOUT.menu_row_height_px
    return [Rect(menu.x, top + step * row, menu.width, step) for row in range(len(menu.options))]


def visible_widgets(state: State) -> list[Visible]:
    """Return everything of the interface that can be pointed at, in drawing order: the last is on top."""
    widgets = [*_FRAME_WIDGETS]
    if state.tab == "inventory":
        widgets += _INVENTORY_WIDGETS
    elif state.tab == "stats":
        widgets += _SKILL_WIDGETS[: len(RULES.skills)]
    if state.mode == "bank":
        widgets += _BANK_WIDGETS[:_BANK_FIXED]
        widgets += _BANK_WIDGETS[_BANK_FIXED : _BANK_FIXED + len(state.bank)]
    elif state.mode == "furnace":
        widgets += _FURNACE_WIDGETS
    elif state.mode == "levelup":
        widgets += _DIALOG_WIDGETS
    if state.menu is not None:
        widgets.append(_widget("menu", 0, menu_rect(state.menu)))
        widgets += [_widget("menu_row", row, rect) for row, rect in enumerate(menu_row_rects(state.menu))]
    return widgets


def scene_view(state: State) -> list[Visible]:
    """Return all that is visible, bottom to top: the world (furthest first), then the interface."""
    return visible_world(state) + visible_widgets(state)


def topmost_at(state: State, x: float, y: float) -> Visible | None:
    """Return the topmost visible thing at a pixel, or None for bare ground or nothing at all."""
    for widget in reversed(visible_widgets(state)):
        if widget.contains(x, y):
            return widget
    if not LAYOUT.viewport.contains(x, y):
        return None
    return next((one for one in reversed(visible_world(state)) if one.contains(x, y)), None)


def covers_of_viewport(state: State) -> list[Rect]:
    """Return the rectangles of the interface that hide part of the world: an open window, the right-click menu."""
    windows = {"bank": LAYOUT.bank.window, "furnace": LAYOUT.furnace.window}
    covers = [windows[state.mode]] if state.mode in windows else []
    return covers if state.menu is None else [*covers, menu_rect(state.menu)]


def click_point(state: State, seen: Visible, world: Sequence[Visible]) -> tuple[int, int] | None:
    """Return a pixel at which something of the world is topmost, as near to its middle as may be; None if hidden.

    `world` is the state's `visible_world`, which `seen` is one of. The player hides nothing: clicks pass through it.
    """
    nearer = [one for one in world[world.index(seen) + 1 :] if one.kind != "player" and one.rect.overlaps(seen.rect)]
    covers = [rect for rect in covers_of_viewport(state) if rect.overlaps(seen.rect)]
    for across, down in _PROBES:
        x, y = int(seen.rect.x + across * seen.rect.width), int(seen.rect.y + down * seen.rect.height)
        if (
            seen.contains(x, y)
            and not any(rect.contains(x, y) for rect in covers)
            and not any(one.contains(x, y) for one in nearer)
        ):
            return x, y
    return None


_PROBES = sorted(
    ((across / 10, down / 10) for across in range(1, 10) for down in range(1, 10)),
    key=lambda probe: ((probe[0] - 0.5) ** 2 + (probe[1] - 0.5) ** 2, probe),
)
"""Points of a rectangle to try, as parts of its sides, the middle first."""


def _widget(name: str, index: int, rect: Rect, label: str = "") -> Visible:
    return Visible("widget", name, index, rect, label=label)


def _named(name: str, rects: dict[str, Rect]) -> list[Visible]:
    return [_widget(name, index, rect, label) for index, (label, rect) in enumerate(rects.items())]


def _cells(name: str, rects: Sequence[Rect]) -> list[Visible]:
    return [_widget(name, index, rect) for index, rect in enumerate(rects)]


_FRAME_WIDGETS = (
    *_named("tab", LAYOUT.tabs),
    *_named("chat_tab", LAYOUT.chat_tabs),
    *_named("orb", LAYOUT.orbs),
    _widget("compass", 0, LAYOUT.compass),
    _widget("minimap", 0, LAYOUT.minimap),
)
_INVENTORY_WIDGETS = _cells("inventory", LAYOUT.inventory)
_SKILL_WIDGETS = _cells("skill", LAYOUT.skills)
_BANK_WIDGETS = [
    _widget("bank_window", 0, LAYOUT.bank.window),
    _widget("bank_close", 0, LAYOUT.bank.close),
    *_named("bank_quantity", LAYOUT.bank.quantities),
    *([_widget("deposit_inventory", 0, LAYOUT.bank.deposit_inventory)] if LAYOUT.bank.deposit_inventory else []),
    *_cells("bank_slot", LAYOUT.bank.cells),
]
_BANK_FIXED = len(_BANK_WIDGETS) - len(LAYOUT.bank.cells)
_FURNACE_WIDGETS = [
    _widget("furnace_window", 0, LAYOUT.furnace.window),
    _widget("furnace_close", 0, LAYOUT.furnace.close),
    *_named("furnace_quantity", LAYOUT.furnace.quantities),
    *_cells("product", LAYOUT.furnace.cells[: len(RULES.products)]),
]
_DIALOG_WIDGETS = [_widget("dialog", 0, LAYOUT.dialog), _widget("dialog_continue", 0, LAYOUT.dialog_continue)]
