"""What is done to windows before they are learnt."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from vlm_agent.actions.spec import ActionSpec
from vlm_agent.actions.types import ActionChunk, Click, Key, Move
from vlm_agent.training.config import RecipeSettings
from vlm_agent.training.windows import choose_recipe, snap_clicks

SPEC = ActionSpec(1000, 1000, keys=("a",))
TEXT = "inv: gold bar @760,456 x13\nnear: furnace @300,200 5; tree @320,210 6\nmouse @500,500 over"


@pytest.mark.parametrize(
    ("x", "y", "want"),
    [
        (755, 470, (760, 456)),  # near a place
        (304, 204, (300, 200)),  # the nearer of two
        (316, 207, (320, 210)),
        (760, 482, (760, 482)),  # too far along one axis
        (501, 501, (501, 501)),  # the pointer is no place to click on
    ],
)
def test_a_click_snaps_to_the_nearest_place_within_reach(x, y, want):
    chunk = ActionChunk((Move(20, x, y), Click(100, x, y, "right"), Key(20, "a")))
    move, click, key = snap_clicks(chunk, TEXT, SPEC, 25).actions
    assert (click.x, click.y, click.dt_ms, click.button) == (*want, 100, "right")
    assert (move, key) == (chunk.actions[0], chunk.actions[2])


def test_reach_is_in_thousandths_of_the_extent():
    pixels = SPEC.with_extent(400, 200)
    chunk = ActionChunk((Click(0, 108, 54),))
    assert snap_clicks(chunk, "furnace @100,50", pixels, 20).actions == (Click(0, 100, 50),)
    assert snap_clicks(chunk, "furnace @100,50", pixels, 19) == chunk


def test_without_reach_or_text_nothing_moves():
    chunk = ActionChunk((Click(0, 301, 201),))
    assert snap_clicks(chunk, TEXT, SPEC, 0) == chunk
    assert snap_clicks(chunk, "", SPEC, 25) == chunk


@pytest.mark.parametrize(("y", "snaps"), [(54, True), (55, False)])
def test_reach_along_y_is_of_the_height(y, snaps):
    wide = SPEC.with_extent(1000, 200)
    chunk = ActionChunk((Click(0, 100, y),))
    assert (snap_clicks(chunk, "furnace @100,50", wide, 20) != chunk) == snaps


def test_a_picture_has_the_size_of_the_commonest_frame():
    spec = ActionSpec(640, 480, keys=("a",))
    sizes = [(320, 320), (640, 480), (640, 480), (100, 900)]
    windows = [
        SimpleNamespace(state=None, frame_width_px=width, frame_height_px=height, goal="x", goal_level="long")
        for width, height in sizes
    ]
    asked = []
    images = SimpleNamespace(fit_size=lambda *size, max_tokens: asked.append((size, max_tokens)) or (64, 32))
    model = SimpleNamespace(encoder=SimpleNamespace(images=images), family=SimpleNamespace(coordinates="thousand"))
    dataset = SimpleNamespace(splits={"train": 4}, folder=None, spec=spec, windows=lambda split: windows)
    recipe = choose_recipe(model, dataset, RecipeSettings(image_max_tokens=77))
    assert asked == [((640, 480), 77)]
    assert (recipe.image_width_px, recipe.image_height_px) == (64, 32)
