from __future__ import annotations

from math import cos, hypot, pi, sin
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlm_agent.games.ringcraft.core import Ringcraft
from vlm_agent.games.ringcraft.geometry import (
    PITCH_MAX,
    PITCH_MIN,
    TILE_UNITS,
    ZOOM_MAX,
    ZOOM_MIN,
    click_point,
    menu_rect,
    menu_row_rects,
    minimap_point,
    minimap_tile,
    npc_position,
    player_position,
    projection_of,
    tile_at,
    tile_polygon,
    topmost_at,
    visible_world,
)
from vlm_agent.games.ringcraft.layout import LAYOUT, Rect
from vlm_agent.games.ringcraft.polygons import convex_hull, is_inside
from vlm_agent.games.ringcraft.random_scenes import random_scene
from vlm_agent.games.ringcraft.state import Camera, Menu, MenuOption, State

CAMERAS = st.builds(
    Camera,
    yaw=st.integers(0, 2047),
    pitch=st.integers(PITCH_MIN, PITCH_MAX),
    zoom=st.integers(ZOOM_MIN, ZOOM_MAX),
    focus_x=st.floats(5, 35),
    focus_y=st.floats(5, 35),
)


def _state(camera: Camera) -> State:
    state = Ringcraft(1).state
    state.camera = camera
    state.player.x, state.player.y = round(camera.focus_x), round(camera.focus_y)
    return state


@given(CAMERAS, st.floats(LAYOUT.viewport.x, 515), st.floats(LAYOUT.viewport.y, 337))
@settings(max_examples=200, deadline=None)
def test_the_ground_under_a_pixel_projects_back_to_it(camera, column, row):
    projection = projection_of(_state(camera))
    ground = projection.ground_at(column, row)
    # At the flattest and widest the horizon shows: there is no ground above it.
    if ground is None:
        assert row < LAYOUT.viewport.centre[1]
        return
    back = projection.project(ground[0] * TILE_UNITS, ground[1] * TILE_UNITS)
    assert back is not None
    assert back[0] == pytest.approx(column, abs=1e-3)
    assert back[1] == pytest.approx(row, abs=1e-3)


@given(CAMERAS)
@settings(max_examples=60, deadline=None)
def test_the_tile_at_the_middle_of_its_outline_is_that_tile(camera):
    state = _state(camera)
    projection = projection_of(state)
    for x in range(state.player.x - 4, state.player.x + 5, 2):
        outline = tile_polygon(projection, x, state.player.y)
        assert outline is not None
        column, row = (sum(values) / 4 for values in zip(*outline, strict=True))
        if LAYOUT.viewport.contains(column, row):
            assert tile_at(state, column, row) == (x, state.player.y)


def test_the_camera_looks_north_at_yaw_0_and_turns_left_as_yaw_grows():
    state = _state(Camera(0, 300, 350, 20.0, 20.0))
    north = projection_of(state).project(20.5 * TILE_UNITS, 23.5 * TILE_UNITS)
    here = projection_of(state).project(20.5 * TILE_UNITS, 20.5 * TILE_UNITS)
    assert north is not None
    assert here is not None
    assert north[1] < here[1]
    state.camera.yaw = 100
    turned = projection_of(state).project(20.5 * TILE_UNITS, 23.5 * TILE_UNITS)
    assert turned is not None
    assert turned[0] > north[0], "what was ahead moves to the right as the view turns left"


RIM_TILES = (LAYOUT.minimap_radius_px - 4) / LAYOUT.minimap_px_per_tile
"""How far from the middle the minimap shows what is marked on it: 17.25 tiles."""


@given(CAMERAS, st.integers(-22, 22), st.integers(-22, 22))
@settings(max_examples=200, deadline=None)
def test_a_tile_on_the_minimap_is_found_again_and_none_is_shown_beyond_its_rim(camera, east, north):
    state = _state(camera)
    tile = (state.player.x + east, state.player.y + north)
    point = minimap_point(state, *tile)
    distance = hypot(tile[0] - camera.focus_x, tile[1] - camera.focus_y)
    if abs(distance - RIM_TILES) > 1e-6:
        assert (point is not None) == (distance < RIM_TILES)
    if point is None:
        return
    assert LAYOUT.minimap.contains(*point)
    assert hypot(*(a - b for a, b in zip(point, LAYOUT.minimap.centre, strict=True))) == pytest.approx(4 * distance)
    on_map = min(tile) >= 0 and max(tile) < 40
    assert minimap_tile(state, *point) == (tile if on_map else None)


@pytest.mark.parametrize(
    ("yaw", "offset", "moved_px"),
    [
        (0, (5, 3), (20, -12)),
        # A quarter turn to the left: what was ahead is on the right, what was on the right is behind.
        (512, (5, 3), (12, 20)),
        (1024, (5, 3), (-20, 12)),
        (0, (17, 0), (68, 0)),
        (0, (0, -17), (0, 68)),
        (0, (18, 0), None),
        (0, (0, 18), None),
        (0, (-13, 12), None),
    ],
)
def test_the_minimap_turns_with_the_camera_and_ends_at_its_rim(yaw, offset, moved_px):
    state = _state(Camera(yaw, 300, 350, 20.0, 20.0))
    point = minimap_point(state, 20 + offset[0], 20 + offset[1])
    if moved_px is None:
        assert point is None
    else:
        middle = LAYOUT.minimap.centre
        assert point == pytest.approx((middle[0] + moved_px[0], middle[1] + moved_px[1]))


def test_a_press_on_the_minimap_counts_within_its_disc_and_on_the_map():
    state = _state(Camera(0, 300, 350, 20.0, 20.0))
    column, row = LAYOUT.minimap.centre
    assert minimap_tile(state, column, row) == (20, 20)
    assert minimap_tile(state, column + 73, row) == (38, 20)
    assert minimap_tile(state, column + 74, row) is None
    assert minimap_tile(state, column + 52, row + 52) is None
    edge = _state(Camera(0, 300, 350, 2.0, 37.0))
    assert minimap_tile(edge, column - 8, row - 8) == (0, 39)
    assert minimap_tile(edge, column - 12, row) is None
    assert minimap_tile(edge, column, row - 12) is None


@given(CAMERAS)
@settings(max_examples=50, deadline=None)
def test_what_the_camera_looks_at_is_in_the_middle_at_its_distance(camera):
    projection = projection_of(_state(camera))
    x, y = (camera.focus_x + 0.5) * TILE_UNITS, (camera.focus_y + 0.5) * TILE_UNITS
    view, depth = LAYOUT.viewport, 600 + 3 * camera.pitch
    middle = (view.x + view.width / 2, view.y + view.height / 2)
    assert projection.project(x, y, 50) == pytest.approx((*middle, depth))
    # A unit at that distance takes the zoom over the distance in pixels; what stands higher is drawn higher up.
    yaw = camera.yaw * 2 * pi / 2048
    aside = projection.project(x + 100 * cos(yaw), y + 100 * sin(yaw), 50)
    assert aside == pytest.approx((middle[0] + 100 * camera.zoom / depth, middle[1], depth))
    above = projection.project(x, y, 90)
    assert above is not None
    assert above[1] < middle[1]


def test_what_is_behind_the_eye_or_just_before_it_is_not_seen():
    projection = projection_of(_state(Camera(0, 300, 350, 20.0, 20.0)))
    pitch = 300 * 2 * pi / 2048

    def ahead(distance):
        # Along the line of sight, from the eye.
        return projection.project(
            projection.eye_x, projection.eye_y + distance * cos(pitch), projection.eye_up - distance * sin(pitch)
        )

    assert ahead(-10) is None
    assert ahead(49) is None
    assert ahead(51) is not None


@pytest.mark.parametrize(("ms", "place"), [(0, (5, 5)), (150, (5.5, 5)), (300, (6, 5)), (450, (6, 5.5)), (600, (6, 6))])
def test_between_two_ticks_the_player_slides_along_its_trail(ms, place):
    state = _state(Camera(0, 300, 350, 20.0, 20.0))
    state.player.trail, state.ms_in_tick = [(5, 5), (6, 5), (6, 6)], ms
    assert player_position(state) == place
    npc = state.npcs[0]
    npc.previous_x, npc.previous_y, npc.x, npc.y = 10, 20, 14, 18
    assert npc_position(npc, state) == (10 + 4 * ms / 600, 20 - 2 * ms / 600)
    state.player.trail = [(9, 9)]
    assert player_position(state) == (state.player.x, state.player.y)


def test_nothing_is_seen_further_than_14_tiles_from_the_player():
    state = _state(Camera(0, PITCH_MIN, ZOOM_MIN, 20.0, 20.0))
    state.npcs, thing = [], state.objects[0]
    for away, is_seen in (((0, 13), True), ((0, 14), True), ((0, 15), False), ((3, 15), False)):
        thing.x, thing.y = 20 + away[0], 20 + away[1]
        state.objects = [thing]
        assert any(one.kind == "object" for one in visible_world(state)) == is_seen, away


def test_a_tile_is_pressed_within_sight_and_on_the_map():
    state = _state(Camera(0, 383, 220, 20.0, 20.0))
    for x, y, is_hit in ((20, 34, True), (20, 35, False), (6, 20, True), (20, 16, True)):
        outline = tile_polygon(projection_of(state), x, y)
        assert outline is not None
        column, row = (sum(values) / 4 for values in zip(*outline, strict=True))
        if LAYOUT.viewport.contains(column, row):
            assert tile_at(state, column, row) == ((x, y) if is_hit else None)
    view = LAYOUT.viewport
    assert tile_at(state, view.x - 1, view.centre[1]) is None
    assert tile_at(state, view.centre[0], view.bottom) is None


def test_the_rows_of_a_menu_follow_its_header():
    menu = Menu(100, 50, 120, [MenuOption("Walk here", "", "walk")] * 3)
    header, step = LAYOUT.menu_header_height_px, LAYOUT.menu_row_height_px
    assert menu_rect(menu) == Rect(100, 50, 120, header + 3 * step + 3)
    assert menu_row_rects(menu) == [Rect(100, 50 + header + step * row, 120, step) for row in range(3)]


def test_a_click_point_hits_its_thing_and_nothing_else():
    rng, hits = Random(4), 0
    for _ in range(60):
        state = random_scene(rng).state
        state.menu = None
        world = visible_world(state)
        player = next(one for one in world if one.kind == "player")
        for seen in world:
            point = click_point(state, seen, world)
            if point is None or seen.kind == "player" or player.contains(*point):
                continue
            hit = topmost_at(state, *point)
            assert hit is not None
            assert (hit.kind, hit.index) == (seen.kind, seen.index)
            hits += 1
    assert hits > 100


def test_the_world_is_listed_furthest_first_and_within_the_viewport():
    rng = Random(5)
    for _ in range(20):
        world = visible_world(random_scene(rng).state)
        depths = [seen.depth for seen in world]
        assert depths == sorted(depths, reverse=True)
        assert all(seen.rect.intersect(LAYOUT.viewport) == seen.rect for seen in world)


def test_menus_stay_inside_the_frame():
    rng, menus = Random(6), 0
    for _ in range(150):
        state = random_scene(rng).state
        if state.menu is not None:
            rect = menu_rect(state.menu)
            assert rect.intersect(LAYOUT.frame) == rect
            menus += 1
    assert menus > 5


def test_a_hull_holds_its_middle_and_not_what_lies_beside():
    hull = convex_hull([(0, 0), (10, 0), (10, 10), (0, 10), (5, 5), (3, 8)])
    assert set(hull) == {(0, 0), (10, 0), (10, 10), (0, 10)}
    assert is_inside(hull, 5, 5)
    assert not is_inside(hull, 11, 5)
    assert not is_inside(hull, -0.1, 5)


def test_no_two_cells_of_a_grid_overlap():
    grids: list[list[Rect]] = [
        list(LAYOUT.inventory),
        list(LAYOUT.bank.cells) + list(LAYOUT.bank.quantities.values()),
        list(LAYOUT.furnace.cells) + list(LAYOUT.furnace.quantities.values()),
        list(LAYOUT.tabs.values()),
        list(LAYOUT.chat_tabs.values()),
    ]
    for grid in grids:
        for index, rect in enumerate(grid):
            assert rect.intersect(LAYOUT.frame) == rect
            assert not any(rect.intersect(other) for other in grid[index + 1 :])
