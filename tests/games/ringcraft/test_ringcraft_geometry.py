from __future__ import annotations

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
    minimap_point,
    minimap_tile,
    projection_of,
    tile_at,
    tile_polygon,
    topmost_at,
    visible_world,
)
from vlm_agent.games.ringcraft.layout import LAYOUT, Rect
from vlm_agent.games.ringcraft.polygons import convex_hull, is_inside
from vlm_agent.games.ringcraft.random_scenes import random_scene
from vlm_agent.games.ringcraft.state import Camera, State

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


@given(CAMERAS, st.integers(-10, 10), st.integers(-10, 10))
@settings(max_examples=100, deadline=None)
def test_a_tile_on_the_minimap_is_found_again(camera, east, north):
    state = _state(camera)
    tile = (state.player.x + east, state.player.y + north)
    point = minimap_point(state, *tile)
    if point is not None and min(tile) >= 0 and max(tile) < 40:
        assert LAYOUT.minimap.contains(*point)
        assert minimap_tile(state, *point) == tile


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
