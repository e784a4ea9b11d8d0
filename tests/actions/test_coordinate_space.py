"""The one geometry: frame pixels to model coordinates and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm_agent.actions import ActionChunk, Click, CoordinateSpace, Key, Move, Scroll
from vlm_agent.errors import ConfigError

sizes = st.integers(1, 4000)


@st.composite
def spaces_with_pixels(draw: st.DrawFn, *, fine: bool) -> tuple[CoordinateSpace, int, int]:
    """A space and a pixel of its frame, the edges often; `fine` means at least one model coordinate a pixel."""
    width, height = draw(sizes), draw(sizes)
    extents = [draw(st.integers(size if fine else 1, 8000)) for size in (width, height)]
    x = draw(st.sampled_from((0, width - 1)) | st.integers(0, width - 1))
    y = draw(st.sampled_from((0, height - 1)) | st.integers(0, height - 1))
    return CoordinateSpace(width, height, *extents), x, y


@given(case=spaces_with_pixels(fine=True))
def test_a_round_trip_lands_within_one_pixel(case):
    space, x, y = case
    back_x, back_y = space.to_frame(*space.to_model(x, y))
    assert abs(back_x - x) <= 1
    assert abs(back_y - y) <= 1


@given(case=spaces_with_pixels(fine=False))
def test_a_coarse_round_trip_lands_within_half_a_cell(case):
    space, x, y = case
    back_x, back_y = space.to_frame(*space.to_model(x, y))
    assert abs(back_x - x) <= 0.5 * space.frame_width_px / space.extent_width + 0.5
    assert abs(back_y - y) <= 0.5 * space.frame_height_px / space.extent_height + 0.5


@pytest.mark.parametrize("size", [(1, 1), (384, 256), (765, 503), (1000, 1000)])
def test_every_pixel_of_an_edge_comes_back_within_one_pixel(size):
    width, height = size
    space = CoordinateSpace(width, height)
    for x in range(width):
        assert abs(space.to_frame(*space.to_model(x, 0))[0] - x) <= 1
    for y in range(height):
        assert abs(space.to_frame(*space.to_model(width - 1, y))[1] - y) <= 1


@given(case=spaces_with_pixels(fine=False), dx=st.floats(-1e4, 1e4), dy=st.floats(-1e4, 1e4))
def test_points_outside_are_clamped_and_order_is_kept(case, dx, dy):
    space, x, y = case
    one, two = space.to_model(x, y), space.to_model(x + dx, y + dy)
    for point in (one, two):
        assert 0 <= point[0] < space.extent_width
        assert 0 <= point[1] < space.extent_height
        assert 0 <= space.to_frame(*point)[0] < space.frame_width_px
        assert 0 <= space.to_frame(*point)[1] < space.frame_height_px
    assert (two[0] - one[0]) * dx >= 0
    assert (two[1] - one[1]) * dy >= 0


def test_a_coordinate_that_is_asked_for_is_kept():
    """Model coordinates survive a trip over the frame where the frame is the finer of the two."""
    space = CoordinateSpace(3840, 2160)
    for x in range(1000):
        assert space.to_model(*space.to_frame(x, 999 - x)) == (x, 999 - x)


def test_chunks_are_converted_action_by_action():
    space = CoordinateSpace(500, 250, 1000, 1000)
    chunk = ActionChunk((Move(10, 499, 0), Key(0, "a"), Click(20, 0, 249, "left", "down"), Scroll(0, 250, 125, -2)))
    model = space.chunk_to_model(chunk)
    assert model.actions == (
        Move(10, 999, 2),
        Key(0, "a"),
        Click(20, 1, 998, "left", "down"),
        Scroll(0, 501, 502, -2),
    )
    assert space.chunk_to_frame(model) == chunk
    assert space.chunk_to_model(ActionChunk(done=True)) == ActionChunk(done=True)


def test_an_empty_frame_is_refused():
    with pytest.raises(ConfigError, match="1x1"):
        CoordinateSpace(0, 10)


def test_what_lies_outside_is_brought_to_the_edge() -> None:
    space = CoordinateSpace(765, 503)
    assert space.to_frame(999, 999) == (764, 502)
    assert space.to_frame(1000, 1700) == (764, 502)
    assert space.to_frame(-1, -30) == (0, 0)
    assert space.to_model(765, 900) == (999, 999)
    assert space.to_model(-1, -40) == (0, 0)
