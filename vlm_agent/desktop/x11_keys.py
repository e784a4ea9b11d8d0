"""Canonical key names and the key codes of an X server, both ways.

The table is read once from the server's keyboard map: a key is looked up by its unshifted symbol, so that `a` is the
key that types an a, whatever the layout, and no key is ever remapped.
"""

from __future__ import annotations

from typing import Any

from Xlib import XK

from vlm_agent.sessions.keys import KEY_CODES

_SYMBOLS: dict[str, str] = {
    "backspace": "BackSpace",
    "tab": "Tab",
    "clear": "Clear",
    "enter": "Return",
    "pause": "Pause",
    "capslock": "Caps_Lock",
    "hangul": "Hangul",
    "escape": "Escape",
    "space": "space",
    "pageup": "Page_Up",
    "pagedown": "Page_Down",
    "end": "End",
    "home": "Home",
    "left": "Left",
    "up": "Up",
    "right": "Right",
    "down": "Down",
    "printscreen": "Print",
    "insert": "Insert",
    "delete": "Delete",
    "leftmeta": "Super_L",
    "rightmeta": "Super_R",
    "menu": "Menu",
    "numpad_multiply": "KP_Multiply",
    "numpad_add": "KP_Add",
    "numpad_subtract": "KP_Subtract",
    "numpad_decimal": "KP_Decimal",
    "numpad_divide": "KP_Divide",
    "numlock": "Num_Lock",
    "scrolllock": "Scroll_Lock",
    "leftshift": "Shift_L",
    "rightshift": "Shift_R",
    "leftctrl": "Control_L",
    "rightctrl": "Control_R",
    "leftalt": "Alt_L",
    "rightalt": "Alt_R",
    **{
        name: name
        for name in (
            "semicolon",
            "equal",
            "comma",
            "minus",
            "period",
            "slash",
            "grave",
            "bracketleft",
            "backslash",
            "bracketright",
            "apostrophe",
        )
    },
    **{f"numpad_{digit}": f"KP_{digit}" for digit in range(10)},
    **{f"f{number}": f"F{number}" for number in range(1, 25)},
    **{name: name for name in KEY_CODES if len(name) == 1 and name.isalnum()},
}
_SIDES = {"shift": "leftshift", "ctrl": "leftctrl", "alt": "leftalt"}
"""A key without a side is pressed on the left."""
_ONE_OF_A_PAIR = {f"{side}{name}": name for side in ("left", "right") for name in _SIDES}
"""Sides of a pair are heard as the same key, as the games and the action specs name them."""
_HEARD_AS = {"KP_Enter": "enter", "ISO_Level3_Shift": "alt", "less": "vk_226"}
"""Keys that are heard under a name but pressed by another key, or, `<` beside the left shift, by none."""
_GROUP_LEVELS = 4
"""Symbols a key that are looked at: two levels of two groups."""


class KeyTable:
    """The keys of one X server."""

    def __init__(self, display: Any) -> None:
        """Read the keyboard map of a connection."""
        first, last = display.display.info.min_keycode, display.display.info.max_keycode
        rows = display.get_keyboard_mapping(first, last - first + 1)
        XK.load_keysym_group("korean")
        names = {XK.string_to_keysym(symbol): name for name, symbol in _SYMBOLS.items()}
        self._codes: dict[str, int] = {}
        self._names: dict[int, str] = {}
        # Unshifted symbols go first: a key that types `a` wins over one that types it only with another held.
        for level in range(_GROUP_LEVELS):
            for code, row in enumerate(rows, start=first):
                name = names.get(row[level]) if level < len(row) else None
                if name is not None:
                    self._codes.setdefault(name, code)
                    self._names.setdefault(code, name)
        heard_as = {XK.string_to_keysym(symbol): name for symbol, name in _HEARD_AS.items()}
        for code, row in enumerate(rows, start=first):
            if row[0] in heard_as:
                self._names.setdefault(code, heard_as[row[0]])

    def find_code(self, name: str) -> int | None:
        """Return the key code of a canonical name; None where this keyboard has no such key."""
        return self._codes.get(_SIDES.get(name, name))

    def find_name(self, code: int) -> str | None:
        """Return the canonical name of a key code, sides of a pair dropped; None where it has none."""
        name = self._names.get(code)
        return None if name is None else _ONE_OF_A_PAIR.get(name, name)
