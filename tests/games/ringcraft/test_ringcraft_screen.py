"""The window on SDL's dummy screen: what is pressed there arrives as device events, and a game can be played in it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pygame
import pytest

from vlm_agent.actions.events import ButtonChanged, InputEvent, KeyChanged, PointerMoved
from vlm_agent.errors import ConfigError
from vlm_agent.games.ringcraft.core import Ringcraft
from vlm_agent.games.ringcraft.window import GameWindow, Hooks, play


@pytest.fixture(autouse=True)
def dummy_screen(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    pygame.display.quit()
    yield
    pygame.display.quit()


def post(kind: int, **values: object) -> None:
    pygame.event.post(pygame.event.Event(kind, values))


def opened(scale: int = 1) -> GameWindow:
    window = GameWindow(scale=scale)
    pygame.event.clear()
    return window


def test_positions_are_frame_pixels_in_a_larger_window() -> None:
    window = opened(scale=2)
    post(pygame.MOUSEMOTION, pos=(611, 400), rel=(0, 0), buttons=(0, 0, 0))
    assert window.read_events(0) == [PointerMoved(0, 305, 200)]


def test_all_that_is_held_is_released_when_the_window_loses_the_keyboard() -> None:
    window = opened()
    post(pygame.KEYDOWN, key=pygame.K_LEFT)
    post(pygame.MOUSEBUTTONDOWN, pos=(10, 20), button=2)
    window.read_events(0)
    post(pygame.WINDOWFOCUSLOST)
    assert window.read_events(5) == [KeyChanged(5, "left", False), ButtonChanged(5, 10, 20, "middle", False)]
    post(pygame.WINDOWFOCUSLOST)
    assert window.read_events(6) == []


def test_a_frame_is_shown_as_it_is() -> None:
    window = opened()
    frame = np.random.default_rng(0).integers(0, 256, (503, 765, 3), dtype=np.uint8)
    window.show(frame)
    shown = pygame.image.tobytes(pygame.display.get_surface(), "RGB")
    assert shown == frame.tobytes()


def test_closing_ends_play_and_the_game_has_heard_the_player() -> None:
    game = Ringcraft(seed=1)
    heard: list[InputEvent] = []
    frames: list[int] = []

    def watch(t_ns: int, frame: np.ndarray) -> None:
        frames.append(t_ns)
        if len(frames) == 2:
            post(pygame.MOUSEMOTION, pos=(123, 234), rel=(0, 0), buttons=(0, 0, 0))
        if len(frames) == 5:
            post(pygame.QUIT)

    play(game, Hooks(on_events=heard.extend, on_frame=watch), seconds=20)
    assert PointerMoved in {type(event) for event in heard}
    assert (game.state.pointer.x, game.state.pointer.y) == (123, 234)
    assert 5 <= len(frames) < 20
    assert frames == sorted(frames)
    assert not pygame.display.get_init()


def test_without_a_screen_there_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDL_VIDEODRIVER", "no such driver")
    with pytest.raises(ConfigError, match="a window needs a screen"):
        GameWindow()


def test_a_window_cannot_be_smaller_than_its_frame() -> None:
    with pytest.raises(ConfigError, match="scale must be at least 1"):
        GameWindow(scale=0)
