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
