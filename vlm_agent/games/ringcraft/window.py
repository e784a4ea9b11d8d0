"""Ringcraft on a real screen: a window that shows frames and hears mouse and keyboard, and the loop in which one plays.

Nothing else of the game opens a display. The window hides the system's pointer because the frame has its own: what a
person sees is what a recording keeps.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pygame

from vlm_agent.actions.events import ButtonChanged, InputEvent, KeyChanged, PointerMoved, WheelTurned
from vlm_agent.errors import ConfigError
from vlm_agent.games.ringcraft.core import NS_PER_MS, Ringcraft
from vlm_agent.games.ringcraft.drawing import Renderer
from vlm_agent.games.ringcraft.layout import LAYOUT
from vlm_agent.games.ringcraft.state import CLIENT_TICK_MS

Frame = npt.NDArray[np.uint8]

_BUTTONS = {1: "left", 2: "middle", 3: "right"}
_LONGEST_STALL_MS = 200
"""After a longer stall (a dragged window) the game's clock doesn't catch up; it would swallow what the player saw."""
_LEAVES_OUT_MS = 3 * CLIENT_TICK_MS
"""This far behind, client ticks pass without a frame until the game has caught up."""


class GameWindow:
    """A desktop window of the frame's size, or of a whole multiple of it."""

    def __init__(self, title: str = "Ringcraft", *, scale: int = 1) -> None:
        """Open it.

        Args:
            title: What stands in its bar.
            scale: Screen pixels a frame pixel, at least 1.

        Raises:
            ConfigError: `scale` is below 1, or there is no screen to open a window on.
        """
        if scale < 1:
            raise ConfigError(f"scale must be at least 1, got {scale}")
        self._scale = scale
        self._size = (LAYOUT.frame.width * scale, LAYOUT.frame.height * scale)
        self._pointer = (0, 0)
        self._held: list[tuple[str, str]] = []
        try:
            pygame.display.init()
            self._surface = pygame.display.set_mode(self._size)
        except pygame.error as error:
            raise ConfigError(f"a window needs a screen, and none can be opened here: {error}") from error
        pygame.display.set_caption(title)
        pygame.mouse.set_visible(False)
        self.is_open = True

    def show(self, frame: Frame) -> None:
        """Show a (503, 765, 3) uint8 frame, and let the desktop know that the window lives."""
        picture = pygame.image.frombuffer(np.ascontiguousarray(frame).data, (frame.shape[1], frame.shape[0]), "RGB")
        if self._scale > 1:
            picture = pygame.transform.scale(picture, self._size)
        self._surface.blit(picture, (0, 0))
        pygame.display.flip()
        pygame.event.pump()

    def read_events(self, t_ns: int) -> list[InputEvent]:
        """Return what the person did since the last call, all at one time; closing the window clears `is_open`.

        When the window is closed or loses the keyboard, all that was held is released: the release itself will never
        be heard.
        """
        events: list[InputEvent] = []
        for event in pygame.event.get():
            if event.type == pygame.QUIT:
                self.is_open = False
            if event.type in (pygame.QUIT, pygame.WINDOWFOCUSLOST):
                events += [self._press(kind, name, False, t_ns) for kind, name in list(self._held)]
                continue
            translated = self._translate(event, t_ns)
            if translated is not None:
                events.append(translated)
        return events

    def close(self) -> None:
        """Close it; harmless when it is closed already."""
        self.is_open = False
        pygame.display.quit()

    def _translate(self, event: pygame.event.Event, t_ns: int) -> InputEvent | None:
        if event.type in (pygame.MOUSEMOTION, pygame.MOUSEBUTTONDOWN, pygame.MOUSEBUTTONUP):
            self._pointer = (event.pos[0] // self._scale, event.pos[1] // self._scale)
        if event.type == pygame.MOUSEMOTION:
            return PointerMoved(t_ns, *self._pointer)
        if event.type in (pygame.MOUSEBUTTONDOWN, pygame.MOUSEBUTTONUP) and event.button in _BUTTONS:
            return self._press("button", _BUTTONS[event.button], event.type == pygame.MOUSEBUTTONDOWN, t_ns)
        if event.type == pygame.MOUSEWHEEL:
            return WheelTurned(t_ns, *self._pointer, event.x, event.y)
        if event.type in (pygame.KEYDOWN, pygame.KEYUP):
            return self._press("key", key_name(pygame.key.name(event.key)), event.type == pygame.KEYDOWN, t_ns)
        return None

    def _press(self, kind: str, name: str, pressed: bool, t_ns: int) -> InputEvent:
        if (kind, name) in self._held:
            self._held.remove((kind, name))
        if pressed:
            self._held.append((kind, name))
        if kind == "button":
            return ButtonChanged(t_ns, *self._pointer, name, pressed)
        return KeyChanged(t_ns, name, pressed)


def key_name(name: str) -> str:
    """Return the canonical name of a key that pygame calls `name`: `return` is `enter`, sides of a pair are dropped."""
    name = name.lower().removeprefix("left ").removeprefix("right ")
    return {"return": "enter"}.get(name, name.replace(" ", ""))


@dataclass(frozen=True)
class Hooks:
    """What is told of play in a window, and asked."""

    is_over: Callable[[], bool] = lambda: False
    """Asked before every client tick whether to end."""
    on_tick: Callable[[], object] = lambda: None
    """Called before every client tick, before what the person did is read."""
    on_events: Callable[[list[InputEvent]], object] = lambda _: None
    """Called with the events read in a client tick, if there are any, before the game reads them."""
    on_advance: Callable[[], object] = lambda: None
    """Called as soon as a client tick has passed."""
    on_frame: Callable[[int, Frame], object] = lambda _, __: None
    """Called with the game time in nanoseconds and each frame that was shown."""


def play(game: Ringcraft, hooks: Hooks | None = None, *, seconds: float | None = None, scale: int = 1) -> None:
    """Let a person play in a window in real time, until it is closed or the time is over.

    The game passes one client tick after another; where drawing takes longer than that, frames are left out.

    Args:
        game: The game to play.
        hooks: Who is told.
        seconds: How long; None for no end.
        scale: Screen pixels a frame pixel.

    Raises:
        ConfigError: No window can be opened.
    """
    hooks = hooks or Hooks()
    renderer = Renderer()
    window = GameWindow(scale=scale)
    window.show(renderer.draw(game.state))
    begun_ns = time.monotonic_ns()
    offset_ns = begun_ns - game.now_ns
    try:
        while window.is_open and not hooks.is_over():
            if seconds is not None and time.monotonic_ns() - begun_ns >= seconds * 1e9:
                return
            behind_ms = (time.monotonic_ns() - offset_ns - game.now_ns) / NS_PER_MS
            if behind_ms < CLIENT_TICK_MS:
                time.sleep((CLIENT_TICK_MS - behind_ms) / 1000)
                continue
            if behind_ms > _LONGEST_STALL_MS:
                offset_ns += round((behind_ms - CLIENT_TICK_MS) * NS_PER_MS)
            hooks.on_tick()
            events = window.read_events(game.now_ns)
            if events:
                hooks.on_events(events)
            game.feed(events)
            game.advance(CLIENT_TICK_MS)
            hooks.on_advance()
            if behind_ms < _LEAVES_OUT_MS:
                frame = renderer.draw(game.state)
                window.show(frame)
                hooks.on_frame(game.now_ns, frame)
    finally:
        window.close()
