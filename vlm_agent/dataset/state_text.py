"""A game's state as a few lines of compact text, never longer than a cap.

It reads the JSON that a game-state exporter writes each tick (the layout of IL_bot's StateExporter2, which our own
games share): player, inventory, bank, crafting window, objects near, mouse. Keys may be missing, unknown or of another
type; what can't be read is left out, and a state without anything known gives no text. Places are points to click, in
model units; items are named in the words of the goals. A simulator's `sim` block (seed, phase) is never read: it would
tell the model what no player can see.

First comes what is where, then, in the last line, how things stand: what the player does, which window is open, what is
carried. What to do next hangs on that line and where to click on the others, so each question finds its answer in one
place (decision 8).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from vlm_agent.actions.space import CoordinateSpace

MAX_BANK_ITEMS = 20
MAX_NEAR = 6
MAX_MENU_ROWS = 8
MAX_WORDS_CHARS = 40
"""Longest name or phrase taken from a state."""
PLENTY = 100
"""A bank's stack of so many or more is not counted: it lasts."""

_FAR = 1e6
"""Numbers beyond this are no pixel and no quantity."""
_SMELTING_ANIMATION = 899
"""The animation of crafting at a furnace (RuneLite's AnimationID)."""
_POINT_KEYS = (("canvasX", "canvasY"), ("minimapX", "minimapY"))
"""How a place is written in a state, other than as a rectangle's `x`, `y`, `width` and `height`."""
_TAGS = re.compile(r"<[^<>]*>")


class _Line(NamedTuple):
    usefulness: int
    """Lines with less go first when the text is too long."""
    head: str
    items: list[str]
    """Separated by `; `; the last goes first."""

    def render(self) -> str:
        return f"{self.head}{'; '.join(self.items)}"


@dataclass(frozen=True)
class _Reader:
    """Reads values that may be anything, and writes places."""

    space: CoordinateSpace

    def place(self, thing: Any) -> str:
        """Return ` @x,y` for where to click a thing, or nothing where it can't be seen."""
        point = _canvas_point(thing)
        box = _get(thing, "clickbox")
        # Some exporters give the canvas point of the tile, which may lie beside what stands on it.
        if box is not None and not (point and _is_inside(point, box)):
            point = _centre(box)
        if point is None:
            point = _centre(_get(thing, "bounds"))
        if point is None:
            return ""
        x, y = self.space.to_model(*point)
        return f" @{x},{y}"

    def minimap_place(self, thing: Any) -> str:
        """Return ` @x,y` for where a thing is on the minimap, or nothing where it is beyond its rim."""
        x, y = _number(_get(thing, "minimapX")), _number(_get(thing, "minimapY"))
        return "" if x is None or y is None else " @{},{}".format(*self.space.to_model(x, y))


def render_state(state: Mapping[str, Any], space: CoordinateSpace, max_chars: int) -> str:
    """Return the state as text of at most `max_chars` characters, the least useful left out first.

    The same state gives the same text; nothing in it can make this raise.

    Args:
        state: one exported game state; empty where there is none.
        space: geometry between the captured frame (the state's canvas) and the model.
        max_chars: hard cap; 0 gives no text.
    """
    reader = _Reader(space)
    lines = [line for section in _SECTIONS for line in section(state, reader)]
    while lines and len(_join(lines)) > max_chars:
        least = min(lines, key=lambda line: line.usefulness)
        if len(least.items) > 1:
            least.items.pop()
        else:
            lines.remove(least)
    return _join(lines)


def crop_state(state: Mapping[str, Any], box: tuple[int, int, int, int]) -> dict[str, Any]:
    """Return a state as it is where only a part of the canvas is seen: places count from there, others are left out.

    Args:
        state: one exported game state; it is not changed.
        box: left, top, width and height of that part, in pixels of the canvas.
    """
    cropped: dict[str, Any] = _crop(state, box)
    return cropped


def _crop(value: Any, box: tuple[int, int, int, int]) -> Any:
    if isinstance(value, list):
        return [_crop(item, box) for item in value]
    if not isinstance(value, Mapping):
        return value
    moved = {key: _crop(item, box) for key, item in value.items()}
    for across, down in _POINT_KEYS:
        x, y = _number(value.get(across)), _number(value.get(down))
        if x is None or y is None or min(x, y) < 0:
            continue
        if _is_seen(x, y, box):
            moved |= {across: value[across] - box[0], down: value[down] - box[1]}
        else:
            del moved[across], moved[down]
    centre = _centre(value)
    if centre is None:
        return moved
    return {**moved, "x": value["x"] - box[0], "y": value["y"] - box[1]} if _is_seen(*centre, box) else None


def _is_seen(x: float, y: float, box: tuple[int, int, int, int]) -> bool:
    left, top, width, height = box
    return left <= x < left + width and top <= y < top + height


def _join(lines: list[_Line]) -> str:
    return "\n".join(line.render() for line in lines)


def _inventory(state: Mapping[str, Any], reader: _Reader) -> Iterator[_Line]:
    places: dict[str, str] = {}
    for slot in _dicts(_get(state, "inventory", "slots")):
        name, place = _item_name(slot), reader.place(slot)
        if name and place:
            places.setdefault(name, place)
    # The place follows the name at once: what a model looks up by name it then copies from the next tokens.
    if places:
        yield _Line(80, "inv: ", [f"{name}{place}" for name, place in places.items()])


def _bank(state: Mapping[str, Any], reader: _Reader) -> Iterator[_Line]:
    if not _is_bank_open(state):
        return
    slots = [slot for slot in _dicts(_get(state, "bank", "slots")) if _item_name(slot)]
    # Of a large bank the big stacks are shown: those are what a player works with.
    most = sorted(range(len(slots)), key=lambda i: (-_quantity(slots[i]), i))[:MAX_BANK_ITEMS]
    yield _Line(90, "bank: ", [_describe_stack(slots[i], reader) for i in sorted(most)] or ["empty"])
    yield from _widgets(_get(state, "bank_widgets"), "bank buttons: ", reader)


def _describe_stack(slot: Mapping[str, Any], reader: _Reader) -> str:
    quantity = _quantity(slot)
    return f"{_item_name(slot)}{reader.place(slot)}" + (f" x{quantity}" if quantity < PLENTY else "")


def _crafting_window(state: Mapping[str, Any], reader: _Reader) -> Iterator[_Line]:
    if _is_furnace_open(state):
        yield from _widgets(_get(state, "crafting_widgets"), "furnace window: ", reader)


def _widgets(widgets: Any, head: str, reader: _Reader) -> Iterator[_Line]:
    if not isinstance(widgets, Mapping):
        return
    items = []
    for key, widget in widgets.items():
        name, place = _words(str(key).replace("_", " ")), reader.place(widget)
        if name and place and name != "crafting interface":
            items.append(f"{name.removeprefix('quantity ')}{place}")
    if items:
        yield _Line(90, head, items)


def _dialog(state: Mapping[str, Any], reader: _Reader) -> Iterator[_Line]:
    place = reader.place(_get(state, "levelUpDialog", "continue"))
    if place:
        yield _Line(95, "dialog: ", [f"continue{place}"])


def _menu(state: Mapping[str, Any], _: _Reader) -> Iterator[_Line]:
    if _get(state, "menuOpen") is True:
        rows = [
            f"{_words(row.get('option'))} {_words(row.get('target'))}" for row in _dicts(_get(state, "menuEntries"))
        ]
        yield _Line(85, "menu: ", [row.strip() for row in rows[:MAX_MENU_ROWS]] or ["empty"])


def _tab(state: Mapping[str, Any], reader: _Reader) -> Iterator[_Line]:
    tab = _words(_get(state, "tabs", "currentTab"))
    if tab and tab != "inventory":
        place = reader.place({"bounds": _get(state, "tabs", "bounds", "inventory")})
        yield _Line(65, "tab: ", [tab, f"inventory{place}"] if place else [tab])


def _near(state: Mapping[str, Any], reader: _Reader) -> Iterator[_Line]:
    if _is_bank_open(state) or _is_furnace_open(state):
        return  # a window covers the world: what is on it matters now
    found: dict[str, tuple[bool, bool, float, str]] = {}
    for key in ("closestGameObjects", "closestNPCs"):
        for thing in _dicts(_get(state, key)):
            name, place = _words(thing.get("name")), reader.place(thing)
            # One of a name is enough: the nearest that can be seen, else the nearest on the minimap.
            here = (not place, key == "closestNPCs", _distance(thing), place or reader.minimap_place(thing))
            if name and here[3]:
                found[name] = min(found.get(name, here), here)
    nearest = sorted(found.items(), key=lambda item: (item[1], item[0]))
    for is_hidden, useful, head in ((False, 60, "near: "), (True, 55, "on the minimap: ")):
        shown = [(name, far, place) for name, (hidden, _, far, place) in nearest if hidden == is_hidden][:MAX_NEAR]
        if shown:
            yield _Line(
                useful, head, [f"{name}{place}" + (f" {int(far)}" if far < _FAR else "") for name, far, place in shown]
            )


def _mouse(state: Mapping[str, Any], reader: _Reader) -> Iterator[_Line]:
    place = reader.place(_get(state, "mouse")).strip()
    over = _words(_get(state, "hoverText")).partition(" / ")[0]
    if place:
        yield _Line(50, f"mouse {place}", [f' over "{over}"' if over else ""])


def _level(state: Mapping[str, Any], _: _Reader) -> Iterator[_Line]:
    level = _number(_get(state, "skills", "craftingLevel"))
    if level is not None:
        yield _Line(40, "level ", [str(int(level))])


def _chat(state: Mapping[str, Any], _: _Reader) -> Iterator[_Line]:
    lines = _get(state, "chat")
    last = _words(lines[-1]) if isinstance(lines, list) and lines else ""
    if last:
        yield _Line(30, "chat: ", [last])


def _now(state: Mapping[str, Any], reader: _Reader) -> Iterator[_Line]:
    items = [*_activity(state), *_open_windows(state, reader), *_belongings(state)]
    if items:
        yield _Line(99, "now: ", items)


def _activity(state: Mapping[str, Any]) -> Iterator[str]:
    player = _get(state, "player")
    animation = _number(_get(player, "animation"))
    if animation is None:
        return
    if animation == _SMELTING_ANIMATION:
        yield "crafting"
    elif _get(player, "isMoving") is True:
        yield "moving"
    else:
        yield "idle" if animation == -1 else "busy"


def _open_windows(state: Mapping[str, Any], reader: _Reader) -> Iterator[str]:
    windows = {
        "bank": _is_bank_open(state),
        "furnace window": _is_furnace_open(state),
        "dialog": bool(reader.place(_get(state, "levelUpDialog", "continue"))),
        "menu": _get(state, "menuOpen") is True,
    }
    if any(windows.values()):
        yield from (f"{name} open" for name, is_open in windows.items() if is_open)
    elif _get(state, "bank", "bankOpen") is False or _get(state, "craftingInterfaceOpen") is False:
        yield "no window"
    widgets = _get(state, "bank_widgets" if windows["bank"] else "crafting_widgets")
    quantity = _words(_get(widgets, "quantity"))
    if quantity and (windows["bank"] or windows["furnace window"]):
        yield f"quantity {quantity}"
    tab = _words(_get(state, "tabs", "currentTab"))
    if tab and tab != "inventory":
        yield f"{tab} tab"


def _belongings(state: Mapping[str, Any]) -> Iterator[str]:
    counts: dict[str, int] = {}
    selected = _get(state, "inventory", "selectedSlot")
    for slot in _dicts(_get(state, "inventory", "slots")):
        name = _item_name(slot)
        if name:
            counts[name] = counts.get(name, 0) + _quantity(slot)
            if selected is not None and slot.get("slotId") == selected:
                yield f"{name} selected"
    free = _number(_get(state, "inventory", "emptySlots"))
    if not counts and free is None:
        return
    first, *rest = [f"{name} {count}" for name, count in counts.items()] or ["nothing"]
    yield from (f"have {first}", *rest)
    if free is not None:
        yield f"free {int(free)}"


_SECTIONS: tuple[Callable[[Mapping[str, Any], _Reader], Iterator[_Line]], ...] = (
    _inventory,
    _bank,
    _crafting_window,
    _dialog,
    _menu,
    _tab,
    _near,
    _mouse,
    _level,
    _chat,
    _now,
)
"""What is shown, in the order of the text."""


def _is_bank_open(state: Mapping[str, Any]) -> bool:
    return _get(state, "bank", "bankOpen") is True


def _is_furnace_open(state: Mapping[str, Any]) -> bool:
    return _get(state, "craftingInterfaceOpen") is True


def _get(value: Any, *path: str) -> Any:
    for key in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value


def _dicts(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _number(value: Any) -> float | None:
    # JSON written by others may hold NaN, and `True` is a number to Python.
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < _FAR and math.isfinite(value) else None


def _words(value: Any) -> str:
    if not isinstance(value, str):
        return ""
    plain = _TAGS.sub("", value).replace(";", " ").replace('"', " ")
    return " ".join(plain.split()).lower()[:MAX_WORDS_CHARS].strip()


def _item_name(slot: Mapping[str, Any]) -> str:
    return "" if slot.get("itemId") == -1 else _words(slot.get("itemName"))


def _quantity(slot: Mapping[str, Any]) -> int:
    quantity = _number(slot.get("quantity"))
    return 1 if quantity is None else int(quantity)


def _distance(thing: Mapping[str, Any]) -> float:
    distance = _number(thing.get("distance"))
    return _FAR if distance is None else distance


def _centre(bounds: Any) -> tuple[float, float] | None:
    x, y, width, height = (_number(_get(bounds, key)) for key in ("x", "y", "width", "height"))
    if x is None or y is None or width is None or height is None:
        return None
    return x + width / 2, y + height / 2


def _is_inside(point: tuple[float, float], bounds: Any) -> bool:
    centre = _centre(bounds)
    if centre is None:
        return True
    return abs(point[0] - centre[0]) * 2 <= bounds["width"] and abs(point[1] - centre[1]) * 2 <= bounds["height"]


def _canvas_point(thing: Any) -> tuple[float, float] | None:
    x, y = _number(_get(thing, "canvasX")), _number(_get(thing, "canvasY"))
    # Exporters write -1 for what is not on the canvas.
    return (x, y) if x is not None and y is not None and min(x, y) >= 0 else None
