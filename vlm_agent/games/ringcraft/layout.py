"""Where everything of the fixed 765x503 screen is: `layout.json` as typed rectangles.

Drawing, hit-testing and the exported bounds all take their rectangles from the one value `LAYOUT`, so that they can't
disagree. Nothing here depends on a game's state; see `geometry` for what does.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files
from typing import Any


@dataclass(frozen=True, slots=True)
class Rect:
    """Columns x <= c < x + width and rows y <= r < y + height of the frame, pixels."""

    x: int
    y: int
    width: int
    height: int

    def contains(self, x: float, y: float) -> bool:
        """Tell whether a point lies inside."""
        return self.x <= x < self.x + self.width and self.y <= y < self.y + self.height

    @property
    def centre(self) -> tuple[int, int]:
        """The pixel in the middle."""
        return self.x + self.width // 2, self.y + self.height // 2

    @property
    def right(self) -> int:
        """First column beyond it."""
        return self.x + self.width

    @property
    def bottom(self) -> int:
        """First row beyond it."""
        return self.y + self.height

    def overlaps(self, other: Rect) -> bool:
        """Tell whether the two have a pixel in common."""
        return (
            self.x < other.x + other.width
            and other.x < self.x + self.width
            and self.y < other.y + other.height
            and other.y < self.y + self.height
        )

    def intersect(self, other: Rect) -> Rect | None:
        """Return the part that both cover, or None."""
        x, y = max(self.x, other.x), max(self.y, other.y)
        right, bottom = min(self.right, other.right), min(self.bottom, other.bottom)
        return Rect(x, y, right - x, bottom - y) if right > x and bottom > y else None

    def to_bounds(self) -> dict[str, int]:
        """Return the form that the game-state export writes."""
        return {"x": self.x, "y": self.y, "width": self.width, "height": self.height}


@dataclass(frozen=True)
class WindowLayout:
    """The parts of the bank window or of the furnace window."""

    window: Rect
    """The whole window; clicks inside never reach the world behind."""
    title: Rect
    close: Rect
    cells: tuple[Rect, ...]
    """Item or product cells, row by row."""
    quantities: dict[str, Rect]
    """Buttons `1`, `5`, `10`, `X`, `All`."""
    deposit_inventory: Rect | None = None
    """Only in the bank."""


@dataclass(frozen=True)
class Layout:
    """Every rectangle of the screen that doesn't depend on the state."""

    frame: Rect
    viewport: Rect
    mouse_over: Rect
    """Where the hover text is written."""
    chatbox: Rect
    chat_lines: tuple[Rect, ...]
    """Top to bottom; the newest line is in the last."""
    chat_tabs: dict[str, Rect]
    dialog: Rect
    """The level-up dialog; it covers the chat box."""
    dialog_title: Rect
    dialog_text: Rect
    dialog_continue: Rect
    """`Click here to continue`."""
    side_panel: Rect
    inventory: tuple[Rect, ...]
    """28 cells, row by row."""
    skills: tuple[Rect, ...]
    """Cells of the stats tab, row by row, 3 a row."""
    tabs: dict[str, Rect]
    minimap: Rect
    minimap_radius_px: int
    minimap_px_per_tile: int
    compass: Rect
    orbs: dict[str, Rect]
    bank: WindowLayout
    furnace: WindowLayout
    menu_header_height_px: int
    menu_row_height_px: int


def load_layout() -> Layout:
    """Read `layout.json` from the package."""
    raw = json.loads(files("vlm_agent.games.ringcraft").joinpath("layout.json").read_text(encoding="utf-8"))
    menu = raw.pop("menu")
    for name, value in raw.items():
        if isinstance(value, list):
            raw[name] = Rect(*value)
    for name in ("chat_lines", "inventory", "skills"):
        raw[name] = _cells(raw[name])
    for name in ("tabs", "orbs"):
        raw[name] = {key: Rect(*value) for key, value in raw[name].items()}
    raw["chat_tabs"] = _named_row(raw["chat_tabs"])
    for name in ("bank", "furnace"):
        raw[name] = _window(raw[name])
    return Layout(**raw, menu_header_height_px=menu["header_height_px"], menu_row_height_px=menu["row_height_px"])


def _cells(grid: dict[str, Any]) -> tuple[Rect, ...]:
    (x, y), (width, height), (step_x, step_y) = grid["origin"], grid["size"], grid["pitch"]
    return tuple(
        Rect(x + step_x * column, y + step_y * row, width, height)
        for row in range(grid["rows"])
        for column in range(grid["columns"])
    )


def _named_row(row: dict[str, Any]) -> dict[str, Rect]:
    names = row["names"]
    return dict(zip(names, _cells({**row, "columns": len(names), "rows": 1}), strict=True))


def _window(raw: dict[str, Any]) -> WindowLayout:
    deposit = raw.get("deposit_inventory")
    return WindowLayout(
        window=Rect(*raw["window"]),
        title=Rect(*raw["title"]),
        close=Rect(*raw["close"]),
        cells=_cells(raw["cells"]),
        quantities=_named_row(raw["quantities"]),
        deposit_inventory=Rect(*deposit) if deposit else None,
    )


LAYOUT = load_layout()
"""The one layout; there is no other."""
