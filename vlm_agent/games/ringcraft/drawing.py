"""Frames of ringcraft: a state in, 765 x 503 pixels out, the same bits for the same state.

No display is opened. The frame is kept between calls and only the parts whose content changed are painted again; what
lies over everything (menu, hover text, pointer) is painted on the copy that is handed out.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pygame

from vlm_agent.games.ringcraft.drawing_minimap import MinimapPainter
from vlm_agent.games.ringcraft.drawing_overlay import OverlayPainter
from vlm_agent.games.ringcraft.drawing_panels import (
    Palette,
    box_of,
    chat_key,
    paint_chat,
    paint_frame,
    paint_side,
    side_key,
)
from vlm_agent.games.ringcraft.drawing_windows import paint_window, window_key, window_of
from vlm_agent.games.ringcraft.drawing_world import WorldPainter
from vlm_agent.games.ringcraft.layout import LAYOUT
from vlm_agent.games.ringcraft.state import State
from vlm_agent.games.ringcraft.text import Lettering

Frame = npt.NDArray[np.uint8]


class Renderer:
    """Draws states of the game. One renderer may draw states of different games in turn."""

    def __init__(self) -> None:
        """Makes an empty frame; pictures are made at their first use."""
        size = (LAYOUT.frame.width, LAYOUT.frame.height)
        # A surface that shares its memory with an array spares the conversion of every frame.
        self._pixels: Frame = np.zeros((size[1], size[0], 3), dtype=np.uint8)
        self._frame = pygame.image.frombuffer(self._pixels.data, size, "RGB")
        self._backdrop = self._frame.copy()
        self._viewport = self._frame.subsurface(box_of(LAYOUT.viewport))
        self._lettering = Lettering()
        self._palette = Palette(0, 1.0, self._lettering)
        self._world = WorldPainter()
        self._minimap = MinimapPainter()
        self._overlay = OverlayPainter(self._lettering)
        self._window: pygame.Surface | None = None
        self._painted: dict[str, object] = {}

    def draw(self, state: State) -> Frame:
        """Returns the frame of a state: a new (503, 765, 3) uint8 array, RGB."""
        self._dress(state)
        if self._is_stale("side", side_key(state)):
            paint_side(self._frame, state, self._palette)
        if self._is_stale("chat", chat_key(state)):
            paint_chat(self._frame, state, self._palette)
        if self._is_stale("minimap", self._minimap.key(state)):
            self._minimap.paint(self._frame, self._backdrop, state, self._palette)
        self._draw_viewport(state)
        pixels = self._pixels.copy()
        self._overlay.paint(pygame.image.frombuffer(pixels.data, self._frame.get_size(), "RGB"), state)
        return pixels

    def _dress(self, state: State) -> None:
        """Starts over when skin or brightness are not those of the last frame."""
        skin = (state.skin.panel, state.skin.brightness)
        if not self._is_stale("skin", skin):
            return
        self._painted = {"skin": skin}
        self._palette = Palette(*skin, self._lettering)
        self._minimap.forget()
        paint_frame(self._frame, self._palette)
        self._backdrop.blit(self._frame, (0, 0))

    def _draw_viewport(self, state: State) -> None:
        window = window_of(state)
        is_new_window = self._is_stale("window", window_key(state))
        if self._is_stale("world", self._world.key(state)) or (is_new_window and window is None):
            self._world.paint(self._viewport, state)
            is_new_place = window is not None
        else:
            is_new_place = is_new_window
        if window is None:
            return
        if is_new_window or self._window is None:
            paint_window(self._frame, state, self._palette)
            self._window = self._frame.subsurface(box_of(window)).copy()
        elif is_new_place:
            self._frame.blit(self._window, (window.x, window.y))

    def _is_stale(self, part: str, key: object) -> bool:
        """Tells whether a part must be painted, and notes what it will show."""
        if self._painted.get(part) == key:
            return False
        self._painted[part] = key
        return True
