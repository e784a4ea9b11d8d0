from __future__ import annotations

import pytest

from vlm_agent.actions.events import ButtonChanged, InputEvent, KeyChanged, PointerMoved, WheelTurned
from vlm_agent.games.ringcraft.core import Ringcraft
from vlm_agent.games.ringcraft.env import RingcraftEnv
from vlm_agent.games.ringcraft.window import GameWindow, Hooks, key_name, play


@pytest.fixture(autouse=True)
def _no_display(monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")


def test_keys_have_canonical_names():
    assert [key_name(name) for name in ("A", "return", "left shift", "left", "page up")] == [
        "a", "enter", "shift", "left", "pageup",
    ]  # fmt: skip


def test_a_window_tells_what_the_person_did():
    import pygame

    window = GameWindow()
    for event in (
        pygame.event.Event(pygame.MOUSEMOTION, pos=(30, 40), rel=(0, 0), buttons=(0, 0, 0)),
        pygame.event.Event(pygame.MOUSEBUTTONDOWN, pos=(30, 40), button=3),
        pygame.event.Event(pygame.MOUSEBUTTONUP, pos=(30, 40), button=3),
        pygame.event.Event(pygame.KEYDOWN, key=pygame.K_ESCAPE),
        pygame.event.Event(pygame.MOUSEWHEEL, x=0, y=-1),
    ):
        pygame.event.post(event)
    events = window.read_events(7)
    assert PointerMoved(7, 30, 40) in events
    assert ButtonChanged(7, 30, 40, "right", True) in events
    assert ButtonChanged(7, 30, 40, "right", False) in events
    assert KeyChanged(7, "escape", True) in events
    assert any(isinstance(event, WheelTurned) and event.dy == -1 for event in events)
    pygame.event.post(pygame.event.Event(pygame.QUIT))
    window.read_events(8)
    assert not window.is_open
    window.close()


def test_a_person_plays_in_real_time_and_everything_can_be_recorded():
    import pygame

    game = Ringcraft(1)
    frames: list[int] = []
    read: list[InputEvent] = []

    def on_frame(t_ns, frame):
        assert frame.shape == (503, 765, 3)
        if not frames:
            pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=pygame.K_LEFT))
        frames.append(t_ns)

    yaw = game.state.camera.yaw
    play(game, Hooks(on_events=read.extend, on_frame=on_frame), seconds=0.5)
    assert len(frames) >= 2
    assert frames == sorted(frames)
    assert any(isinstance(event, KeyChanged) and event.key == "left" for event in read)
    assert game.state.camera.yaw != yaw


def test_the_environment_can_show_itself():
    env = RingcraftEnv(render_mode="human")
    env.reset(seed=1)
    env.step(env.action_space.sample())
    assert env.render() is None
    env.close()
