"""The facts of the game as typed tables: `rules.json` read once. The code in `core` interprets them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files


@dataclass(frozen=True)
class Item:
    """One kind of item."""

    id: int
    """Number in the export."""
    name: str
    many: str
    """How some of them are called in a goal, `gold bars`."""
    examine: str


@dataclass(frozen=True)
class Product:
    """One thing that can be made at a furnace."""

    key: str
    """Key of the item that comes out."""
    level: int
    """Crafting level needed."""
    xp: int
    """Experience for each."""
    tool: str
    """Item that must be carried and is kept."""
    inputs: tuple[str, ...]
    """Items used up, one of each."""
    is_ring: bool


@dataclass(frozen=True)
class ObjectKind:
    """One kind of thing on the map."""

    id: int
    name: str
    width: int
    """Footprint to the east, tiles."""
    depth: int
    """Footprint to the north, tiles."""
    height: int
    """Height in local units, 128 a tile."""
    options: tuple[str, ...]
    """What can be done to it, the left click's first."""


@dataclass(frozen=True)
class NpcKind:
    """One kind of character."""

    id: int
    name: str
    height: int
    """Height in local units."""
    colour: tuple[int, int, int]


@dataclass(frozen=True)
class Rules:
    """All tables of the game."""

    items: dict[str, Item]
    products: tuple[Product, ...]
    """In the order of the furnace window's cells."""
    ticks_per_product: int
    """World ticks for each product: community practice for the game this one is a cousin of."""
    objects: dict[str, ObjectKind]
    npcs: dict[str, NpcKind]
    answers: dict[str, str]
    """Chat line that answers an option of an object which does nothing else."""
    skills: tuple[str, ...]
    """Names in the stats tab, row by row."""
    npc_roam_tiles: int
    npc_step_chance: float
    """Chance that a character takes a step in a world tick."""

    def product(self, key: str) -> Product:
        """Return the product that makes an item; raises KeyError."""
        return next(product for product in self.products if product.key == key)


def load_rules() -> Rules:
    """Read `rules.json` from the package."""
    raw = json.loads(files("vlm_agent.games.ringcraft").joinpath("rules.json").read_text(encoding="utf-8"))
    return Rules(
        items={key: Item(**value) for key, value in raw["items"].items()},
        products=tuple(Product(**{**value, "inputs": tuple(value["inputs"])}) for value in raw["products"]),
        ticks_per_product=raw["ticks_per_product"],
        objects={
            key: ObjectKind(**{**value, "options": tuple(value["options"])}) for key, value in raw["objects"].items()
        },
        npcs={key: NpcKind(**{**value, "colour": tuple(value["colour"])}) for key, value in raw["npcs"].items()},
        answers=raw["answers"],
        skills=tuple(raw["skills"]),
        npc_roam_tiles=raw["npc_roam_tiles"],
        npc_step_chance=raw["npc_step_chance"],
    )


RULES = load_rules()
"""The one set of rules."""


def _xp_table() -> tuple[int, ...]:
    points, table = 0.0, [0, 0]
    for level in range(1, 99):
        points += int(level + 300 * 2 ** (level / 7))
        table.append(int(points / 4))
    return tuple(table)


XP_OF_LEVEL = _xp_table()
"""Experience at which each level begins, indexed by level 0..99."""


def level_of(xp: int) -> int:
    """Return the level, 1..99, that an amount of experience gives."""
    return next(level for level in range(99, 0, -1) if xp >= XP_OF_LEVEL[level])
