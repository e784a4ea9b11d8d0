"""A window that shows frames and reads a person's mouse and keyboard, and the loop in which a person plays.

pygame is imported when a window opens, not before: the rules of the game run without it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from vlm_agent.actions.events import ButtonChanged, InputEvent, KeyChanged, PointerMoved, WheelTurned
from vlm_agent.games.ringcraft.core import NS_PER_MS, Ringcraft
from vlm_agent.games.ringcraft.layout import LAYOUT
from vlm_agent.games.ringcraft.state import CLIENT_TICK_MS

Frame = npt.NDArray[np.uint8]

_BUTTONS = {1: "left", 2: "middle", 3: "right"}
_LONGEST_STALL_MS = 200
"""After a longer stall (a dragged window) the game's clock doesn't catch up; it would swallow what the player saw."""


class GameWindow:
    """A desktop window of the frame's size."""

    def __init__(self, title: str = "Ringcraft") -> None:
        """Open it."""
        import pygame

        self._pygame = pygame
        pygame.display.init()
        self._surface = pygame.display.set_mode((LAYOUT.frame.width, LAYOUT.frame.height))
        pygame.display.set_caption(title)
        # The frame shows the game's own pointer.
        pygame.mouse.set_visible(False)
        self.is_open = True

    def show(self, frame: Frame) -> None:
        """Show a (503, 765, 3) uint8 frame, and let the desktop know that the window lives."""
        size = (frame.shape[1], frame.shape[0])
        self._surface.blit(self._pygame.image.frombuffer(np.ascontiguousarray(frame).data, size, "RGB"), (0, 0))
        self._pygame.display.flip()
        self._pygame.event.pump()

    def read_events(self, t_ns: int) -> list[InputEvent]:
        """Return what the person did since the last call, all at one time; closing the window clears `is_open`."""
        events = []
        for event in self._pygame.event.get():
            if event.type == self._pygame.QUIT:
                self.is_open = False
            translated = self._translate(event, t_ns)
            if translated is not None:
                events.append(translated)
        return events

    def close(self) -> None:
        """Close it."""
        self.is_open = False
        self._pygame.display.quit()

    def _translate(self, event: Any, t_ns: int) -> InputEvent | None:
        pygame = self._pygame
        if event.type == pygame.MOUSEMOTION:
            x, y = event.pos
            return PointerMoved(t_ns, x, y)
        if event.type in (pygame.MOUSEBUTTONDOWN, pygame.MOUSEBUTTONUP) and event.button in _BUTTONS:
            x, y = event.pos
            return ButtonChanged(t_ns, x, y, _BUTTONS[event.button], event.type == pygame.MOUSEBUTTONDOWN)
        if event.type == pygame.MOUSEWHEEL:
            x, y = pygame.mouse.get_pos()
            return WheelTurned(t_ns, x, y, event.x, event.y)
        if event.type in (pygame.KEYDOWN, pygame.KEYUP):
            return KeyChanged(t_ns, key_name(pygame.key.name(event.key)), event.type == pygame.KEYDOWN)
        return None


def key_name(name: str) -> str:
    """Return the canonical name of a key that pygame calls `name`: `return` is `enter`, sides of a pair are dropped."""
    name = name.lower().removeprefix("left ").removeprefix("right ")
    return {"return": "enter"}.get(name, name.replace(" ", "_"))


def play(
    game: Ringcraft,
    draw: Callable[[Ringcraft], Frame],
    *,
    seconds: float | None = None,
    on_events: Callable[[list[InputEvent]], None] | None = None,
    on_frame: Callable[[int, Frame], None] | None = None,
) -> None:
    """Let a person play in a window in real time, until it is closed or the time is over.

    Args:
        game: The game to play.
        draw: Makes the frame of the game, (503, 765, 3) uint8.
        seconds: How long; None for no end.
        on_events: Called with the events read in each client tick, before the game reads them.
        on_frame: Called with the game time in nanoseconds and each frame that was shown.
    """
    window = GameWindow()
    begun_ns = time.monotonic_ns()
    offset_ns = begun_ns - game.now_ns
    while window.is_open and (seconds is None or time.monotonic_ns() - begun_ns < seconds * 1e9):
        behind_ms = (time.monotonic_ns() - offset_ns - game.now_ns) // NS_PER_MS
        if behind_ms < CLIENT_TICK_MS:
            time.sleep((CLIENT_TICK_MS - behind_ms) / 1000)
            continue
        if behind_ms > _LONGEST_STALL_MS:
            offset_ns += (behind_ms - CLIENT_TICK_MS) * NS_PER_MS
            behind_ms = CLIENT_TICK_MS
        events = window.read_events(game.now_ns)
        if on_events is not None and events:
            on_events(events)
        game.feed(events)
        game.advance(behind_ms // CLIENT_TICK_MS * CLIENT_TICK_MS)
        frame = draw(game)
        window.show(frame)
        if on_frame is not None:
            on_frame(game.now_ns, frame)
    window.close()
