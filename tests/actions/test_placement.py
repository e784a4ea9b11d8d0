"""Frame pixels and screen pixels, both ways."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm_agent.actions.placement import Placement, Rect
from vlm_agent.errors import ConfigError

_rects = st.builds(Rect, st.integers(-3000, 3000), st.integers(-3000, 3000), st.integers(1, 4000), st.integers(1, 3000))


def test_a_window_at_an_offset_is_moved_along() -> None:
    placement = Placement.fit(Rect(100, 50, 765, 503), 765, 503)
    assert placement.to_screen(0, 0) == (100, 50)
    assert placement.to_screen(764, 502) == (864, 552)
    assert placement.to_frame(100, 50) == (0, 0)
    assert placement.to_frame(99, 600) == (-1, 550)


def test_a_wide_window_in_a_narrow_frame_has_black_above_and_below() -> None:
    placement = Placement.fit(Rect(0, 0, 1600, 800), 800, 600)
    assert placement.content == Rect(0, 100, 800, 400)
    assert placement.to_screen(0, 100) == (1, 1)
    assert placement.to_screen(0, 0) == (1, 1)
    assert placement.to_frame(1599, 799) == (799, 499)


def test_a_screen_of_two_device_pixels_a_point() -> None:
    placement = Placement.fit(Rect(200, 100, 800, 600), 800, 600, scale=2.0)
    assert placement.to_screen(0, 0) == (100, 50)
    assert placement.to_screen(799, 599) == (499, 349)
    assert placement.holds(499, 349)
    assert not placement.holds(500, 349)


@given(_rects, st.integers(1, 2000), st.integers(1, 1500), st.sampled_from([1.0, 1.25, 1.5, 2.0]), st.data())
def test_a_frame_pixel_comes_back(screen: Rect, width: int, height: int, scale: float, data: st.DataObject) -> None:
    placement = Placement.fit(screen, width, height, scale)
    content = placement.content
    x = data.draw(st.integers(content.x, content.x + content.width - 1))
    y = data.draw(st.integers(content.y, content.y + content.height - 1))
    back = placement.to_frame(*placement.to_screen(x, y))
    ratio = max(content.width / screen.width, content.height / screen.height)
    # A frame that is larger than what it shows has several pixels for one of the screen.
    slack = (0 if scale == 1.0 else 1) if ratio <= 1 else 1 + 1.5 * ratio
    assert abs(back[0] - x) <= slack
    assert abs(back[1] - y) <= slack


@given(_rects, st.integers(1, 2000), st.integers(1, 1500), st.data())
def test_every_pixel_of_the_frame_lands_in_the_captured_part(
    screen: Rect, width: int, height: int, data: st.DataObject
) -> None:
    placement = Placement.fit(screen, width, height)
    x, y = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    assert placement.holds(*placement.to_screen(x, y))


def test_content_outside_the_frame_and_empty_rectangles_are_refused() -> None:
    with pytest.raises(ConfigError, match="must lie in"):
        Placement(Rect(0, 0, 10, 10), 10, 10, Rect(5, 0, 10, 10))
    with pytest.raises(ConfigError, match="at least 1x1"):
        Rect(0, 0, 0, 5)
    with pytest.raises(ConfigError, match="scale factor"):
        Placement.fit(Rect(0, 0, 10, 10), 10, 10, scale=0.0)


def test_what_two_rectangles_share() -> None:
    assert Rect(0, 0, 10, 10).intersect(Rect(5, -5, 10, 10)) == Rect(5, 0, 5, 5)
    assert Rect(0, 0, 10, 10).intersect(Rect(10, 0, 10, 10)) is None


@pytest.mark.parametrize("scale", [1.0, 1.25, 1.5, 2.0, 3.0])
@pytest.mark.parametrize("origin", [(0, 0), (1, 1), (7, 3), (-5, -1), (-2, 4)])
def test_the_first_and_last_pixels_are_executed_inside_the_captured_part(scale, origin):
    placement = Placement.fit(Rect(*origin, 60, 40), 60, 40, scale)
    for pixel in ((0, 0), (59, 39), (0, 39), (59, 0), (30, 20)):
        place = placement.to_screen(*pixel)
        assert placement.holds(*place)
        # As near as the units of pointer events allow.
        back = placement.to_frame(*place)
        assert max(abs(back[0] - pixel[0]), abs(back[1] - pixel[1])) <= scale


def test_a_unit_that_begins_before_the_captured_part_is_not_taken():
    placement = Placement.fit(Rect(1, 3, 10, 10), 10, 10, 2.0)
    assert placement.to_screen(0, 0) == (1, 2)
    assert not placement.holds(0, 2)
    assert not placement.holds(1, 1)


def test_a_rectangle_is_half_open():
    rect = Rect(2, 3, 4, 5)
    inside = {(x, y) for x in range(10) for y in range(10) if rect.contains(x, y)}
    assert inside == {(x, y) for x in (2, 3, 4, 5) for y in (3, 4, 5, 6, 7)}
    assert [rect.clamp(*point) for point in ((0, 0), (9, 9), (3, 9), (9, 4))] == [(2, 3), (5, 7), (3, 7), (5, 4)]
    assert rect.intersect(Rect(4, 0, 9, 4)) == Rect(4, 3, 2, 1)
    assert rect.intersect(Rect(6, 3, 1, 1)) is None
    assert rect.intersect(Rect(2, 8, 1, 1)) is None


def test_the_frame_shows_the_window_undistorted_and_in_its_middle():
    wide = Placement.fit(Rect(0, 0, 200, 50), 100, 100)
    assert wide.content == Rect(0, 37, 100, 25)
    tall = Placement.fit(Rect(0, 0, 50, 200), 100, 100)
    assert tall.content == Rect(37, 0, 25, 100)
    assert wide.to_screen(0, 0) == (1, 1)
    assert wide.to_screen(99, 99) == (199, 49)
    assert wide.to_frame(-1, 10)[0] < 0
    assert wide.to_frame(10, 50)[1] >= 62
