"""Input of other recorders: whose it is, where on the frame it is, and in which messages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sessions.test_session_reader import write_foreign
from vlm_agent.actions.events import ButtonChanged, KeyChanged, PointerMoved, WheelTurned
from vlm_agent.errors import ConfigError, DataError
from vlm_agent.sessions.foreign_input import InputCounts
from vlm_agent.sessions.reader import SessionReader
from vlm_agent.sessions.types import Excluded, RawMotion

GAME, BROWSER = 1, 9
S = 10**9
Message = tuple[str, int, dict[str, Any]]


def screen(t_ns: int, source: tuple[int, int] = (320, 180), shape: tuple[int, int] = (320, 180)) -> Message:
    return "screen", t_ns, {"source_shape": list(source), "shape": list(shape), "media_ref": {"uri": "a", "pts_ns": 0}}


def window(t_ns: int, handle: int, rect: tuple[int, ...] = (0, 0, 320, 180), title: str = "") -> Message:
    return (
        "window",
        t_ns,
        {"title": title or {GAME: "Game", BROWSER: "Bank"}[handle], "rect": list(rect), "hWnd": handle},
    )


def click(t_ns: int, x: int, y: int, pressed: bool = True, button: str = "left") -> Message:
    return "mouse", t_ns, {"event_type": "click", "x": x, "y": y, "button": button, "pressed": pressed}


def key(t_ns: int, vk: int, pressed: bool = True) -> Message:
    return "keyboard", t_ns, {"event_type": "press" if pressed else "release", "vk": vk}


def raw(
    t_ns: int, flags: int = 0, data: int = 0, motion: tuple[int, int] = (0, 0), topic: str = "mouse/raw"
) -> Message:
    moved = {"us_flags": 0, "last_x": motion[0], "last_y": motion[1]}
    return topic, t_ns, {**moved, "button_flags": flags, "button_data": data, "device_handle": 7}


def read(tmp_path: Path, messages: list[Message], title: str = "") -> tuple[SessionReader, list[Any], InputCounts]:
    counts = InputCounts()
    reader = SessionReader(write_foreign(tmp_path / "a.mcap", messages), title)
    return reader, list(reader.events(counts)), counts


def test_positions_are_scaled_as_the_pictures_were(tmp_path: Path) -> None:
    large = (100, 50, 2020, 1130)
    messages = [screen(0, (1920, 1080)), window(0, GAME, large), click(1, 1060, 590), click(2, 99, 1129, False)]
    _, events, _ = read(tmp_path, messages)
    assert events == [ButtonChanged(1, 160, 90, "left", True), ButtonChanged(2, -1, 179, "left", False)]


def test_a_screen_that_changes_its_size_scales_from_then_on(tmp_path: Path) -> None:
    messages = [screen(0, (640, 360)), click(1, 64, 36), screen(2, (1280, 720)), click(3, 128, 72, False)]
    _, events, _ = read(tmp_path, messages)
    assert [(event.x, event.y) for event in events] == [(32, 18), (32, 18)]


@given(st.integers(1, 4000), st.integers(1, 4000), st.integers(1, 2000), st.data())
@settings(max_examples=60)
def test_a_point_inside_stays_inside(tmp_path_factory, width, height, to_width, data) -> None:
    to = (to_width, data.draw(st.integers(1, 2000)))
    x, y = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    _, (event,), _ = read(tmp_path_factory.mktemp("a"), [screen(0, (width, height), to), click(1, x, y)])
    assert 0 <= event.x < to[0]
    assert 0 <= event.y < to[1]
    assert abs(event.x - x * to[0] / width) <= 1


def test_what_is_done_in_another_window_is_left_out_and_what_was_down_is_let_go(tmp_path: Path) -> None:
    messages = [
        screen(0),
        window(0, GAME),
        key(1 * S, 87),
        click(1 * S, 5, 5),
        window(2 * S, BROWSER, (500, 0, 1400, 900)),
        key(3 * S, 83),
        raw(3 * S, motion=(4, 4)),
        screen(3 * S),
        key(4 * S, 83, False),
        key(4 * S, 69),
        window(5 * S, GAME),
        key(5 * S, 69, False),
        key(6 * S, 87, False),
        key(7 * S, 65),
    ]
    reader, events, counts = read(tmp_path, messages)
    assert events == [
        KeyChanged(S, "w", True),
        ButtonChanged(S, 5, 5, "left", True),
        KeyChanged(2 * S, "w", False),
        ButtonChanged(2 * S, 5, 5, "left", False),
        KeyChanged(7 * S, "a", True),
    ]
    assert reader.excluded == (Excluded(2 * S, 5 * S, "elsewhere"),)
    assert (reader.input.ownership.inputs, reader.input.ownership.pictures) == (4, 1)
    assert list(reader.raw_motions()) == []
    assert counts.left_out["release_of_a_press_in_another_window"] == 2
    assert counts.repaired["let_go_when_another_window_became_active"] == 2


def test_a_press_beside_the_window_is_the_other_windows(tmp_path: Path) -> None:
    messages = [
        screen(0),
        window(0, GAME),
        click(S, 700, 20),
        click(S + 1, 700, 20, False),
        window(2 * S, BROWSER, (500, 0, 1400, 900)),
    ]
    assert read(tmp_path, messages)[1] == []
    # Nothing became active by it: a menu, a mouse that left the window.
    assert len(read(tmp_path, messages[:4])[1]) == 2


def test_a_window_is_known_by_its_handle_and_a_game_made_anew_by_its_title(tmp_path: Path) -> None:
    messages = [screen(0), window(0, GAME), window(S, GAME, title="Game - saved"), key(2 * S, 65)]
    anew = [window(3 * S, BROWSER, title="Game"), key(4 * S, 66), key(5 * S, 66, False)]
    assert len(read(tmp_path, [*messages, *anew])[1]) == 3


def test_no_window_as_large_as_the_pictures(tmp_path: Path) -> None:
    whole = [screen(0, (1920, 1080)), window(0, GAME, (300, 200, 1100, 800)), key(S, 65), key(S, 65, False)]
    reader, events, _ = read(tmp_path, [*whole, window(99 * S, BROWSER, (0, 0, 900, 900)), screen(100 * S)])
    assert len(events) == 2
    assert reader.input.ownership.told == "'Game' (no window is as large as the pictures, active nearly all the time)"


TWO = [screen(0), window(0, GAME), key(S, 65), window(4 * S, BROWSER), key(5 * S, 66), screen(10 * S)]


def test_two_windows_that_may_be_the_games(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'Bank' \(6 s\), 'Game' \(4 s\).*--game-window"):
        read(tmp_path, TWO)
    assert SessionReader(tmp_path / "a.mcap").info().frames == 2
    assert [event.key for event in read(tmp_path, TWO, "game")[1]] == ["a", "a"]
    assert [event.key for event in read(tmp_path, TWO, "*")[1]] == ["a", "b"]
    with pytest.raises(ConfigError, match=r"no window has such a title; there are 'Bank'"):
        read(tmp_path, TWO, "chess")


def test_no_windows_told(tmp_path: Path) -> None:
    reader, events, _ = read(tmp_path, [screen(0), key(S, 65)])
    assert len(events) == 1
    assert reader.input.ownership.told == "not told: all input is taken for the game's"
    with pytest.raises(ConfigError, match="tells no windows"):
        read(tmp_path, [screen(0), key(S, 65)], "game")


@pytest.mark.parametrize("topic", ["mouse/raw", "mouse"])
def test_buttons_and_wheel_that_are_only_in_raw_messages(tmp_path: Path, topic: str) -> None:
    flags = [(0x1, 0), (0x2, 0), (0x4 | 0x10, 0), (0x8 | 0x20, 0), (0x40, 0), (0x80, 0), (0x100, 0), (0x200, 0)]
    wheel = [(0x400, 120), (0x400, 65_416), (0x800, -240), (0x400, 60), (0x400, 60)]
    messages = [raw(number, *what, topic=topic) for number, what in enumerate([*flags, *wheel], 1)]
    reader, events, counts = read(tmp_path, [screen(0), *messages, raw(20, motion=(3, -4), topic=topic)])
    names = ["left", "left", "right", "middle", "right", "middle", "x1", "x1", "x2", "x2"]
    assert [event.button for event in events[:10]] == names
    assert [event.pressed for event in events[:4]] == [True, False, True, True]
    assert {(event.x, event.y) for event in events} == {(160, 90)}
    assert [(event.dx, event.dy) for event in events[10:]] == [(0, 1), (0, -1), (-2, 0), (0, 1)]
    assert list(reader.raw_motions()) == [RawMotion(20, 3, -4)]
    assert counts.repaired == {"part_of_a_notch_added_up": 1}


def test_raw_buttons_are_where_the_pointer_is(tmp_path: Path) -> None:
    moved = ("mouse", 1, {"event_type": "move", "x": 7, "y": 8})
    state = ("mouse/state", 3, {"x": 9, "y": 10, "buttons": []})
    _, events, _ = read(tmp_path, [screen(0), moved, raw(2, 1), state, raw(4, 2)])
    assert events == [
        PointerMoved(1, 7, 8),
        ButtonChanged(2, 7, 8, "left", True),
        ButtonChanged(4, 9, 10, "left", False),
    ]


def test_buttons_that_are_told_twice_are_taken_once(tmp_path: Path) -> None:
    turn = ("mouse", 4, {"event_type": "scroll", "x": 1, "y": 1, "dx": 0, "dy": -1})
    messages = [screen(0), click(1, 5, 5), raw(1, 1), click(2, 5, 5, False), raw(2, 2), turn, raw(4, 0x400, 65_416)]
    _, events, _ = read(tmp_path, messages)
    assert [type(event) for event in events] == [ButtonChanged, ButtonChanged, WheelTurned]


def test_motion_of_a_tablet_is_counted(tmp_path: Path) -> None:
    reader, _, counts = read(tmp_path, [screen(0), ("mouse/raw", 1, {"last_x": 2, "last_y": 3, "us_flags": 1})])
    assert list(reader.raw_motions(counts)) == []
    assert counts.left_out["motion_of_an_absolute_device"] == 1


def test_a_clock_that_was_set_back_is_refused(tmp_path: Path) -> None:
    messages = [screen(t * S) for t in (100, 101, 102)] + [screen(t * S) for t in (99, 100)]
    with pytest.raises(DataError, match=r"set back by 3\.000 s .*message 4, screen"):
        read(tmp_path, [*messages, key(100 * S, 65)])
    jitter = [screen(100 * S), key(101 * S, 65), key(101 * S - 150_000_000, 65, False), screen(100 * S + 1)]
    assert len(read(tmp_path, jitter)[1]) == 2


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        ({"last_x": "a", "last_y": 0}, "'last_x' must be an integer"),
        ({"last_x": 1, "last_y": 0, "button_flags": "LEFT"}, "'button_flags' must be an integer"),
        ({"event_type": "scroll", "x": 1, "y": 1, "dx": 0, "dy": "1"}, "'dy' must be a number"),
        ({"event_type": "scroll", "x": 1, "y": 1, "dx": float("inf"), "dy": 0}, "'dx' must be a number"),
        ({"x": 1, "y": 1}, "'event_type' must be one of"),
    ],
)
def test_a_message_that_breaks_the_format(tmp_path: Path, message: dict[str, Any], complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        read(tmp_path, [screen(0), ("mouse", 1, message)])
