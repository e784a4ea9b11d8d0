"""Canonical key names and the key codes of an X server, both ways.

A key is called by its unshifted symbol, so that `a` is the key that types an a, whatever the layout. One whose symbol
has no name here (a letter of another script, an umlaut, a dead key) is called as the key in its place is on a US
keyboard, where no other key has that name; as Windows does it. Every other key has a number, `vk_<number>`. So what is
heard can be pressed again: a name leads back to one key code, and nothing is ever remapped.
"""

from __future__ import annotations

from typing import Any

from Xlib import XK

from vlm_agent.desktop.x11 import connect
from vlm_agent.desktop.xkb import KeyMap, XkbConnection
from vlm_agent.sessions.keys import FIRST_FOREIGN, KEY_CODES

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
BUTTONS = {"left": 1, "middle": 2, "right": 3, "x1": 8, "x2": 9}
"""Mouse button -> its number as a program gets it; 4 to 7 are the wheel. A person may have buttons swapped."""
_ONE_OF_A_PAIR = {f"{side}{name}": name for side in ("left", "right") for name in ("shift", "ctrl", "alt")}
"""Sides of a pair are heard as the same key, as the games and the action specs name them."""
_ALTGR = "rightalt"
"""What AltGr is heard as: pressed as `alt`, the key would be another one, with another effect."""
_ALSO = {"KP_Enter": "enter", "ISO_Level3_Shift": _ALTGR, "less": "vk_226"}
"""Other symbols of a name; `<` beside the left shift has Windows' number."""
_MEDIA = (
    *("Back", "Forward", "Reload", "Stop", "Search", "Favorites", "HomePage"),
    *("AudioMute", "AudioLowerVolume", "AudioRaiseVolume", "AudioNext", "AudioPrev", "AudioStop", "AudioPlay"),
    *("Mail", "AudioMedia", "MyComputer", "Calculator"),
)
"""Keys for which Windows has numbers, in its order from 0xA6: what was recorded there is no other key here."""
_NEVER = (
    *("PowerOff", "PowerDown", "Sleep", "Suspend", "Hibernate", "Standby", "LogOff", "ScreenSaver"),
    *("RFKill", "WLAN", "WWAN", "Bluetooth", "Ungrab", "ClearGrab"),
)
"""Keys that end the session or cut the machine off: they are heard, and never pressed."""
_ROWS = {
    "AE": (*"1234567890", "minus", "equal"),
    "AD": (*"qwertyuiop", "bracketleft", "bracketright"),
    "AC": (*"asdfghjkl", "semicolon", "apostrophe"),
    "AB": (*"zxcvbnm", "comma", "period", "slash"),
    "FK": tuple(f"f{number}" for number in range(1, 25)),
}
_PLACES: dict[str, str] = {
    **{f"{row}{column:02}": name for row, names in _ROWS.items() for column, name in enumerate(names, 1)},
    **{f"KP{digit}": f"numpad_{digit}" for digit in range(10)},
    **{"TLDE": "grave", "BKSL": "backslash", "LSGT": "vk_226", "KPDL": "numpad_decimal", "RTRN": "enter"},
    **{"RALT": _ALTGR, "LALT": "leftalt", "LFSH": "leftshift", "RTSH": "rightshift", "LCTL": "leftctrl"},
}
"""Place of a key -> canonical name of what lies there on a US keyboard."""
_TYPED = {name for row, names in _ROWS.items() if row != "FK" for name in names} | {"grave", "backslash", "vk_226"}
"""Names of which there is one key: two that type the same are two keys to a game."""
_LEVELS = 2
"""Symbols of a key that may name it: what it types alone, and with shift (digits of a French keyboard)."""
_NUMBERS = [f"vk_{number}" for number in range(1, 256) if number not in KEY_CODES.values()]
"""Names of keys without another: virtual key codes that no key of ours has; there are fewer of them than key codes."""


def _find_symbols() -> dict[int, str]:
    for group in ("korean", "xf86", "xkb"):
        XK.load_keysym_group(group)
    by_symbol = {symbol: name for name, symbol in _SYMBOLS.items()} | _ALSO
    names = {XK.string_to_keysym(symbol): name for symbol, name in by_symbol.items()}
    # What python-xlib does not know is 0, which is also what a key without a symbol types.
    names.pop(XK.NoSymbol, None)
    # Some layouts have the capital alone.
    return {ord(name.upper()): name for name in KEY_CODES if len(name) == 1} | names


_NAMES = _find_symbols()
"""Keysym -> canonical name, with its side."""
_MEDIA_NAMES = {XK.string_to_keysym(f"XF86_{symbol}"): f"vk_{number}" for number, symbol in enumerate(_MEDIA, 0xA6)}
_NEVER_PRESSED = {XK.string_to_keysym(f"XF86_{symbol}") for symbol in _NEVER}
_LEVEL3 = XK.string_to_keysym("ISO_Level3_Shift")


class KeyNames:
    """Names and key codes of one map, while one of its groups is active."""

    def __init__(self, keymap: KeyMap, group: int = 0) -> None:
        """Name every key."""
        self._keymap = keymap
        self._names: dict[int, str] = {}
        self._codes: dict[str, int] = {}
        self._name_by_symbols(group)
        first = {code: next(iter(key.in_group(group)), XK.NoSymbol) for code, key in keymap.keys.items()}
        altgrs = {code for code in self._names if first[code] == _LEVEL3}
        unnamed = [code for code in keymap.keys if code not in self._names]
        self._name_by_places(unnamed)
        # These had nothing but a number in older recordings, which leads to no other key now.
        typing = {code for code in unnamed if _PLACES.get(keymap.places.get(code, "")) in _TYPED}
        self._number({*typing, *altgrs})
        for code in unnamed:
            name = _MEDIA_NAMES.get(first[code])
            if name is not None and code not in typing and name not in self._codes:
                self._names[code], self._codes[name] = name, code
        self._number({*unnamed} - typing)
        for code, place in keymap.places.items():
            # A letter that no key types is the key in its place, whatever that types: so Latin letters are printed on
            # keyboards of other scripts.
            if len(_PLACES.get(place, "")) == 1 and code in keymap.keys:
                self._codes.setdefault(_PLACES[place], code)
        self._heard = {
            code: name if code in altgrs else _ONE_OF_A_PAIR.get(name, name) for code, name in self._names.items()
        }
        self._all = self._collect()
        self._codes = {name: code for name, code in self._codes.items() if first[code] not in _NEVER_PRESSED}

    def find_code(self, name: str) -> int | None:
        """Return the key code of a canonical name; None where this keyboard has no such key."""
        code = self._codes.get(name)
        # A key without a side is pressed on the left, where there is a left one.
        return self._codes.get(f"left{name}", self._codes.get(f"right{name}")) if code is None else code

    def find_name(self, code: int) -> str | None:
        """Return the canonical name of a key code, sides of a pair dropped; None where no name is left for it."""
        return self._heard.get(code)

    def list_names(self, code: int) -> frozenset[str]:
        """Return all that a key is called: as it is heard, as it is found, and as what is printed on a US keyboard."""
        return self._all.get(code, frozenset())

    @property
    def all_names(self) -> frozenset[str]:
        """What any key can be called."""
        return frozenset().union(*self._all.values())

    def _collect(self) -> dict[int, frozenset[str]]:
        names = {code: {name} for code, name in self._heard.items()}
        for name, code in self._codes.items():
            names[code].add(name)
        for code, place in self._keymap.places.items():
            # What no key types, the key in its place may be called by a person.
            if code in names and place in _PLACES and _PLACES[place] not in self._codes:
                names[code].add(_PLACES[place])
        return {code: frozenset(of_key) for code, of_key in names.items()}

    def _name_by_symbols(self, group: int) -> None:
        others = [other for other in range(self._keymap.num_groups) if other != group]
        # The active group goes first: a key that types `a` wins over one that types it only with another held.
        for turn in (group, *others):
            rows = {code: key.in_group(turn) for code, key in self._keymap.keys.items() if code not in self._names}
            for level in range(_LEVELS):
                self._name_by_level(rows, level, may_repeat=turn == group and level == 0)

    def _name_by_level(self, rows: dict[int, tuple[int, ...]], level: int, *, may_repeat: bool) -> None:
        taken = set(self._codes)
        for code, symbols in rows.items():
            name = _NAMES.get(symbols[level]) if level < len(symbols) else None
            if name is None or code in self._names or (name in taken and not may_repeat):
                continue
            if name in self._codes and name in _TYPED:
                continue
            self._names[code] = name
            # Of several keys of a name, the one in its own place is pressed.
            if name not in self._codes or _PLACES.get(self._keymap.places.get(code, "")) == name:
                self._codes[name] = code

    def _name_by_places(self, unnamed: list[int]) -> None:
        for code in unnamed:
            name = _PLACES.get(self._keymap.places.get(code, ""))
            if name is not None and name not in self._codes:
                self._names[code], self._codes[name] = name, code

    def _number(self, codes: set[int]) -> None:
        """Give each key a number of its own; those that have a name by now are also found by it."""
        for code in sorted(codes):
            number = _NUMBERS[code % len(_NUMBERS)]
            if number in self._codes:
                number = f"vk_{FIRST_FOREIGN + code}"
            self._codes[number] = code
            self._names.setdefault(code, number)


class KeyTable:
    """The keys of one X server, as they are; on a connection of its own."""

    def __init__(self, display: Any) -> None:
        """Read the keyboard of a connection's server.

        Raises:
            ConfigError: it lets nobody else connect.
        """
        self._xkb = XkbConnection(connect(display.get_display_name()))
        self._group = self._xkb.ask_group()
        self._keymap = KeyMap({}, {})
        self._by_group: dict[int, KeyNames] = {}
        self.reload()

    def reload(self) -> None:
        """Read the map again; to be called when the server says that it has changed."""
        # Changes that were told are taken first: one that comes while the map is read is told once more.
        self._xkb.take_changes()
        before, self._keymap = self._keymap, self._xkb.read()
        if self._keymap is not before:
            self._by_group.clear()

    def follow(self) -> None:
        """Ask the server which group is active, and read the map again where it has changed."""
        self._group = self._xkb.ask_group()
        if self._xkb.take_changes():
            self.reload()

    def in_group(self, group: int) -> KeyNames:
        """Return names and codes while a group is active."""
        if group not in self._by_group:
            self._by_group[group] = KeyNames(self._keymap, group)
        return self._by_group[group]

    def find_code(self, name: str) -> int | None:
        """Return the key code of a canonical name; None where this keyboard has no such key."""
        return self.in_group(self._group).find_code(name)

    def find_name(self, code: int) -> str | None:
        """Return the canonical name of a key code, sides of a pair dropped; None where no name is left for it."""
        return self.in_group(self._group).find_name(code)

    def list_names(self, code: int) -> frozenset[str]:
        """Return all that a key is called: as it is heard, as it is found, and as what is printed on a US keyboard."""
        return self.in_group(self._group).list_names(code)

    @property
    def all_names(self) -> frozenset[str]:
        """What any key can be called."""
        return self.in_group(self._group).all_names

    def close(self) -> None:
        """Give the connection back."""
        self._xkb.close()
