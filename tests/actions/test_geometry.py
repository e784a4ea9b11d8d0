"""The one geometry, from a point of the screen through frame, prompt and answer back to the screen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm_agent.actions import ActionChunk, ActionSpec, Click, CoordinateSpace
from vlm_agent.actions.codecs import make_codec
from vlm_agent.actions.placement import Placement, Rect
from vlm_agent.errors import ConfigError

SCALES = (1.0, 1.25, 1.5, 2.0)
QWEN3 = (1000, 1000)


def resized(width: int, height: int) -> tuple[int, int]:
    """Extent of Qwen2.5-VL: pixels of the picture it is shown, multiples of 28."""
    return max(28, width // 28 * 28), max(28, height // 28 * 28)


def execute(space: CoordinateSpace, x_px: int, y_px: int) -> tuple[int, int]:
    """Where a click of the player at a frame pixel lands after it went through a model's answer."""
    spec = ActionSpec(space.extent_width, space.extent_height)
    chunk = space.chunk_to_model(ActionChunk((Click(100, x_px, y_px, "left"),)))
    codec = make_codec("json")
    (action,) = codec.decode(codec.encode(chunk, spec), spec).actions
    assert isinstance(action, Click)
    return space.to_screen(action.x, action.y)


def sizes_and_extents(space: CoordinateSpace) -> list[tuple[int, int]]:
    """Frame size and model extent, of x and of y."""
    return [(space.frame_width_px, space.extent_width), (space.frame_height_px, space.extent_height)]


def find_slack(space: CoordinateSpace, size_px: int, extent: int) -> float:
    """One pixel; where a model coordinate is larger than a pixel also its half, and a coarse pointer's own."""
    assert space.placement is not None
    if extent >= size_px:
        return 1.0
    return max(1.0, 0.5 * size_px / extent + 0.5) + (1.0 if space.placement.scale > 1.0 else 0.0)


@st.composite
def screens(draw: st.DrawFn) -> tuple[CoordinateSpace, int, int]:
    """A window somewhere on a scaled screen, shown in a frame that is no larger, and a frame pixel, edges often."""
    screen = Rect(
        *(draw(st.integers(-2000, 2000)) for _ in "xy"), draw(st.integers(40, 3840)), draw(st.integers(40, 2160))
    )
    width, height = draw(st.integers(28, screen.width)), draw(st.integers(28, screen.height))
    placement = Placement.fit(screen, width, height, draw(st.sampled_from(SCALES)))
    extents = draw(st.sampled_from([QWEN3, resized(width, height)]))
    content = placement.content
    x = draw(st.sampled_from((0, content.width - 1)) | st.integers(0, content.width - 1)) + content.x
    y = draw(st.sampled_from((0, content.height - 1)) | st.integers(0, content.height - 1)) + content.y
    return CoordinateSpace(width, height, *extents).on(placement), x, y


@given(screens())
def test_a_click_lands_where_the_player_clicked(case: tuple[CoordinateSpace, int, int]) -> None:
    space, x, y = case
    assert space.placement is not None
    landed = space.placement.to_frame(*execute(space, x, y))
    slack_x, slack_y = (find_slack(space, size, extent) for size, extent in sizes_and_extents(space))
    assert abs(landed[0] - x) <= slack_x
    assert abs(landed[1] - y) <= slack_y


@given(screens())
def test_no_answer_leaves_the_window(case: tuple[CoordinateSpace, int, int]) -> None:
    space, x, y = case
    assert space.placement is not None
    assert space.placement.holds(*execute(space, x, y))


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("extents", [QWEN3, resized(765, 503)])
@pytest.mark.parametrize("screen", [Rect(0, 0, 765, 503), Rect(217, 91, 765, 503), Rect(-300, 40, 1530, 1006)])
def test_every_pixel_of_every_edge_comes_back(scale: float, extents: tuple[int, int], screen: Rect) -> None:
    space = CoordinateSpace(765, 503, *extents).on(Placement.fit(screen, 765, 503, scale))
    assert space.placement is not None
    edges = [(x, y) for x in range(765) for y in (0, 502)] + [(x, y) for y in range(503) for x in (0, 764)]
    for x, y in edges:
        there = space.placement.to_frame(*space.to_screen(*space.to_model(x, y)))
        slack = max(find_slack(space, size, extent) for size, extent in sizes_and_extents(space))
        assert max(abs(there[0] - x), abs(there[1] - y)) <= slack


def test_a_window_that_moved_or_grew_takes_its_points_along() -> None:
    space = CoordinateSpace(765, 503)
    before = space.on(Placement.fit(Rect(10, 20, 765, 503), 765, 503))
    moved = space.on(Placement.fit(Rect(400, 220, 765, 503), 765, 503))
    grown = space.on(Placement.fit(Rect(10, 20, 1530, 1006), 765, 503))
    x, y = before.to_screen(500, 250)
    assert moved.to_screen(500, 250) == (x + 390, y + 200)
    assert grown.to_screen(500, 250) == (10 + 2 * (x - 10) + 1, 20 + 2 * (y - 20) + 1)
    # Model coordinates are finer than the frame's pixels here: the pixel comes back, by the first of its coordinates.
    assert before.to_frame(*before.from_screen(x, y)) == before.to_frame(500, 250)


def test_what_is_on_no_screen_has_no_place_there() -> None:
    space = CoordinateSpace(765, 503)
    with pytest.raises(ConfigError, match="on no screen"):
        space.to_screen(1, 1)
    with pytest.raises(ConfigError, match="expected the placement of a 765x503 px frame, got that of a 10x10 px one"):
        space.on(Placement.fit(Rect(0, 0, 10, 10), 10, 10))
