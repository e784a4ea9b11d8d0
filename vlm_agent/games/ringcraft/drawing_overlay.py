"""What lies over everything: hover text, click cross, experience drop, right-click menu and the mouse pointer."""

from __future__ import annotations

import pygame

from vlm_agent.games.ringcraft.drawing_panels import ORANGE, WHITE, YELLOW, box_of
from vlm_agent.games.ringcraft.drawing_windows import window_of
from vlm_agent.games.ringcraft.geometry import menu_rect, menu_row_rects
from vlm_agent.games.ringcraft.icons import pointer_picture
from vlm_agent.games.ringcraft.interface import options_at
from vlm_agent.games.ringcraft.layout import LAYOUT
from vlm_agent.games.ringcraft.sprites import Colour, item_picture
from vlm_agent.games.ringcraft.state import TICK_MS, MenuOption, State
from vlm_agent.games.ringcraft.text import Lettering

_CYAN: Colour = (0, 255, 255)
_MENU: Colour = (93, 84, 71)
_MENU_TITLE: Colour = (178, 164, 140)
_CROSS_REACH_PX = 7
_XP_DROP_MS = 1000
_HOVER_SIZE = 18
_MENU_SIZE = 15
"""The rows of `interface.open_menu` have room for letters of this size."""
_TARGET_COLOURS = {"interact": _CYAN, "talk": YELLOW}


class OverlayPainter:
    """Paints onto a finished frame; nothing of it is kept in the frame underneath."""

    def __init__(self, lettering: Lettering) -> None:
        """Makes the pictures of the pointer and of the experience drop."""
        self._lettering = lettering
        self._pointer = pointer_picture()
        self._ring = pygame.transform.smoothscale(item_picture("gold_ring"), (27, 24))

    def paint(self, target: pygame.Surface, state: State) -> None:
        """Paints all that a state shows over its panels."""
        self._paint_xp_drop(target, state)
        if state.menu is not None:
            self._paint_menu(target, state)
        elif not state.pointer.is_dragging:
            self._paint_hover(target, options_at(state, state.pointer.x, state.pointer.y), window_of(state) is not None)
        if state.cross is not None:
            _paint_cross(target, (state.cross.x, state.cross.y), state.cross.is_red)
        target.blit(self._pointer, (state.pointer.x, state.pointer.y))

    def _paint_hover(self, target: pygame.Surface, options: list[MenuOption], is_over_window: bool) -> None:
        if not options:
            return
        first = options[0]
        parts = [(first.text, WHITE)]
        if first.target:
            parts.append((f" {first.target}", _target_colour(first)))
        if len(options) > 1:
            parts.append((f" / {len(options) - 1} more option{'s' if len(options) > 2 else ''}", WHITE))
        x, y = LAYOUT.mouse_over.x, LAYOUT.mouse_over.y
        if is_over_window:
            width = sum(self._lettering.width_px(text, _HOVER_SIZE) for text, _ in parts)
            target.fill((0, 0, 0), (x - 4, y - 2, width + 8, LAYOUT.mouse_over.height - 2))
        for text, colour in parts:
            x += self._lettering.write(target, text, (x, y), colour, _HOVER_SIZE)

    def _paint_xp_drop(self, target: pygame.Surface, state: State) -> None:
        age_ms = state.now_ms - state.last_xp_tick * TICK_MS
        if state.last_xp == 0 or age_ms >= _XP_DROP_MS:
            return
        right = LAYOUT.viewport.right - 16
        top = LAYOUT.viewport.y + 96 - age_ms * 80 // _XP_DROP_MS
        width = self._lettering.write(target, f"+{state.last_xp} xp", (right, top), WHITE, 20, anchor="right")
        target.blit(self._ring, (right - width - self._ring.get_width() - 4, top - 4))

    def _paint_menu(self, target: pygame.Surface, state: State) -> None:
        if state.menu is None:
            return
        box = box_of(menu_rect(state.menu))
        pygame.draw.rect(target, (0, 0, 0), box)
        pygame.draw.rect(target, _MENU, box, 1)
        body = pygame.Rect(box.left + 1, box.top + LAYOUT.menu_header_height_px - 1, box.width - 2, 0)
        body.height = box.bottom - body.top - 1
        pygame.draw.rect(target, _MENU, body)
        self._lettering.write(target, "Choose option", (box.left + 4, box.top + 5), _MENU_TITLE, _MENU_SIZE)
        for option, rect in zip(state.menu.options, menu_row_rects(state.menu), strict=True):
            is_hovered = rect.contains(state.pointer.x, state.pointer.y)
            if is_hovered:
                pygame.draw.rect(target, (50, 44, 36), box_of(rect).inflate(-4, 0))
            colour = YELLOW if is_hovered else WHITE
            x = rect.x + 4
            x += self._lettering.write(target, option.text, (x, rect.y + 2), colour, _MENU_SIZE)
            if option.target:
                self._lettering.write(target, f" {option.target}", (x, rect.y + 2), _target_colour(option), _MENU_SIZE)


def _target_colour(option: MenuOption) -> Colour:
    return _TARGET_COLOURS.get(option.verb, ORANGE)


def _paint_cross(target: pygame.Surface, at: tuple[int, int], is_red: bool) -> None:
    colour = (255, 40, 30) if is_red else (255, 240, 40)
    x, y = at
    for reach, ink, width in ((_CROSS_REACH_PX + 1, (0, 0, 0), 5), (_CROSS_REACH_PX, colour, 3)):
        pygame.draw.line(target, ink, (x - reach, y - reach), (x + reach, y + reach), width)
        pygame.draw.line(target, ink, (x - reach, y + reach), (x + reach, y - reach), width)
