"""Colour schemes of ringcraft, and the stone, wood and parchment that its panels are made of."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pygame

from vlm_agent.games.ringcraft.sprites import Colour, tint


@dataclass(frozen=True, slots=True)
class PanelSkin:
    """One colour scheme of the panels, so that their colours cannot be memorised."""

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


@dataclass(frozen=True, slots=True)
class GroundSkin:
    """One colour scheme of the world."""

    grass: Colour
    """Open ground."""
    path: Colour
    """Trodden ground."""
    stone: Colour
    """Paving."""
    wood: Colour
    """Planks."""
    leaf: Colour
    """Crowns of trees."""
    sky: Colour
    """What lies behind the last tile."""


PANEL_SKINS: tuple[PanelSkin, ...] = (
    PanelSkin((104, 96, 82), (73, 64, 52), (202, 186, 152), (20, 16, 96), (255, 152, 31)),
    PanelSkin((82, 92, 106), (48, 56, 68), (186, 196, 206), (10, 40, 90), (250, 206, 90)),
    PanelSkin((134, 104, 66), (92, 66, 42), (228, 206, 158), (92, 26, 10), (255, 190, 80)),
    PanelSkin((112, 106, 118), (62, 56, 72), (216, 214, 224), (60, 16, 80), (255, 168, 96)),
)
GROUND_SKINS: tuple[GroundSkin, ...] = (
    GroundSkin((84, 116, 40), (148, 124, 84), (118, 116, 112), (134, 94, 54), (44, 108, 36), (12, 14, 18)),
    GroundSkin((62, 100, 66), (136, 130, 116), (98, 104, 116), (116, 84, 60), (28, 92, 62), (22, 28, 42)),
    GroundSkin((172, 150, 86), (206, 182, 126), (150, 132, 112), (140, 92, 58), (90, 126, 40), (54, 42, 34)),
    GroundSkin((178, 190, 196), (150, 142, 134), (112, 110, 118), (122, 90, 72), (52, 104, 92), (40, 46, 62)),
)


def panel_skin(index: int) -> PanelSkin:
    """Returns the panel scheme of an index, counting round."""
    return PANEL_SKINS[index % len(PANEL_SKINS)]


def ground_skin(index: int) -> GroundSkin:
    """Returns the ground scheme of an index, counting round."""
    return GROUND_SKINS[index % len(GROUND_SKINS)]


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
    """Fills a rectangle with grainy stone and a bevelled edge."""
    target.blit(_slab_picture(rect.size, colour, raised), rect.topleft)


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


@lru_cache(maxsize=256)
def _slab_picture(size: tuple[int, int], colour: Colour, raised: bool) -> pygame.Surface:
    grain = _grain(*size)[..., None]
    pixels = np.clip(np.array(colour) + grain, 0, 255).astype(np.uint8)
    picture = pygame.image.frombuffer(pixels.tobytes(), size, "RGB").copy()
    bevel(picture, picture.get_rect(), colour, raised)
    return picture
