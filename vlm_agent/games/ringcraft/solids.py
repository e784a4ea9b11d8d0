"""Flat-shaded shapes in tile units (x east, y north, z up), the clay that the things of the world are made of.

Faces wind anticlockwise seen from outside. Within a solid they are painted in the order they were added, those that
look away from the camera left out, so add what lies below or behind first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from vlm_agent.games.ringcraft.sprites import Colour, tint

Vertex = tuple[float, float, float]

_LIGHT = (-0.42, -0.55, 0.72)
"""Direction to the sun, a unit vector: from the south-west, high."""


@dataclass(slots=True)
class Solid:
    """A heap of coloured faces under construction; indices point into `vertices`."""

    vertices: list[Vertex] = field(default_factory=list)
    """Corners in tile units."""
    faces: list[tuple[int, ...]] = field(default_factory=list)
    """Corner indices, three or four a face, anticlockwise from outside."""
    colours: list[Colour] = field(default_factory=list)
    """One colour a face, sunlight included."""

    def face(self, colour: Colour, corners: list[Vertex], glow: bool = False) -> None:
        """Adds a face, darkened by how far it looks away from the sun unless it glows by itself."""
        first = len(self.vertices)
        self.vertices.extend(corners)
        self.faces.append(tuple(range(first, first + len(corners))))
        self.colours.append(colour if glow else tint(colour, _sunlight(corners)))

    def box(self, colour: Colour, low: Vertex, high: Vertex, top: Colour | None = None) -> None:
        """Adds an upright box between two corners, without its underside."""
        self.frustum(
            colour, (low[0], low[1], high[0], high[1]), (low[0], low[1], high[0], high[1]), (low[2], high[2]), top
        )

    def frustum(
        self,
        colour: Colour,
        lower: tuple[float, float, float, float],
        upper: tuple[float, float, float, float],
        levels: tuple[float, float],
        top: Colour | None = None,
    ) -> None:
        """Adds a block between two rectangles (west, south, east, north) at two heights, without its underside."""
        (lw, ls, le, ln), (uw, us, ue, un) = lower, upper
        low, high = levels
        bottom = [(lw, ls, low), (le, ls, low), (le, ln, low), (lw, ln, low)]
        lid = [(uw, us, high), (ue, us, high), (ue, un, high), (uw, un, high)]
        for i in range(4):
            j = (i + 1) % 4
            self.face(colour, [bottom[i], bottom[j], lid[j], lid[i]])
        self.face(top or colour, lid)

    def column(
        self,
        colour: Colour,
        radii: tuple[float, float],
        levels: tuple[float, float],
        top: Colour | None = None,
        sides: int = 8,
    ) -> None:
        """Adds an upright column round the middle, `radii` at its two heights; an upper radius of 0 makes a cone."""
        turns = [(i + 0.5) * 2 * math.pi / sides for i in range(sides)]
        lower, upper = (
            [(r * math.cos(t), r * math.sin(t), z) for t in turns] for r, z in zip(radii, levels, strict=True)
        )
        for i in range(sides):
            j = (i + 1) % sides
            corners = [lower[i], lower[j], upper[j], upper[i]] if radii[1] > 0 else [lower[i], lower[j], upper[i]]
            self.face(colour, corners)
        if radii[1] > 0:
            self.face(top or colour, upper)

    def around(self, colour: Colour, outline: list[tuple[float, float]], reach: float, glow: bool = False) -> None:
        """Adds a flat picture to each of the four sides: `outline` in (sideways, up), `reach` from the middle.

        The outline runs anticlockwise as seen from in front of a side.
        """
        for east, north in ((0, -1), (1, 0), (0, 1), (-1, 0)):
            self.face(colour, [(east * reach - north * s, north * reach + east * s, up) for s, up in outline], glow)


def _sunlight(corners: list[Vertex]) -> float:
    (ax, ay, az), (bx, by, bz), (cx, cy, cz) = corners[:3]
    ux, uy, uz = bx - ax, by - ay, bz - az
    vx, vy, vz = cx - ax, cy - ay, cz - az
    nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
    length = math.sqrt(nx * nx + ny * ny + nz * nz) or 1.0
    facing = (nx * _LIGHT[0] + ny * _LIGHT[1] + nz * _LIGHT[2]) / length
    return 0.80 + 0.34 * facing
