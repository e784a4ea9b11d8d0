"""Small pictures of the panels: tab icons, orb icons, the compass and the mouse pointer."""

from __future__ import annotations

import math
from collections.abc import Callable

import pygame

from vlm_agent.games.ringcraft.sprites import Colour, Easel, Point

ICON_PX = 22
POINTER_SIZE_PX = (14, 20)
"""Size of the pointer's picture; its hot spot is the top left pixel."""

_STEEL: Colour = (196, 202, 210)
_WOOD: Colour = (146, 96, 46)
_GOLD: Colour = (236, 188, 52)
_CREAM: Colour = (238, 230, 206)


def _combat(easel: Easel) -> None:
    for side in (1, -1):
        easel.bar(_STEEL, [(11 - 7 * side, 3), (11 + 5 * side, 15)], 2.4)
        easel.bar(_WOOD, [(11 + 2 * side, 17), (11 + 7 * side, 12)], 1.6)
        easel.bar(_WOOD, [(11 + 5 * side, 15), (11 + 8 * side, 18)], 2)


def _stats(easel: Easel) -> None:
    for left, top, colour in ((3, 12, (70, 120, 230)), (9, 7, (70, 200, 90)), (15, 3, (230, 70, 60))):
        easel.shape(colour, [(left, top), (left + 5, top), (left + 5, 19), (left, 19)])


def _quest(easel: Easel) -> None:
    star: list[Point] = [(11, 1), (13.6, 7.6), (20.5, 8), (15.2, 12.4), (17.2, 19.4)]
    star += [(22 - x, y) for x, y in ((11, 15.6), *reversed(star[1:]))]
    easel.shape((70, 130, 224), star)
    easel.disc((190, 220, 255), (11, 11), 2.2, None)


def _inventory(easel: Easel) -> None:
    easel.shape((150, 104, 58), [(3, 8), (19, 8), (20, 19), (2, 19)])
    easel.shape((180, 128, 74), [(3, 5), (19, 5), (18, 12), (4, 12)])
    easel.shape(_GOLD, [(9.5, 10), (12.5, 10), (12.5, 14), (9.5, 14)])


def _equipment(easel: Easel) -> None:
    half: list[Point] = [(11, 2), (6, 4), (4, 11), (4, 19), (9, 19), (11, 13)]
    easel.shape((168, 176, 188), half + [(22 - x, y) for x, y in reversed(half[1:-1])])
    easel.facet((40, 44, 52), [(6.5, 10), (15.5, 10), (15.5, 12), (6.5, 12)])


def _prayer(easel: Easel) -> None:
    for turn in range(0, 360, 45):
        tip = math.radians(turn)
        base = math.radians(turn + 16), math.radians(turn - 16)
        points: list[Point] = [(11 + 9.5 * math.sin(tip), 11 - 9.5 * math.cos(tip))]
        points += [(11 + 4.4 * math.sin(side), 11 - 4.4 * math.cos(side)) for side in base]
        easel.shape((250, 226, 110), points)
    easel.disc((255, 246, 190), (11, 11), 4.6)


def _magic(easel: Easel) -> None:
    easel.shape((112, 64, 190), [(3, 5), (11, 7), (11, 19), (3, 17)])
    easel.shape((140, 88, 220), [(19, 5), (11, 7), (11, 19), (19, 17)])
    easel.disc((120, 250, 240), (15, 11.5), 2, None)


def _person(easel: Easel, coat: Colour, centre: float) -> None:
    easel.shape(coat, [(centre - 6, 19), (centre - 4, 11), (centre + 4, 11), (centre + 6, 19)])
    easel.disc((232, 190, 150), (centre, 7), 4)


def _clan(easel: Easel) -> None:
    _person(easel, (90, 130, 90), 7)
    _person(easel, (70, 90, 180), 14)


def _friends(easel: Easel) -> None:
    _person(easel, (60, 170, 70), 11)
    easel.bar((250, 230, 90), [(18, 3), (18, 9)], 1.6)
    easel.bar((250, 230, 90), [(15, 6), (21, 6)], 1.6)


def _ignore(easel: Easel) -> None:
    _person(easel, (150, 60, 60), 11)
    easel.bar((230, 50, 40), [(5, 17), (17, 4)], 1.6)


def _logout(easel: Easel) -> None:
    easel.shape(_WOOD, [(4, 2), (14, 2), (14, 20), (4, 20)])
    easel.disc(_GOLD, (11.5, 11.5), 1.4)
    easel.shape((240, 80, 50), [(13, 9), (17, 9), (17, 6), (21.4, 11), (17, 16), (17, 13), (13, 13)])


def _options(easel: Easel) -> None:
    for turn in range(0, 360, 60):
        way = math.radians(turn)
        easel.bar((150, 154, 162), [(11, 11), (11 + 8 * math.sin(way), 11 - 8 * math.cos(way))], 2.6)
    easel.disc((176, 180, 190), (11, 11), 6)
    easel.disc((56, 58, 64), (11, 11), 2.6)


def _emotes(easel: Easel) -> None:
    easel.disc((250, 212, 70), (11, 11), 8.6)
    for x in (8, 14):
        easel.disc((40, 30, 10), (x, 9), 1.4, None)
    easel.stroke((40, 30, 10), [(7, 13), (9, 15), (13, 15), (15, 13)], 1.2)


def _music(easel: Easel) -> None:
    easel.bar(_CREAM, [(8, 16), (8, 4), (17, 3), (17, 14)], 1.4)
    easel.disc(_CREAM, (6, 16.5), 3)
    easel.disc(_CREAM, (15, 14.5), 3)


def _heart(easel: Easel) -> None:
    easel.shape((232, 40, 48), [(11, 19), (3, 11), (3, 6), (7, 4), (11, 7), (15, 4), (19, 6), (19, 11)])


def _boot(easel: Easel) -> None:
    easel.shape((206, 160, 96), [(6, 3), (12, 3), (12, 12), (19, 15), (19, 19), (6, 19)])


def _bolt(easel: Easel) -> None:
    easel.shape((110, 220, 250), [(13, 2), (5, 12), (10, 12), (8, 20), (17, 9), (12, 9)])


_ICONS: dict[str, Callable[[Easel], None]] = {
    "combat": _combat,
    "stats": _stats,
    "quest": _quest,
    "inventory": _inventory,
    "equipment": _equipment,
    "prayer": _prayer,
    "magic": _magic,
    "clan": _clan,
    "friends": _friends,
    "ignore": _ignore,
    "logout": _logout,
    "options": _options,
    "emotes": _emotes,
    "music": _music,
    "hitpoints": _heart,
    "run": _boot,
    "special": _bolt,
}


def icon_names() -> tuple[str, ...]:
    """Names of the icons there are."""
    return tuple(_ICONS)


def icon_picture(name: str) -> pygame.Surface:
    """Returns a tab or orb icon, 22 x 22 px with transparency.

    Raises:
        KeyError: There is no icon of that name.
    """
    easel = Easel(ICON_PX, ICON_PX)
    _ICONS[name](easel)
    return easel.finish()


def pointer_picture() -> pygame.Surface:
    """Returns the mouse pointer: a white arrow with a dark edge, tip at the top left pixel."""
    easel = Easel(*POINTER_SIZE_PX)
    arrow: list[Point] = [(0.6, 0.6), (0.6, 16), (4.4, 12.6), (7, 18.6), (9.8, 17.4), (7.2, 11.6), (12.4, 11.2)]
    easel.shape((255, 255, 255), arrow, (0, 0, 0))
    return easel.finish()


def compass_picture(size: int, yaw_turn: float) -> pygame.Surface:
    """Returns a compass rose of `size` px whose red needle points north for a camera turned by `yaw_turn` radians."""
    easel = Easel(size, size)
    middle = size / 2
    easel.disc((196, 178, 132), (middle, middle), middle - 0.5)
    easel.disc((112, 92, 58), (middle, middle), middle * 0.72, None)
    for turn, colour in ((0.0, (222, 36, 28)), (math.pi, (240, 240, 240))):
        way = turn + yaw_turn
        points: list[Point] = [
            (middle + reach * math.sin(way + side), middle - reach * math.cos(way + side))
            for reach, side in ((middle * 0.86, 0.0), (middle * 0.26, 1.57), (middle * 0.26, -1.57))
        ]
        easel.shape(colour, points)
    return easel.finish()
