"""Pictures of things, drawn by code: every item of the game at inventory size.

Shapes are drawn four times too large and shrunk once, which smooths their edges. Each item has its own silhouette and
its own hue, because a model that sees the frame at half size must tell a gem from a ring without reading.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import pygame

Colour = tuple[int, int, int]
Point = tuple[float, float]

ITEM_WIDTH_PX = 36
ITEM_HEIGHT_PX = 32

_SCALE = 4
_OUTLINE: Colour = (22, 18, 12)

GOLD: Colour = (246, 196, 40)
SAPPHIRE: Colour = (38, 92, 246)
EMERALD: Colour = (24, 196, 76)
RUBY: Colour = (226, 32, 60)


def tint(colour: Colour, factor: float) -> Colour:
    """Returns a colour made darker (factor < 1) or lighter (factor > 1), clipped to 0-255."""
    red, green, blue = (min(255, max(0, round(channel * factor))) for channel in colour)
    return (red, green, blue)


def blend(first: Colour, second: Colour, share: float) -> Colour:
    """Returns `first` mixed with `share` (0-1) of `second`."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return (red, green, blue)


class Easel:
    """A transparent sheet in item coordinates (36 x 32), drawn large and shrunk at the end."""

    def __init__(self, width: int = ITEM_WIDTH_PX, height: int = ITEM_HEIGHT_PX) -> None:
        """Makes an empty sheet of `width` x `height` pixels."""
        self._size = (width, height)
        self._sheet = pygame.Surface((width * _SCALE, height * _SCALE), pygame.SRCALPHA, 32)

    def shape(self, colour: Colour, points: Sequence[Point], outline: Colour | None = _OUTLINE) -> None:
        """Fills a polygon and draws its outline."""
        large = [(x * _SCALE, y * _SCALE) for x, y in points]
        pygame.draw.polygon(self._sheet, colour, large)
        if outline is not None:
            pygame.draw.lines(self._sheet, outline, True, large, 4)
            for x, y in large:
                pygame.draw.circle(self._sheet, outline, (x, y), 2)

    def facet(self, colour: Colour, points: Sequence[Point]) -> None:
        """Fills a polygon without an outline."""
        self.shape(colour, points, None)

    def disc(self, colour: Colour, centre: Point, radius: float, outline: Colour | None = _OUTLINE) -> None:
        """Fills a circle and draws its outline."""
        self.oval(colour, (centre[0] - radius, centre[1] - radius, 2 * radius, 2 * radius), outline)

    def oval(self, colour: Colour, box: tuple[float, float, float, float], outline: Colour | None = _OUTLINE) -> None:
        """Fills an ellipse inside `box` (left, top, width, height) and draws its outline."""
        left, top, width, height = (value * _SCALE for value in box)
        if outline is not None:
            pygame.draw.ellipse(self._sheet, outline, (left, top, width, height))
            left, top, width, height = left + 4, top + 4, width - 8, height - 8
        pygame.draw.ellipse(self._sheet, colour, (left, top, width, height))

    def stroke(self, colour: Colour, points: Sequence[Point], width: float) -> None:
        """Draws a thick line through points, with round joints."""
        large = [(x * _SCALE, y * _SCALE) for x, y in points]
        thick = round(width * _SCALE)
        for start, end in pairwise(large):
            pygame.draw.line(self._sheet, colour, start, end, thick)
        for point in large:
            pygame.draw.circle(self._sheet, colour, point, thick / 2)

    def bar(self, colour: Colour, points: Sequence[Point], width: float) -> None:
        """Draws a thick line with an outline round it."""
        self.stroke(_OUTLINE, points, width + 2)
        self.stroke(colour, points, width)

    def hoop(self, colour: Colour, centre: Point, radii: tuple[float, float], width: float) -> None:
        """Draws an elliptical ring (outer `radii`) of `width`, hollow inside."""
        x, y = centre
        outer = (x - radii[0], y - radii[1], 2 * radii[0], 2 * radii[1])
        self.oval(colour, outer)
        inner = (outer[0] + width, outer[1] + width, outer[2] - 2 * width, outer[3] - 2 * width)
        self.oval(_OUTLINE, (inner[0] - 1, inner[1] - 1, inner[2] + 2, inner[3] + 2), None)
        hole = pygame.Rect(*(round(value * _SCALE) for value in inner))
        pygame.draw.ellipse(self._sheet, (0, 0, 0, 0), hole)

    def finish(self) -> pygame.Surface:
        """Returns the sheet at its real size."""
        return pygame.transform.smoothscale(self._sheet, self._size)


def _ingot(easel: Easel, metal: Colour) -> None:
    easel.shape(metal, [(4, 19), (10, 10), (31, 14), (33, 22), (27, 28), (4, 24)])
    easel.facet(tint(metal, 1.25), [(5, 19), (10.5, 11), (30, 14.5), (25, 22)])
    easel.facet(tint(metal, 0.66), [(25.5, 22.5), (30.5, 15.5), (32, 22), (27, 27)])
    easel.facet(blend(metal, (255, 255, 255), 0.7), [(10, 14), (12, 12), (24, 14.5), (22, 16)])


def _round_gem(easel: Easel, colour: Colour) -> None:
    easel.shape(colour, [(10, 6), (26, 6), (32, 13), (18, 28), (4, 13)])
    easel.facet(tint(colour, 1.5), [(10.5, 7), (25.5, 7), (22, 12.5), (14, 12.5)])
    easel.facet(tint(colour, 0.62), [(22.5, 13.5), (30.5, 13.5), (18, 27)])
    easel.facet(tint(colour, 0.8), [(5.5, 13.5), (13.5, 13.5), (18, 27)])
    easel.facet((228, 240, 255), [(9, 9), (12, 8), (10, 12), (7, 12)])


def _step_gem(easel: Easel, colour: Colour) -> None:
    easel.shape(colour, [(12, 3), (24, 3), (29, 8), (29, 24), (24, 29), (12, 29), (7, 24), (7, 8)])
    easel.facet(tint(colour, 1.45), [(12.5, 4.5), (23.5, 4.5), (21, 9), (15, 9)])
    easel.facet(tint(colour, 0.6), [(15, 23), (21, 23), (23.5, 27.5), (12.5, 27.5)])
    easel.facet(tint(colour, 0.76), [(22, 10), (27.5, 8.5), (27.5, 23.5), (22, 22)])
    easel.facet((224, 255, 232), [(9, 9), (11, 10), (11, 17), (9, 18)])


def _pear_gem(easel: Easel, colour: Colour) -> None:
    easel.shape(colour, [(18, 3), (26, 13), (28, 20), (24, 27), (18, 29), (12, 27), (8, 20), (10, 13)])
    easel.facet(tint(colour, 1.35), [(18, 5), (24, 14), (18, 18), (12, 14)])
    easel.facet(tint(colour, 0.6), [(18, 19), (26, 20), (22, 27), (18, 28)])
    easel.facet((255, 226, 226), [(12, 16), (14, 15), (13, 21), (11, 21)])


def _ring(easel: Easel, gem: Callable[[Easel], None] | None) -> None:
    easel.hoop(GOLD, (18, 20), (11.5, 10.8), 5.2)
    easel.stroke((255, 246, 178), [(9.2, 18.5), (11, 14.5)], 1.6)
    easel.stroke(tint(GOLD, 0.66), [(24, 26.5), (27, 22)], 1.6)
    if gem is not None:
        gem(easel)


def _sapphire_setting(easel: Easel) -> None:
    easel.shape(SAPPHIRE, [(12, 2), (24, 2), (28, 7), (18, 16), (8, 7)])
    easel.facet(tint(SAPPHIRE, 1.5), [(12.5, 3), (23.5, 3), (21, 6.5), (15, 6.5)])
    easel.facet(tint(SAPPHIRE, 0.6), [(20, 7.5), (26, 7.5), (18, 14.5)])


def _emerald_setting(easel: Easel) -> None:
    easel.shape(EMERALD, [(11, 1), (25, 1), (27, 4), (27, 12), (25, 15), (11, 15), (9, 12), (9, 4)])
    easel.facet(tint(EMERALD, 1.5), [(12, 2.5), (24, 2.5), (21, 5.5), (15, 5.5)])
    easel.facet(tint(EMERALD, 0.6), [(15, 11), (21, 11), (24, 13.5), (12, 13.5)])


def _ruby_setting(easel: Easel) -> None:
    easel.shape(RUBY, [(18, 0.5), (25, 8), (23, 14), (18, 16), (13, 14), (11, 8)])
    easel.facet(tint(RUBY, 1.4), [(18, 2.5), (22, 8), (18, 10), (14, 8)])


def _coal(easel: Easel) -> None:
    easel.shape((44, 44, 50), [(6, 17), (11, 8), (20, 6), (29, 11), (31, 20), (24, 27), (12, 27)])
    easel.facet((92, 92, 104), [(11, 10), (19, 8), (17, 14), (9, 17)])
    easel.facet((24, 24, 28), [(19, 15), (29, 13), (29, 20), (23, 25)])


def _logs(easel: Easel) -> None:
    bark = (112, 72, 34)
    for x, y in ((6, 20), (14, 12), (18, 22)):
        easel.bar(bark, [(x, y), (x + 12, y - 4)], 7)
        easel.disc((222, 184, 118), (x, y), 3.6)
        easel.disc((168, 122, 66), (x, y), 1.4, None)


def _bread(easel: Easel) -> None:
    crust = (206, 138, 56)
    easel.bar(crust, [(10, 21), (26, 12)], 12)
    easel.stroke(tint(crust, 1.2), [(10, 19), (25, 10)], 5)
    for x, y in ((12, 18), (17, 15), (22, 12)):
        easel.stroke((120, 70, 22), [(x - 1, y - 3), (x + 3, y + 3)], 1.2)


def _potion(easel: Easel) -> None:
    easel.shape((196, 210, 214), [(15, 5), (21, 5), (21, 13), (28, 21), (26, 29), (10, 29), (8, 21), (15, 13)])
    easel.facet((166, 44, 196), [(11, 18.5), (25, 18.5), (26.5, 22), (25, 28), (11, 28), (9.5, 22)])
    easel.facet((220, 130, 240), [(11.5, 20), (14, 20), (13.5, 26), (11.5, 26)])
    easel.shape((146, 94, 44), [(14.5, 2), (21.5, 2), (21.5, 6), (14.5, 6)])


def _hammer(easel: Easel) -> None:
    easel.bar((140, 92, 44), [(9, 27), (22, 12)], 3.6)
    easel.shape((156, 162, 172), [(14, 8), (20, 2), (32, 13), (26, 19)])
    easel.facet((206, 212, 220), [(15.5, 8), (20, 3.8), (23, 6.5), (18.5, 10.8)])


def _clay_block(easel: Easel) -> None:
    clay = (146, 132, 122)
    easel.shape(clay, [(3, 14), (13, 6), (33, 11), (33, 18), (23, 28), (3, 21)])
    easel.facet(tint(clay, 1.22), [(4.5, 14), (13, 7.2), (31.5, 11.5), (23, 20)])
    easel.facet(tint(clay, 0.62), [(23.5, 21), (32, 12.8), (32, 17.8), (23.5, 26.5)])


def _ring_mould(easel: Easel) -> None:
    _clay_block(easel)
    easel.oval((58, 48, 42), (9.5, 8.5, 18, 10), None)
    easel.oval((178, 161, 149), (14.5, 11, 8, 5), None)


def _necklace_mould(easel: Easel) -> None:
    _clay_block(easel)
    easel.stroke((58, 48, 42), [(11, 14), (17, 9.5), (27, 12), (22, 17)], 1.8)
    easel.stroke((58, 48, 42), [(11, 14), (19, 16.5)], 1.8)


def _apple(easel: Easel) -> None:
    easel.bar((104, 66, 30), [(18, 10), (21, 4)], 1.6)
    easel.disc((208, 40, 34), (18, 19), 10)
    easel.disc((250, 130, 110), (14, 15), 2.6, None)
    easel.shape((70, 160, 50), [(21, 7), (28, 4), (27, 9)])


def _rope(easel: Easel) -> None:
    hemp = (204, 172, 108)
    for drop in (8, 4, 0):
        easel.hoop(tint(hemp, 1.1 - drop * 0.03), (18, 13 + drop), (13, 8), 4.6)
    easel.bar(hemp, [(29, 21), (31, 28)], 2.6)


def _bucket(easel: Easel) -> None:
    tin = (150, 156, 166)
    easel.stroke((60, 60, 66), [(7, 11), (9, 4), (18, 2), (27, 4), (29, 11)], 1.6)
    easel.shape(tin, [(6, 11), (30, 11), (26, 29), (10, 29)])
    easel.facet(tint(tin, 1.3), [(10, 14), (14, 14), (15, 27.5), (12, 27.5)])
    easel.oval((64, 130, 216), (6, 7, 24, 8))


def _feather(easel: Easel) -> None:
    easel.shape((236, 240, 246), [(7, 26), (10, 15), (18, 6), (30, 3), (28, 13), (20, 22), (11, 26)])
    easel.stroke((150, 156, 172), [(4, 30), (28, 5)], 1.4)


def _herb(easel: Easel) -> None:
    for tip, side in (((8, 8), (5, 16)), ((28, 8), (31, 16)), ((18, 2), (12, 9))):
        easel.shape((52, 140, 44), [(18, 24), side, tip, ((tip[0] + 36 - side[0]) / 2, 13)])
    easel.bar((36, 100, 36), [(18, 29), (18, 14)], 1.6)


def _shield(easel: Easel) -> None:
    easel.disc((176, 30, 40), (18, 16), 14)
    easel.disc((236, 226, 200), (18, 16), 9.4, None)
    easel.disc((176, 30, 40), (18, 16), 6.4, None)
    easel.disc((196, 202, 210), (18, 16), 3.2)


def _unknown(easel: Easel) -> None:
    easel.shape((136, 110, 78), [(8, 12), (18, 7), (28, 12), (28, 24), (18, 29), (8, 24)])
    easel.facet((176, 146, 106), [(9.5, 12.5), (18, 8.2), (26.5, 12.5), (18, 17)])
    easel.stroke((236, 216, 176), [(18, 17), (18, 27)], 1.2)


_ITEMS: dict[str, Callable[[Easel], None]] = {
    "gold_bar": lambda easel: _ingot(easel, GOLD),
    "silver_bar": lambda easel: _ingot(easel, (196, 204, 216)),
    "iron_bar": lambda easel: _ingot(easel, (126, 88, 76)),
    "sapphire": lambda easel: _round_gem(easel, SAPPHIRE),
    "emerald": lambda easel: _step_gem(easel, EMERALD),
    "ruby": lambda easel: _pear_gem(easel, RUBY),
    "gold_ring": lambda easel: _ring(easel, None),
    "sapphire_ring": lambda easel: _ring(easel, _sapphire_setting),
    "emerald_ring": lambda easel: _ring(easel, _emerald_setting),
    "ruby_ring": lambda easel: _ring(easel, _ruby_setting),
    "ring_mould": _ring_mould,
    "necklace_mould": _necklace_mould,
    "coal": _coal,
    "logs": _logs,
    "bread": _bread,
    "apple": _apple,
    "rope": _rope,
    "hammer": _hammer,
    "bucket": _bucket,
    "feather": _feather,
    "potion": _potion,
    "herb": _herb,
    "shield": _shield,
}


def item_keys() -> tuple[str, ...]:
    """Keys of the items that have a picture of their own."""
    return tuple(_ITEMS)


def item_picture(key: str) -> pygame.Surface:
    """Returns the picture of an item, 36 x 32 px with transparency; an unknown key gives a plain parcel."""
    easel = Easel()
    _ITEMS.get(key, _unknown)(easel)
    return easel.finish()
