"""The windows that open over the viewport: the bank and the furnace."""

from __future__ import annotations

import pygame

from vlm_agent.games.ringcraft.commands import lacking
from vlm_agent.games.ringcraft.drawing_panels import ORANGE, WHITE, YELLOW, Palette, box_of
from vlm_agent.games.ringcraft.layout import LAYOUT, Rect, WindowLayout
from vlm_agent.games.ringcraft.rules import RULES
from vlm_agent.games.ringcraft.skins import bevel, slab
from vlm_agent.games.ringcraft.sprites import Colour, tint
from vlm_agent.games.ringcraft.state import State

_SELECTED: Colour = (168, 40, 28)
_CLOSE: Colour = (150, 40, 30)
_THOUSANDS: Colour = (255, 255, 255)
_MILLIONS: Colour = (0, 255, 128)


def window_of(state: State) -> Rect | None:
    """Returns the rectangle of the open window, or None when there is none over the viewport."""
    if state.mode == "bank":
        return LAYOUT.bank.window
    return LAYOUT.furnace.window if state.mode == "furnace" else None


def window_key(state: State) -> tuple[object, ...]:
    """Returns a value that is equal for states whose open window looks the same."""
    if state.mode == "bank":
        return "bank", tuple((stack.item, stack.quantity) for stack in state.bank), state.bank_quantity
    if state.mode == "furnace":
        missing = tuple(lacking(state, index) for index in range(len(RULES.products)))
        return "furnace", missing, state.furnace_quantity
    return ()


def paint_window(target: pygame.Surface, state: State, palette: Palette) -> None:
    """Paints the open window at its place in the frame."""
    if state.mode == "bank":
        _paint_bank(target, state, palette)
    elif state.mode == "furnace":
        _paint_furnace(target, state, palette)


def quantity_label(quantity: int) -> tuple[str, Colour]:
    """Returns how a pile's size is written, and its colour: 13, 98K, 12M."""
    if quantity < 100_000:
        return str(quantity), YELLOW
    if quantity < 10_000_000:
        return f"{quantity // 1000}K", _THOUSANDS
    return f"{quantity // 1_000_000}M", _MILLIONS


def _paint_shell(target: pygame.Surface, parts: WindowLayout, title: str, palette: Palette) -> None:
    skin = palette.skin
    box = box_of(parts.window)
    slab(target, box, skin.panel)
    bevel(target, box.inflate(-4, -4), skin.stone)
    bar = pygame.Rect(box.left + 6, parts.title.bottom + 4, box.width - 12, 2)
    pygame.draw.rect(target, tint(skin.panel, 0.5), bar)
    heading = palette.lettering.line(title, skin.title, 22)
    # The left of the bar is where the hover text appears.
    target.blit(heading, heading.get_rect(midright=(parts.title.right, parts.title.centre[1])))
    cross = box_of(parts.close)
    slab(target, cross, _CLOSE)
    inner = cross.inflate(-11, -11)
    for start, end in ((inner.topleft, inner.bottomright), (inner.topright, inner.bottomleft)):
        pygame.draw.line(target, WHITE, start, end, 3)


def _paint_quantities(target: pygame.Surface, parts: WindowLayout, chosen: str, palette: Palette) -> None:
    first = next(iter(parts.quantities.values()))
    label = palette.lettering.line("Quantity", ORANGE, 16)
    target.blit(label, label.get_rect(midbottom=(first.x + first.width // 2, first.y - 2)))
    for name, rect in parts.quantities.items():
        box = box_of(rect)
        is_chosen = name == chosen
        slab(target, box, _SELECTED if is_chosen else palette.skin.stone, raised=not is_chosen)
        text = palette.lettering.line(name, WHITE if is_chosen else ORANGE, 20)
        target.blit(text, text.get_rect(center=(box.centerx, box.centery + 1)))


def _paint_bank(target: pygame.Surface, state: State, palette: Palette) -> None:
    parts = LAYOUT.bank
    _paint_shell(target, parts, "The Bank of Ringcraft", palette)
    hollow = tint(palette.skin.panel, 0.82)
    for rect in parts.cells:
        pygame.draw.rect(target, hollow, box_of(rect).inflate(6, 4), border_radius=4)
    for stack, rect in zip(state.bank, parts.cells, strict=False):
        target.blit(palette.item(stack.item), (rect.x, rect.y))
        text, colour = quantity_label(stack.quantity)
        palette.lettering.write(target, text, (rect.x - 2, rect.y - 2), colour, 15)
    _paint_quantities(target, parts, state.bank_quantity, palette)
    if parts.deposit_inventory is not None:
        box = box_of(parts.deposit_inventory)
        slab(target, box, palette.skin.stone)
        chest = palette.icon("inventory")
        target.blit(chest, chest.get_rect(center=(box.centerx + 10, box.centery + 2)))
        arrow = [(-22, -8), (-14, -8), (-14, 0), (-9, 0), (-18, 10), (-27, 0), (-22, 0)]
        pygame.draw.polygon(target, (70, 220, 70), [(box.centerx + x + 6, box.centery + y) for x, y in arrow])


def _paint_furnace(target: pygame.Surface, state: State, palette: Palette) -> None:
    parts, lettering = LAYOUT.furnace, palette.lettering
    _paint_shell(target, parts, "What would you like to make?", palette)
    for index, (product, rect) in enumerate(zip(RULES.products, parts.cells, strict=False)):
        is_short = bool(lacking(state, index))
        box = box_of(rect)
        slab(target, box, tint(palette.skin.panel, 0.9 if is_short else 1.35), raised=not is_short)
        picture = palette.item(product.key, is_short)
        picture = pygame.transform.smoothscale(picture, (54, 48))
        target.blit(picture, picture.get_rect(center=box.center))
        name = RULES.items[product.key].name
        colour = tint(ORANGE, 0.55) if is_short else ORANGE
        label = lettering.line(name, colour, 15)
        target.blit(label, label.get_rect(midtop=(box.centerx, box.bottom + 3)))
    left, top = parts.cells[0].x, parts.cells[5].bottom + 12
    for row, text in enumerate(
        (
            "A ring takes one gold bar, and one gem of its colour.",
            "You need a ring mould, which is kept.",
            "A dark one lacks something, or your level is too low.",
        )
    ):
        lettering.write(target, text, (left, top + 20 * row), tint(palette.skin.title, 0.8), 17)
    _paint_quantities(target, parts, state.furnace_quantity, palette)
