"""Frames: the same bits for the same state, things where the geometry says, and every screen as it was last looked at.

`python -m tests.games.ringcraft.test_drawing` writes the golden frames anew; look at them before you commit them.
"""

from __future__ import annotations

import base64
import copy
import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pygame
import pytest

from vlm_agent.games.ringcraft import sprites
from vlm_agent.games.ringcraft.config import RingcraftConfig
from vlm_agent.games.ringcraft.drawing import Renderer
from vlm_agent.games.ringcraft.drawing_mesh import project_all
from vlm_agent.games.ringcraft.drawing_windows import quantity_label
from vlm_agent.games.ringcraft.geometry import TILE_UNITS, minimap_point, projection_of, visible_world
from vlm_agent.games.ringcraft.icons import icon_names
from vlm_agent.games.ringcraft.interface import open_menu, options_at
from vlm_agent.games.ringcraft.layout import LAYOUT, Rect
from vlm_agent.games.ringcraft.rules import RULES
from vlm_agent.games.ringcraft.scene import make_scene
from vlm_agent.games.ringcraft.state import ClickCross, GameObject, Skin, Stack, State

Frame = npt.NDArray[np.uint8]

GOLDEN = Path(__file__).with_name("golden_frames.json")
GOLDEN_BLOCK_PX = 25
GOLDEN_TOLERANCE = 4
"""Levels of 255: fonts and smoothing differ by less between releases of pygame and between processors."""


def scene(seed: int = 3) -> State:
    state = make_scene(seed, RingcraftConfig())
    state.pointer.x, state.pointer.y = 640, 480
    return state


def carrying(state: State, *items: str) -> State:
    state.inventory = [Stack(item) for item in items] + [None] * (28 - len(items))
    return state


def bank_open() -> State:
    state = carrying(scene(4), "ring_mould", *["gold_bar"] * 3, *["sapphire"] * 3)
    state.mode, state.bank_quantity = "bank", "X"
    return state


def furnace_open() -> State:
    state = carrying(scene(5), "ring_mould", "gold_bar", "sapphire")
    state.mode, state.furnace_quantity = "furnace", "All"
    return state


def level_up() -> State:
    state = scene(6)
    state.mode, state.new_level = "levelup", 21
    return state


def menu_open() -> State:
    state = scene(7)
    x, y = LAYOUT.viewport.centre
    state.menu = open_menu(options_at(state, x, y), x, y)
    state.cross = ClickCross(200, 200, True, 5)
    state.pointer.x, state.pointer.y = state.menu.x + 20, state.menu.y + 26
    return state


def smelting() -> State:
    state = carrying(scene(8), "ring_mould", "gold_bar", "sapphire", "sapphire_ring")
    state.player.animation = "smelt"
    state.last_xp, state.last_xp_tick, state.ms_in_tick = 40, state.tick, 200
    return state


def stats_tab() -> State:
    state = scene(9)
    state.tab = "stats"
    return state


SCREENS: dict[str, Callable[[], State]] = {
    "play": scene,
    "bank": bank_open,
    "furnace": furnace_open,
    "level_up": level_up,
    "menu": menu_open,
    "smelting": smelting,
    "stats": stats_tab,
}


def changed_box(first: Frame, second: Frame) -> Rect | None:
    rows, columns = np.nonzero((first != second).any(axis=-1))
    if len(rows) == 0:
        return None
    left, top = int(columns.min()), int(rows.min())
    return Rect(left, top, int(columns.max()) - left + 1, int(rows.max()) - top + 1)


def shown_object(state: State) -> GameObject:
    """The object that takes most room on the screen."""
    things = [seen for seen in visible_world(state) if seen.kind == "object"]
    return state.objects[max(things, key=lambda seen: seen.rect.width * seen.rect.height).index]


def is_within(inner: Rect, outer: Rect, slack_px: int) -> bool:
    return (
        inner.x >= outer.x - slack_px
        and inner.y >= outer.y - slack_px
        and inner.right <= outer.right + slack_px
        and inner.bottom <= outer.bottom + slack_px
    )


def shrink(frame: Frame) -> Frame:
    height, width = (side // GOLDEN_BLOCK_PX for side in frame.shape[:2])
    blocks = frame[: height * GOLDEN_BLOCK_PX, : width * GOLDEN_BLOCK_PX].astype(np.float64)
    blocks = blocks.reshape(height, GOLDEN_BLOCK_PX, width, GOLDEN_BLOCK_PX, 3).mean(axis=(1, 3))
    return np.rint(blocks).astype(np.uint8)


@pytest.mark.parametrize("name", SCREENS)
def test_every_screen_looks_as_when_it_was_last_approved(name: str) -> None:
    golden = np.frombuffer(base64.b64decode(json.loads(GOLDEN.read_text())[name]), dtype=np.uint8)
    small = shrink(Renderer().draw(SCREENS[name]()))
    worst = np.abs(small.astype(np.int64).ravel() - golden.astype(np.int64)).max()
    assert worst <= GOLDEN_TOLERANCE


def test_a_frame_has_the_promised_shape_and_is_the_callers_own() -> None:
    renderer, state = Renderer(), scene()
    frame = renderer.draw(state)
    assert frame.shape == (503, 765, 3)
    assert frame.dtype == np.uint8
    again = renderer.draw(state)
    frame[:] = 0
    assert again.any()


def test_what_was_drawn_before_leaves_no_trace() -> None:
    states = [make() for make in SCREENS.values()]
    fresh = [Renderer().draw(state) for state in states]
    worn = Renderer()
    for first, second in itertools.permutations(range(len(states)), 2):
        worn.draw(states[first])
        assert np.array_equal(worn.draw(states[second]), fresh[second]), (first, second)


def test_small_changes_are_seen_by_a_worn_renderer() -> None:
    changes: list[Callable[[State], None]] = [
        lambda s: setattr(s.camera, "yaw", (s.camera.yaw + 9) % 2048),
        lambda s: setattr(s.camera, "zoom", s.camera.zoom + 20),
        lambda s: setattr(s.player, "facing", (s.player.facing + 512) % 2048),
        lambda s: setattr(s.player, "is_running", not s.player.is_running),
        lambda s: s.player.path.append((s.player.x + 2, s.player.y)),
        lambda s: setattr(s.npcs[0], "x", s.npcs[0].x + 1),
        lambda s: setattr(s.objects[0], "x", s.objects[0].x + 1),
        lambda s: setattr(shown_object(s), "style", shown_object(s).style + 1),
        lambda s: setattr(s.floors[0], "width", s.floors[0].width + 1),
        lambda s: s.chat.append("You make a sapphire ring."),
        lambda s: s.inventory.__setitem__(5, Stack("emerald")),
        lambda s: setattr(s, "selected_slot", 5),
        lambda s: setattr(s, "mode", "bank"),
        lambda s: setattr(s.bank[0], "quantity", 12_345),
        lambda s: setattr(s, "bank_quantity", "All" if s.bank_quantity != "All" else "1"),
        lambda s: setattr(s, "mode", "furnace"),
        lambda s: setattr(s, "furnace_quantity", "5" if s.furnace_quantity != "5" else "1"),
        lambda s: setattr(s, "mode", "none"),
        lambda s: setattr(s, "tab", "stats"),
        lambda s: setattr(s, "crafting_xp", s.crafting_xp + 40),
        lambda s: setattr(s.skin, "panel", s.skin.panel + 1),
        lambda s: setattr(s.skin, "ground", s.skin.ground + 1),
        lambda s: setattr(s.skin, "brightness", 0.83),
    ]
    state, worn = scene(), Renderer()
    before = worn.draw(state)
    for number, change in enumerate(changes):
        change(state)
        after = worn.draw(state)
        assert not np.array_equal(before, after), number
        assert np.array_equal(after, Renderer().draw(state)), number
        before = after


def test_drawing_changes_no_state() -> None:
    for make in SCREENS.values():
        state = make()
        before = copy.deepcopy(state)
        Renderer().draw(state)
        assert state == before


def test_drawing_opens_no_display() -> None:
    pygame.display.quit()
    Renderer().draw(scene())
    assert not pygame.display.get_init()


@pytest.mark.parametrize("seed", [1, 2, 10])
def test_objects_are_drawn_inside_their_geometry(seed: int) -> None:
    state, renderer = scene(seed), Renderer()
    state.npcs = []
    things = [seen for seen in visible_world(state) if seen.kind == "object"]
    whole, num_drawn = renderer.draw(state)[:, : LAYOUT.viewport.right], 0
    for seen in things:
        without = copy.deepcopy(state)
        del without.objects[seen.index]
        box = changed_box(whole, renderer.draw(without)[:, : LAYOUT.viewport.right])
        if box is None:
            # So little of it reaches into the viewport that nothing of it shows.
            assert min(seen.rect.width, seen.rect.height) <= 4, seen
            continue
        num_drawn += 1
        assert is_within(box, seen.rect, slack_px=2), (seen.name, box, seen.rect)
        is_whole = seen.rect.intersect(Rect(8, 28, 500, 304)) == seen.rect
        if is_whole and seen.name in ("furnace", "bank_booth"):
            assert box.width * box.height > 0.3 * seen.rect.width * seen.rect.height, (seen.name, box, seen.rect)
    assert num_drawn >= max(3, len(things) - 1)


def test_items_are_drawn_in_their_cells() -> None:
    renderer = Renderer()
    for slot in (0, 13, 27):
        empty, full = carrying(scene()), carrying(scene())
        full.inventory[slot] = Stack("sapphire")
        box = changed_box(renderer.draw(empty), renderer.draw(full))
        assert box is not None
        assert is_within(box, LAYOUT.inventory[slot], slack_px=0)


def test_a_chosen_quantity_marks_its_button_alone() -> None:
    renderer = Renderer()
    for make, field, parts in (
        (bank_open, "bank_quantity", LAYOUT.bank),
        (furnace_open, "furnace_quantity", LAYOUT.furnace),
    ):
        first, second = make(), make()
        setattr(first, field, "5")
        setattr(second, field, "10")
        box = changed_box(renderer.draw(first), renderer.draw(second))
        left, right = parts.quantities["5"], parts.quantities["10"]
        assert box == Rect(left.x, left.y, right.right - left.x, left.height)


def test_the_pointer_is_drawn_with_its_tip_where_the_mouse_is() -> None:
    renderer, state = Renderer(), scene()
    state.pointer.x, state.pointer.y = 510, 485
    away = copy.deepcopy(state)
    away.pointer.x = away.pointer.y = 3000
    box = changed_box(renderer.draw(state), renderer.draw(away))
    assert box is not None
    assert abs(box.x - 510) <= 1
    assert abs(box.y - 485) <= 1


@pytest.mark.parametrize("yaw", [0, 300, 512, 1100, 1536])
def test_the_minimap_marks_people_and_the_edge_of_the_map_where_the_geometry_says(yaw: int) -> None:
    state = scene()
    state.objects, state.npcs = [], state.npcs[:2]
    camera, player = state.camera, state.player
    player.x, player.y, player.path = 4, 30, []
    camera.yaw, camera.focus_x, camera.focus_y = yaw, 4.0, 30.0
    for npc, (x, y) in zip(state.npcs, ((9, 33), (6, 22)), strict=True):
        npc.x = npc.previous_x = x
        npc.y = npc.previous_y = y
    frame = Renderer().draw(state)

    def colour_at(x: float, y: float) -> tuple[int, ...]:
        point = minimap_point(state, x, y)
        assert point is not None
        return tuple(int(level) for level in frame[round(point[1]), round(point[0])])

    assert colour_at(4, 30) == (255, 255, 255)
    assert [colour_at(npc.x, npc.y) for npc in state.npcs] == [(255, 255, 0)] * 2
    if yaw % 512:
        return
    # Nothing lies west of the first column or north of the last row; the map lies beside them.
    for beyond, inside in (((-2, 30), (1, 30)), ((-2, 24), (1, 24)), ((4, 41.5), (4, 38)), ((10, 41.5), (10, 38))):
        assert colour_at(*beyond) == (0, 0, 0)
        assert max(colour_at(*inside)) > 20


def test_the_flag_on_the_minimap_stands_where_the_way_ends() -> None:
    state = scene()
    state.objects = state.npcs = []
    x, y = state.player.x + 5, state.player.y + 4
    state.player.path = [(x - 1, y), (x, y)]
    without = copy.deepcopy(state)
    without.player.path = []
    box = changed_box(Renderer().draw(state)[:, LAYOUT.minimap.x :], Renderer().draw(without)[:, LAYOUT.minimap.x :])
    point = minimap_point(state, x, y)
    assert box is not None
    assert point is not None
    # Its foot is at the place, the cloth stands above and to the right of it.
    assert (box.x + LAYOUT.minimap.x, box.bottom - 1) == (round(point[0]), round(point[1]))
    assert (box.width, box.height) == (7, 11)


def test_brightness_makes_frames_brighter() -> None:
    levels = []
    for brightness in (0.8, 1.0, 1.2):
        state = scene()
        state.skin = replace(state.skin, brightness=brightness)
        levels.append(Renderer().draw(state).mean())
    assert levels[0] < levels[1] < levels[2]


def test_skins_differ_in_panels_and_ground() -> None:
    frames = []
    for skin in range(4):
        state = scene()
        state.skin = Skin(panel=skin, ground=skin, brightness=1.0)
        frames.append(shrink(Renderer().draw(state)).astype(np.int64))
    for first, second in itertools.combinations(frames, 2):
        assert np.abs(first - second).mean() > 8


def test_items_can_be_told_apart_at_half_size() -> None:
    small = {}
    for key in (*RULES.items, "no such item"):
        sheet = pygame.Surface((36, 32), 0, 24)
        sheet.fill((73, 64, 52))
        sheet.blit(sprites.item_picture(key), (0, 0))
        half = pygame.transform.smoothscale(sheet, (18, 16))
        small[key] = np.frombuffer(pygame.image.tobytes(half, "RGB"), dtype=np.uint8).astype(np.int64)
    for first, second in itertools.combinations(small, 2):
        assert np.abs(small[first] - small[second]).mean() > 4, (first, second)


def test_every_item_tab_and_orb_has_a_picture() -> None:
    assert set(RULES.items) <= set(sprites.item_keys())
    assert {*LAYOUT.tabs, *LAYOUT.orbs} <= set(icon_names())


def test_projecting_all_at_once_equals_projecting_one_by_one() -> None:
    state = scene()
    projection = projection_of(state)
    points = np.random.default_rng(0).uniform(0, 40 * TILE_UNITS, size=(200, 3)) * (1, 1, 0.05)
    columns, rows, depths = project_all(projection, points)
    seen = 0
    for index, point in enumerate(points):
        expected = projection.project(*point)
        if expected is not None:
            seen += 1
            x, y = columns[index] + LAYOUT.viewport.x, rows[index] + LAYOUT.viewport.y
            assert np.allclose((x, y, depths[index]), expected)
    assert seen > 50


@pytest.mark.parametrize(
    ("quantity", "text"), [(1, "1"), (99_999, "99999"), (100_000, "100K"), (9_999_999, "9999K"), (10_000_000, "10M")]
)
def test_large_piles_are_written_short(quantity: int, text: str) -> None:
    assert quantity_label(quantity)[0] == text


def write_golden() -> None:
    frames = {name: shrink(Renderer().draw(make())) for name, make in SCREENS.items()}
    GOLDEN.write_text(
        json.dumps({k: base64.b64encode(v.tobytes()).decode() for k, v in frames.items()}, indent=1) + "\n"
    )


if __name__ == "__main__":
    write_golden()
