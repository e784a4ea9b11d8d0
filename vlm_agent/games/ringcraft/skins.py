"""Colour schemes of ringcraft, and the stone, wood and parchment that its panels are made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pygame

from vlm_agent.games.ringcraft.sprites import Colour, tint


@dataclass(frozen=True, slots=True)
class Skin:
    """One colour scheme: the same game on another day, so that colours of panels and ground cannot be memorised."""

    name: str
    """Short name, shown nowhere in the frame."""
    stone: Colour
    """Frame round the panels."""
    panel: Colour
    """Ground of the inventory and of the windows."""
    parchment: Colour
    """Ground of the chat box."""
    ink: Colour
    """Text on parchment."""
    title: Colour
    """Window titles and labels on a panel."""
    grass: Colour
    """Open ground."""
    path: Colour
    """Trodden ground."""
    floor: Colour
    """Ground inside buildings."""
    wall: Colour
    """Walls of buildings."""
    leaf: Colour
    """Crowns of trees."""
    sky: Colour
    """What lies behind the last tile."""


SKINS: tuple[Skin, ...] = (
    Skin(
        name="old stone",
        stone=(104, 96, 82),
        panel=(73, 64, 52),
        parchment=(202, 186, 152),
        ink=(20, 16, 96),
        title=(255, 152, 31),
        grass=(84, 116, 40),
        path=(148, 124, 84),
        floor=(116, 112, 106),
        wall=(168, 160, 146),
        leaf=(40, 104, 34),
        sky=(14, 16, 20),
    ),
    Skin(
        name="slate",
        stone=(82, 92, 106),
        panel=(48, 56, 68),
        parchment=(186, 196, 206),
        ink=(10, 40, 90),
        title=(250, 206, 90),
        grass=(66, 104, 62),
        path=(136, 132, 122),
        floor=(100, 106, 118),
        wall=(148, 156, 168),
        leaf=(30, 92, 58),
        sky=(24, 30, 44),
    ),
    Skin(
        name="desert",
        stone=(134, 104, 66),
        panel=(92, 66, 42),
        parchment=(228, 206, 158),
        ink=(92, 26, 10),
        title=(255, 178, 60),
        grass=(170, 150, 84),
        path=(204, 180, 124),
        floor=(164, 128, 92),
        wall=(208, 182, 140),
        leaf=(88, 124, 40),
        sky=(58, 44, 34),
    ),
    Skin(
        name="winter",
        stone=(112, 110, 118),
        panel=(62, 58, 70),
        parchment=(216, 218, 224),
        ink=(60, 16, 80),
        title=(255, 168, 96),
        grass=(176, 188, 194),
        path=(150, 142, 134),
        floor=(112, 104, 112),
        wall=(150, 134, 126),
        leaf=(46, 96, 86),
        sky=(40, 46, 62),
    ),
)


def skin_at(index: int) -> Skin:
    """Returns the skin of an index, counting round."""
    return SKINS[index % len(SKINS)]


def _grain(width: int, height: int) -> npt.NDArray[np.int64]:
    """Returns a fixed speckle between -8 and 8 of shape (height, width): the same on every machine."""
    rows, columns = np.mgrid[0:height, 0:width].astype(np.int64)
    mixed = (columns * 374761393 + rows * 668265263) & 0xFFFFFFFF
    mixed = ((mixed ^ (mixed >> 13)) * 1274126177) & 0xFFFFFFFF
    fine = ((mixed ^ (mixed >> 16)) & 7) - 3
    cells = (columns // 5) * 2246822519 + (rows // 4 + (columns // 5) % 3) * 3266489917
    coarse = ((cells & 0xFFFFFFFF) >> 20) % 11 - 5
    grain: npt.NDArray[np.int64] = fine + coarse
    return grain


def textured(size: tuple[int, int], colour: Colour, strength: float = 1.0) -> pygame.Surface:
    """Returns a surface of `size` in one colour with a stone-like grain; `strength` 0 is flat."""
    width, height = size
    grain = _grain(width, height)[..., None] * strength
    pixels = np.clip(np.array(colour) + grain, 0, 255).astype(np.uint8)
    return pygame.image.frombuffer(pixels.tobytes(), size, "RGB").copy()


def bevel(target: pygame.Surface, rect: pygame.Rect, colour: Colour, raised: bool = True) -> None:
    """Draws a two-pixel edge round a rectangle, lit from the top left."""
    light, dark = tint(colour, 1.45), tint(colour, 0.45)
    if not raised:
        light, dark = dark, light
    for inset in range(2):
        box = rect.inflate(-2 * inset, -2 * inset)
        pygame.draw.line(target, light, box.topleft, (box.right - 1, box.top))
        pygame.draw.line(target, light, box.topleft, (box.left, box.bottom - 1))
        pygame.draw.line(target, dark, (box.left, box.bottom - 1), (box.right - 1, box.bottom - 1))
        pygame.draw.line(target, dark, (box.right - 1, box.top), (box.right - 1, box.bottom - 1))


def slab(target: pygame.Surface, rect: pygame.Rect, colour: Colour, raised: bool = True) -> None:
    """Fills a rectangle with textured stone and a bevelled edge."""
    target.blit(textured(rect.size, colour), rect.topleft)
    bevel(target, rect, colour, raised)
