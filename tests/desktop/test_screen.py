"""Pictures of the screen: which part, in which colours, and how they become frames; the screen is a stand-in."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from x_server import ListeningWindow, resize_screen, run_x_server

from vlm_agent.actions.placement import Placement, Rect
from vlm_agent.desktop.screen import ScreenGrabber, check_screen, fit_picture
from vlm_agent.errors import ConfigError


class ShotError(Exception):
    """Stands for mss's own."""


class Screen:
    """Two monitors, one left of the other; a pixel's red is its column, its green its row, its blue 200."""

    monitors = (
        {"left": -20, "top": 0, "width": 60, "height": 30},
        {"left": 0, "top": 0, "width": 40, "height": 30},
        {"left": -20, "top": 5, "width": 20, "height": 20},
    )

    def __init__(self) -> None:
        self.fails = self.is_closed = False

    def close(self) -> None:
        self.is_closed = True

    def grab(self, place: dict[str, int]) -> Any:
        if self.fails:
            raise ShotError("XGetImage() failed")
        columns = np.arange(place["left"], place["left"] + place["width"]) % 256
        rows = np.arange(place["top"], place["top"] + place["height"])
        bgra = np.zeros((place["height"], place["width"], 4), np.uint8)
        bgra[:, :, 0], bgra[:, :, 1], bgra[:, :, 2] = 200, rows[:, None], columns[None, :]
        return SimpleNamespace(raw=bgra.tobytes())


@pytest.fixture
def grabber() -> ScreenGrabber:
    made = ScreenGrabber.__new__(ScreenGrabber)
    made._desktop = SimpleNamespace(screen=Rect(-20, 0, 60, 30), close=lambda: None)  # type: ignore[assignment]
    made._open_library, made._error = Screen, ShotError
    made._open()
    return made


def test_all_monitors_are_the_screen(grabber: ScreenGrabber) -> None:
    assert grabber.screen == Rect(-20, 0, 60, 30)
    assert grabber.monitors == [Rect(0, 0, 40, 30), Rect(-20, 5, 20, 20)]


def test_a_picture_is_in_red_green_and_blue_rows_first(grabber: ScreenGrabber) -> None:
    picture = grabber.grab(Rect(3, 5, 8, 4))
    assert picture.shape == (4, 8, 3)
    assert picture[0, 0].tolist() == [3, 5, 200]
    assert picture[3, 7].tolist() == [10, 8, 200]
    # On the monitor to the left columns are negative.
    assert grabber.grab(Rect(-20, 7, 2, 2))[1, 1].tolist() == [256 - 19, 8, 200]


def test_what_lies_off_the_screen_is_black(grabber: ScreenGrabber) -> None:
    picture = grabber.grab(Rect(36, 27, 8, 6))
    assert picture.shape == (6, 8, 3)
    assert picture[2, 3].tolist() == [39, 29, 200]
    assert not picture[:, 4:].any()
    assert not picture[3:].any()
    above = grabber.grab(Rect(-22, -1, 4, 3))
    assert above[1, 2].tolist() == [256 - 20, 0, 200]
    assert not above[0].any()
    assert not above[:, :2].any()
    assert not grabber.grab(Rect(500, 500, 2, 3)).any()


def test_a_screen_that_fails_is_one_line(grabber: ScreenGrabber) -> None:
    grabber._mss.fails = True
    with pytest.raises(ConfigError, match=r"can't be grabbed: XGetImage\(\) failed"):
        grabber.grab(Rect(0, 0, 2, 2))


def test_a_screen_of_another_size_is_opened_anew(grabber: ScreenGrabber) -> None:
    before = grabber._mss
    grabber._desktop.screen = Rect(0, 0, 500, 400)  # type: ignore[misc]
    assert grabber.grab(Rect(450, 350, 2, 2))[0, 0].tolist() == [450 - 256, 350 - 256, 200]
    assert before.is_closed
    grabber._desktop.screen = Rect(0, 0, 40, 30)  # type: ignore[misc]
    assert grabber.monitors == [Rect(0, 0, 40, 30), Rect(-20, 5, 20, 20)]
    assert not grabber._mss.is_closed


def test_a_screen_that_changes_while_it_is_grabbed_is_grabbed_again(grabber: ScreenGrabber) -> None:
    def change(place: dict[str, int]) -> Any:
        grabber._desktop.screen = Rect(0, 0, 30, 20)  # type: ignore[misc]
        raise ShotError("X11 Protocol Error\nMajor opcode 130")

    grabber._mss.grab = change
    picture = grabber.grab(Rect(28, 5, 4, 4))
    assert picture[0, 1].tolist() == [29, 5, 200]
    assert not picture[:, 2:].any()


def test_a_screen_that_never_rests_or_can_not_be_opened_is_one_line(
    grabber: ScreenGrabber, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Restless(Screen):
        def grab(self, place: dict[str, int]) -> Any:
            grabber._desktop.screen = Rect(0, 0, grabber.screen.width + 1, 30)  # type: ignore[misc]
            raise ShotError("X11 Protocol Error\nMajor opcode 130")

    grabber._open_library = Restless
    grabber._desktop.screen = Rect(0, 0, 9, 9)  # type: ignore[misc]
    with pytest.raises(ConfigError, match="goes on changing its size"):
        grabber.grab(Rect(0, 0, 4, 4))

    def refuse() -> Any:
        raise ShotError("Only screens of color depth 24 or 32 are supported,\nnot 30")

    grabber._open_library = refuse
    with pytest.raises(ConfigError, match=r"supported, not 30; set it to a color depth of 24") as caught:
        grabber.grab(Rect(0, 0, 4, 4))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("depth", [8, 15, 16, 30])
def test_a_depth_that_can_not_be_read_is_refused_by_name(depth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with run_x_server(64, 48, depth=depth) as name:
        monkeypatch.setenv("DISPLAY", name)
        with pytest.raises(ConfigError, match="can't be read: Only") as caught:
            check_screen()
        assert "set it to a color depth of 24" in str(caught.value)


def test_pictures_follow_a_screen_that_becomes_larger_and_smaller(x_display: str) -> None:
    grabber = ScreenGrabber()
    with ListeningWindow(x_display, x=20, y=30, width=1300, height=900):
        for width, height in ((640, 480), (1280, 800), (800, 600)):
            resize_screen(x_display, width, height)
            assert grabber.screen == Rect(0, 0, width, height)
            picture = grabber.grab(Rect(0, 0, 1280, 800))
            assert tuple(picture[height - 1, width - 1]) == (0x33, 0x66, 0x99)
            assert not picture[height:].any()
            assert not picture[:, width:].any()
    grabber.close()


def test_a_frame_has_the_picture_in_its_content_and_black_around_it(grabber: ScreenGrabber) -> None:
    placement = Placement.fit(Rect(0, 0, 40, 20), 20, 20)
    frame = grabber.grab_frame(placement)
    assert frame.shape == (20, 20, 3)
    assert placement.content == Rect(0, 5, 20, 10)
    # Each pixel is the mean of the four that it stands for.
    assert frame[5, 0].tolist() == [1, 1, 200]
    assert frame[14, 19].tolist() == [39, 19, 200]
    assert not frame[:5].any()
    assert not frame[15:].any()


def test_a_picture_of_the_frames_size_is_passed_on_as_it_is() -> None:
    picture = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    np.testing.assert_array_equal(fit_picture(picture, Placement.fit(Rect(9, 9, 6, 4), 6, 4)), picture)
    narrow = fit_picture(picture, Placement.fit(Rect(9, 9, 6, 4), 10, 4))
    np.testing.assert_array_equal(narrow[:, 2:8], picture)
    assert not narrow[:, :2].any()
    assert not narrow[:, 8:].any()
