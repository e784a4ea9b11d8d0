"""The things and people of the world as solids: one function a kind, each within its footprint and height."""

from __future__ import annotations

import math
from collections.abc import Callable

from vlm_agent.games.ringcraft.skins import GroundSkin
from vlm_agent.games.ringcraft.solids import Solid
from vlm_agent.games.ringcraft.sprites import GOLD, Colour, tint

_LOCAL_UNITS = 128
"""Local units of height in a tile."""

_FIRE: Colour = (255, 128, 16)
_EMBER: Colour = (255, 216, 84)
_TIMBER: Colour = (126, 80, 40)
_ROCK: Colour = (128, 124, 120)
_SKIN_TONE: Colour = (226, 178, 138)

Outline = list[tuple[float, float]]


def _square(west: float, low: float, east: float, high: float) -> Outline:
    return [(west, low), (east, low), (east, high), (west, high)]


def _arch(half: float, low: float, high: float) -> Outline:
    shoulder = low + 0.62 * (high - low)
    return [(-half, low), (half, low), (half, shoulder), (half * 0.5, high), (-half * 0.5, high), (-half, shoulder)]


def _hexagon(radius: float, height: float) -> Outline:
    return [(radius * math.cos(i * math.pi / 3), height + radius * math.sin(i * math.pi / 3)) for i in range(6)]


def _furnace(solid: Solid, height: float, style: int, ground: GroundSkin) -> None:
    brick = ((136, 124, 116), (150, 112, 92), (112, 116, 126))[style % 3]
    solid.frustum(brick, (-0.98, -0.98, 0.98, 0.98), (-0.86, -0.86, 0.86, 0.86), (0, 1.02))
    solid.around((44, 34, 30), _arch(0.6, 0.06, 0.84), 0.935)
    solid.around(_FIRE, _arch(0.46, 0.06, 0.66), 0.94, glow=True)
    solid.around(_EMBER, _arch(0.26, 0.06, 0.42), 0.945, glow=True)
    solid.box(tint(brick, 0.8), (-0.92, -0.92, 1.02), (0.92, 0.92, 1.14))
    solid.frustum(brick, (-0.7, -0.7, 0.7, 0.7), (-0.4, -0.4, 0.4, 0.4), (1.14, height - 0.12))
    solid.box(tint(brick, 0.8), (-0.46, -0.46, height - 0.12), (0.46, 0.46, height), (60, 44, 38))
    solid.face(_FIRE, [(-0.3, -0.3, height), (0.3, -0.3, height), (0.3, 0.3, height), (-0.3, 0.3, height)], glow=True)


def _bank_booth(solid: Solid, height: float, style: int, ground: GroundSkin) -> None:
    wood = ((132, 74, 36), (150, 92, 50), (108, 60, 40))[style % 3]
    solid.box(wood, (-0.48, -0.48, 0), (0.48, 0.48, 0.62), tint(wood, 1.3))
    solid.around(tint(GOLD, 0.55), _hexagon(0.25, 0.32), 0.482, glow=True)
    solid.around(GOLD, _hexagon(0.2, 0.32), 0.484, glow=True)
    solid.box((40, 32, 30), (-0.4, -0.4, 0.62), (0.4, 0.4, 0.82))
    awning = (44, 76, 214)
    solid.frustum(awning, (-0.5, -0.5, 0.5, 0.5), (-0.34, -0.34, 0.34, 0.34), (0.8, height), tint(awning, 1.3))
    solid.around((240, 240, 244), [(-0.14, 0.82), (0.14, 0.82), (0.1, height - 0.04), (-0.1, height - 0.04)], 0.5)


def _tree(solid: Solid, height: float, style: int, ground: GroundSkin) -> None:
    solid.column((98, 68, 38), (0.15, 0.1), (0, 0.8), sides=6)
    leaf = ground.leaf
    if style % 3 == 0:
        solid.column(leaf, (0.5, 0.0), (0.55, 1.5), sides=7)
        solid.column(tint(leaf, 1.12), (0.42, 0.0), (1.1, 2.05), sides=7)
        solid.column(tint(leaf, 1.24), (0.32, 0.0), (1.65, height), sides=7)
    elif style % 3 == 1:
        solid.column(tint(leaf, 0.8), (0.24, 0.5), (0.7, 1.25), sides=7)
        solid.column(tint(leaf, 1.05), (0.5, 0.42), (1.25, 2.0), sides=7)
        solid.column(tint(leaf, 1.2), (0.42, 0.12), (2.0, height), sides=7)
    else:
        autumn = (186, 108, 36)
        solid.column(tint(autumn, 0.8), (0.2, 0.5), (0.8, 1.5), sides=6)
        solid.column(autumn, (0.5, 0.2), (1.5, height), sides=6)


def _crate(solid: Solid, height: float, style: int, ground: GroundSkin) -> None:
    wood = (182, 138, 78)
    solid.box(tint(wood, 0.78), (-0.4, -0.4, 0), (0.4, 0.4, height), tint(wood, 1.1))
    solid.around(wood, _square(-0.4, 0, 0.4, 0.14), 0.402)
    solid.around(wood, _square(-0.4, height - 0.14, 0.4, height), 0.402)
    solid.around(wood, [(-0.4, 0.1), (-0.26, 0.1), (0.4, height - 0.1), (0.26, height - 0.1)], 0.404)


def _anvil(solid: Solid, height: float, style: int, ground: GroundSkin) -> None:
    iron = (84, 88, 98)
    solid.column(_TIMBER, (0.3, 0.3), (0, 0.24), sides=8)
    solid.box(iron, (-0.14, -0.12, 0.24), (0.14, 0.12, height - 0.2))
    solid.frustum(iron, (-0.2, -0.14, 0.2, 0.14), (-0.46, -0.2, 0.34, 0.2), (height - 0.24, height), tint(iron, 1.5))


def _range(solid: Solid, height: float, style: int, ground: GroundSkin) -> None:
    iron = (58, 60, 68)
    solid.box(iron, (-0.44, -0.44, 0), (0.44, 0.44, 0.72), (92, 96, 104))
    solid.around((30, 30, 34), _square(-0.26, 0.14, 0.26, 0.5), 0.442)
    solid.around((214, 60, 30), _square(-0.16, 0.2, 0.16, 0.32), 0.444, glow=True)
    solid.column((176, 96, 60), (0.22, 0.26), (0.72, 0.92), (120, 160, 120))
    solid.box(iron, (-0.4, 0.24, 0.72), (-0.22, 0.42, height))


def _well(solid: Solid, height: float, style: int, ground: GroundSkin) -> None:
    solid.column(_ROCK, (0.9, 0.84), (0, 0.56), tint(_ROCK, 1.25), sides=10)
    rim = [(0.62 * math.cos(i * math.pi / 5), 0.62 * math.sin(i * math.pi / 5), 0.56) for i in range(10)]
    solid.face((40, 92, 168), rim, glow=True)
    solid.box(_TIMBER, (-0.8, -0.07, 0.5), (-0.66, 0.07, height))
    solid.box(_TIMBER, (0.66, -0.07, 0.5), (0.8, 0.07, height))
    solid.box(tint(_TIMBER, 1.2), (-0.84, -0.1, height - 0.12), (0.84, 0.1, height))


def _barrel(solid: Solid, height: float, style: int, ground: GroundSkin) -> None:
    wood, hoop = (158, 98, 46), (94, 96, 102)
    middle = height / 2
    solid.column(wood, (0.3, 0.38), (0, middle - 0.06))
    solid.column(hoop, (0.385, 0.385), (middle - 0.06, middle + 0.06))
    solid.column(wood, (0.38, 0.3), (middle + 0.06, height), tint(wood, 1.25))


def _rocks(solid: Solid, height: float, style: int, ground: GroundSkin) -> None:
    ore = ((196, 120, 80), (90, 90, 100), (120, 170, 160))[style % 3]
    solid.frustum(_ROCK, (-0.46, -0.1, 0.1, 0.46), (-0.3, 0.0, 0.0, 0.34), (0, height))
    solid.frustum(tint(_ROCK, 0.9), (-0.2, -0.4, 0.46, 0.3), (-0.06, -0.22, 0.3, 0.1), (0, height * 0.8), ore)


def _statue(solid: Solid, height: float, style: int, ground: GroundSkin) -> None:
    marble = (206, 208, 214)
    solid.box(_ROCK, (-0.42, -0.42, 0), (0.42, 0.42, 0.5), tint(_ROCK, 1.2))
    solid.column(marble, (0.26, 0.16), (0.5, 1.1), sides=6)
    solid.column(marble, (0.16, 0.28), (1.1, 1.7), sides=6)
    solid.column(marble, (0.14, 0.14), (1.72, height), sides=6)


def _parcel(solid: Solid, height: float, style: int, ground: GroundSkin) -> None:
    solid.box((150, 60, 150), (-0.4, -0.4, 0), (0.4, 0.4, height))


_KINDS: dict[str, Callable[[Solid, float, int, GroundSkin], None]] = {
    "furnace": _furnace,
    "bank_booth": _bank_booth,
    "tree": _tree,
    "crate": _crate,
    "anvil": _anvil,
    "range": _range,
    "well": _well,
    "barrel": _barrel,
    "rocks": _rocks,
    "statue": _statue,
}


def thing(kind: str, height_units: int, style: int, ground: GroundSkin) -> Solid:
    """Returns the solid of a kind of object; an unknown kind gives a plain parcel.

    Args:
        kind: Key in the object table of the rules.
        height_units: Height in local units, 128 a tile.
        style: Variant of its picture.
        ground: Colours of leaves and the like.
    """
    solid = Solid()
    _KINDS.get(kind, _parcel)(solid, height_units / _LOCAL_UNITS, style, ground)
    return solid


def person(height_units: int, coat: Colour, stride: float = 0.0, reach: float = 0.0) -> Solid:
    """Returns a person who faces north.

    Args:
        height_units: Height in local units.
        coat: Colour of coat and sleeves.
        stride: How far the right foot is ahead of the left, tiles.
        reach: How far both hands are stretched out in front, tiles.
    """
    solid = Solid()
    tall = height_units / _LOCAL_UNITS
    hip, neck = tall * 0.42, tall * 0.78
    trousers = (66, 58, 74)
    for side, ahead in ((-1, -stride), (1, stride)):
        low, high = sorted((side * 0.03, side * 0.17))
        foot = (low, -0.1 + ahead / 2, high, 0.1 + ahead / 2)
        solid.frustum(trousers, foot, (low, -0.1, high, 0.1), (0, hip))
    solid.frustum(coat, (-0.19, -0.12, 0.19, 0.12), (-0.26, -0.15, 0.26, 0.15), (hip, neck), tint(coat, 1.15))
    for side in (-1, 1):
        low, high = sorted((side * 0.24, side * 0.36))
        swing = reach - side * stride / 3
        hand = (low, -0.07 + swing, high, 0.07 + swing)
        bottom = hip + (neck - hip) * min(0.8, reach)
        solid.frustum(_SKIN_TONE, hand, hand, (bottom - 0.06, bottom + 0.04))
        solid.frustum(tint(coat, 0.85), hand, (low, -0.08, high, 0.08), (bottom, neck))
    solid.box(_SKIN_TONE, (-0.13, -0.13, neck), (0.13, 0.13, tall - 0.08))
    solid.frustum((92, 58, 30), (-0.15, -0.16, 0.15, 0.1), (-0.12, -0.13, 0.12, 0.08), (tall - 0.14, tall))
    return solid


def goat(height_units: int, coat: Colour) -> Solid:
    """Returns a goat that faces north."""
    solid = Solid()
    tall = height_units / _LOCAL_UNITS
    for x in (-0.14, 0.14):
        for y in (-0.26, 0.18):
            solid.box(tint(coat, 0.7), (x - 0.05, y - 0.05, 0), (x + 0.05, y + 0.05, 0.3))
    solid.box(coat, (-0.2, -0.34, 0.26), (0.2, 0.26, tall - 0.14))
    solid.box(tint(coat, 0.92), (-0.1, 0.22, tall - 0.3), (0.1, 0.46, tall - 0.04))
    for x in (-0.07, 0.07):
        solid.box((90, 80, 70), (x - 0.02, 0.26, tall - 0.06), (x + 0.02, 0.32, tall))
    return solid
