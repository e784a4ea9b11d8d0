"""The whole state of a Ringcraft game as plain data: what the rules change, the drawing shows and a snapshot keeps.

Every field is a number, a string, a list or another dataclass of this module, so a state can be copied, compared,
hashed and written as JSON. This module knows no rule and no pixel: `core` changes states, `geometry` places them on the
screen. Tiles are counted from the south-west corner of the map, x to the east, y to the north. Angles are 0..2047.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

TICK_MS = 600
"""Length of a world tick: positions, inventories and crafting change only on these."""
CLIENT_TICK_MS = 20
"""Length of a client tick: input is read, the camera and the pointer move on these."""
FULL_TURN = 2048
"""Units of yaw in a full turn."""
INVENTORY_SLOTS = 28
MAP_TILES = 40
"""The map is a square of this many tiles a side."""

Mode = Literal["none", "bank", "furnace", "levelup"]
"""Which window is open; `levelup` is the dialog in the chat box."""
Quantity = Literal["1", "5", "10", "X", "All"]
QUANTITIES: tuple[Quantity, ...] = ("1", "5", "10", "X", "All")


@dataclass(slots=True)
class Stack:
    """Some of one item, in an inventory slot or a bank slot."""

    item: str
    """Key in the item table of `rules.json`, such as `gold_bar`."""
    quantity: int = 1
    """How many; always 1 in the inventory, where nothing here stacks."""


@dataclass(slots=True)
class GameObject:
    """A thing that stands on the map: furnace, bank booth, or a distractor."""

    kind: str
    """Key in the object table of `rules.json`, which gives name, footprint, height and options."""
    x: int
    """Western column of its footprint, tiles."""
    y: int
    """Southern row of its footprint, tiles."""
    style: int = 0
    """Variant of its picture; means nothing to the rules."""


@dataclass(slots=True)
class Npc:
    """A character who wanders about and can be talked to."""

    kind: str
    """Key in the npc table of `rules.json`."""
    x: int
    y: int
    previous_x: int
    """Where it stood one world tick ago; drawing slides from there."""
    previous_y: int
    home_x: int
    """It never wanders further than a few tiles from home."""
    home_y: int


@dataclass(slots=True)
class Errand:
    """What the player is walking to do; carried out the tick after arrival."""

    verb: str
    """`interact` or `talk`."""
    index: int
    """Index into `objects` or `npcs`."""
    option: str
    """The menu option that was chosen, such as `Smelt`."""


@dataclass(slots=True)
class Player:
    """The character that the input controls."""

    x: int
    """Tile column after the last world tick."""
    y: int
    """Tile row after the last world tick."""
    trail: list[tuple[int, int]] = field(default_factory=list)
    """Tiles crossed in the last world tick, from the old to the present one; drawing slides along it. Empty: stood."""
    path: list[tuple[int, int]] = field(default_factory=list)
    """Tiles still to walk, next first."""
    errand: Errand | None = None
    """What to do on arrival."""
    is_running: bool = True
    """Two tiles a tick rather than one."""
    facing: int = 0
    """Direction of the body, 0..2047, 0 north, growing to the west like the camera's yaw."""
    animation: Literal["idle", "walk", "run", "smelt"] = "idle"
    """What the body does."""


@dataclass(slots=True)
class Camera:
    """The eye that orbits the player."""

    yaw: int
    """0..2047; 0 looks north, growing turns the view to the left (west)."""
    pitch: int
    """Steepness in the same units, `PITCH_MIN`..`PITCH_MAX` of `geometry`."""
    zoom: int
    """Scale of the projection in pixels, `ZOOM_MIN`..`ZOOM_MAX`."""
    focus_x: float
    """Point looked at, tiles; eases after the player."""
    focus_y: float
    yaw_speed: int = 0
    """Present speed of turning, units a client tick times two."""
    pitch_speed: int = 0
    zoom_target: int = 0
    """Where the zoom is easing to; 0 until the wheel was turned once."""


@dataclass(slots=True)
class MenuOption:
    """One thing a click could do: the left click does the first, the right-click menu lists all."""

    text: str
    """`Withdraw-13`, `Smelt`, `Walk here`, …"""
    target: str
    """What it would be done to, `Gold bar`; empty where there is nothing."""
    verb: str
    """Name of the command in `core`."""
    index: int = 0
    """Argument of the command: a slot, an object, a tile number (x + y * MAP_TILES), …"""
    amount: str = ""
    """Second argument: a quantity, a tab, or the option's own name."""
    item: str = ""
    """Key of the item it is about, where it is about one."""


@dataclass(slots=True)
class Menu:
    """The open right-click menu; its rows are laid out by `geometry.menu_row_rects`."""

    x: int
    """Left edge, frame pixels."""
    y: int
    """Top edge, frame pixels."""
    width: int
    """Width in pixels, wide enough for its longest row."""
    options: list[MenuOption] = field(default_factory=list)
    """Top to bottom; the last is always `Cancel`."""


@dataclass(slots=True)
class ClickCross:
    """The mark that shows for a moment where a click went."""

    x: int
    y: int
    is_red: bool
    """Red: something was acted on; yellow: only walking."""
    ticks_left: int
    """Client ticks it will still show."""


@dataclass(slots=True)
class Pointer:
    """The mouse as the game sees it."""

    x: int = 0
    """Frame pixels; may lie outside the frame."""
    y: int = 0
    is_dragging: bool = False
    """Middle button held: moving turns the camera."""


@dataclass(slots=True)
class Crafting:
    """The make-several job under way."""

    product: str = ""
    """Key in the product table of `rules.json`; empty when nothing is being made."""
    remaining: int = 0
    """Items still to make."""
    ticks_to_next: int = 0
    """World ticks until the next one is finished."""


@dataclass(slots=True)
class Interaction:
    """The last command that was carried out, for the export and for the goals' tests."""

    action: str = ""
    target: str = ""
    x: int = 0
    """Pointer at that moment, frame pixels."""
    y: int = 0
    t_ms: int = 0
    """Game time at that moment."""
    count: int = 0
    """How many commands there have been; tells two equal ones apart."""


@dataclass(slots=True)
class Skin:
    """How this seed looks; means nothing to the rules."""

    panel: int = 0
    """Colour scheme of the panels, `SKINS` of them."""
    ground: int = 0
    """Colour scheme of the ground."""
    brightness: float = 1.0
    """Factor on every colour, 0.8..1.2."""


@dataclass(slots=True)
class Floor:
    """A paved rectangle of the ground, a landmark around bank and furnace."""

    x: int
    y: int
    width: int
    depth: int
    kind: str
    """`stone`, `wood` or `path`."""


@dataclass(slots=True)
class State:
    """Everything. Two equal states, fed the same input, stay equal."""

    seed: int
    """The seed of the scene it began with."""
    rng: int
    """State of the generator that drives chance inside the game (a 64-bit number)."""
    player: Player
    camera: Camera
    tick: int = 0
    """World ticks since the start."""
    ms_in_tick: int = 0
    """Milliseconds since the last world tick, a multiple of 20 below 600."""
    objects: list[GameObject] = field(default_factory=list)
    npcs: list[Npc] = field(default_factory=list)
    floors: list[Floor] = field(default_factory=list)
    inventory: list[Stack | None] = field(default_factory=lambda: [None] * INVENTORY_SLOTS)
    """28 slots, row by row; None is empty."""
    bank: list[Stack] = field(default_factory=list)
    """Bank slots in their order, row by row, 8 a row; no holes."""
    mode: Mode = "none"
    bank_quantity: Quantity = "1"
    """What a left click withdraws or deposits."""
    bank_x: int = 13
    """What `X` stands for in the bank."""
    furnace_quantity: Quantity = "All"
    """How many a click in the furnace window makes."""
    furnace_x: int = 13
    tab: str = "inventory"
    """Which side panel shows; a name of `layout.tabs`."""
    chat: list[str] = field(default_factory=list)
    """Lines of the chat box, oldest first; only the newest few show."""
    menu: Menu | None = None
    cross: ClickCross | None = None
    pointer: Pointer = field(default_factory=Pointer)
    selected_slot: int = -1
    """Inventory slot picked with `Use`; -1 for none."""
    held_keys: list[str] = field(default_factory=list)
    """Keys that are down, in the order they were pressed."""
    crafting_xp: int = 0
    crafting: Crafting = field(default_factory=Crafting)
    new_level: int = 0
    """The level that the open level-up dialog tells of; 0 without one."""
    rings_made: int = 0
    """Rings made since the start: the score."""
    num_presses: int = 0
    """Buttons and keys pressed since the start."""
    num_wasted_presses: int = 0
    """Those of them that changed nothing, see `presses`."""
    last_xp: int = 0
    """Experience that the last item made gave; 0 before the first."""
    last_xp_tick: int = 0
    """World tick on which it was given; the number rises on the screen for a moment after."""
    interaction: Interaction = field(default_factory=Interaction)
    queued: list[MenuOption] = field(default_factory=list)
    """Commands given since the last world tick, to be carried out at the next."""
    skin: Skin = field(default_factory=Skin)

    @property
    def now_ms(self) -> int:
        """Game time since the start, milliseconds."""
        return self.tick * TICK_MS + self.ms_in_tick
