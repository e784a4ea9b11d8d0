"""What an X server's keyboard types, through its XKEYBOARD extension: symbols by group and level, and keys' places.

The core protocol tells two groups of symbols at most, and not where a key lies. python-xlib knows nothing of the
extension, so its requests are written here. A connection that uses it hears no core MappingNotify any more, so it is
one of its own. Layouts: https://www.x.org/releases/X11R7.7/doc/kbproto/xkbproto.html
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, ClassVar

from Xlib.protocol import rq

_NAME = "XKEYBOARD"
_CORE_KEYBOARD = 0x100
_NEW_KEYBOARD, _MAP = 1, 2
"""Bits of what is told: another keyboard's map, a changed map."""
_ANY_PART = 0xFF
_SYMBOLS, _KEY_NAMES = 2, 1 << 9
_REST_AT = 8
"""Bytes of a reply that python-xlib reads; the rest is read here."""
_MAP_HEAD = struct.Struct("=2xBB5xBxxB19x")
"""First and last key code, first key with symbols, how many."""
_KEY_HEAD = struct.Struct("=4xBBH")
"""Groups, levels a group, symbols."""
_NAMES_HEAD = struct.Struct("=10xBB12x")
"""First key with a name, how many."""
_GROUP_BITS, _CLAMPS, _REDIRECTS = 0xC0, 0x40, 0x80
"""What is done about a group that a key does not have; neither of the two: it is counted round."""


@dataclass(frozen=True)
class KeySymbols:
    """What one key types."""

    groups: tuple[tuple[int, ...], ...]
    """Keysyms of each group, by level; what is not there is 0 or left out."""
    beyond: int = 0
    """How a group is found that the key does not have, as the protocol writes it."""

    def in_group(self, group: int) -> tuple[int, ...]:
        """Return the symbols while a group is active, without empty places."""
        if not self.groups:
            return ()
        if group >= len(self.groups):
            if self.beyond & _GROUP_BITS == _CLAMPS:
                group = len(self.groups) - 1
            elif self.beyond & _GROUP_BITS == _REDIRECTS:
                group = self.beyond >> 4 & 3
        return tuple(symbol for symbol in self.groups[group % len(self.groups)] if symbol)


@dataclass(frozen=True)
class KeyMap:
    """All keys of a keyboard."""

    keys: dict[int, KeySymbols]
    """By key code; one without a symbol is there too."""
    places: dict[int, str]
    """Where a key lies, by key code: `AD01` is the first of the fourth row from below, the q of a US keyboard."""

    @property
    def num_groups(self) -> int:
        """The most groups that any key has."""
        return max((len(key.groups) for key in self.keys.values()), default=0)


class XkbConnection:
    """Asks for a keyboard's map and group; where the server has no such extension, the core protocol answers."""

    def __init__(self, display: Any) -> None:
        """Take a connection that hears of nothing else."""
        self._display = display
        self._raw: tuple[bytes, bytes] = (b"", b"")
        self._keymap = KeyMap({}, {})
        found = display.query_extension(_NAME)
        self._opcode = found.major_opcode if found.present else None
        if self._opcode is not None:
            _UseExtension(display=display.display, opcode=self._opcode, major=1, minor=0)
            told = _NEW_KEYBOARD | _MAP
            _SelectEvents(
                display=display.display,
                opcode=self._opcode,
                device=_CORE_KEYBOARD,
                affected=told,
                cleared=0,
                all_of=told,
                affected_parts=_ANY_PART,
                parts=_ANY_PART,
            )

    def ask_group(self) -> int:
        """Return the active group, from 0."""
        if self._opcode is None:
            self._display.sync()
            return 0
        answer = _GetState(display=self._display.display, opcode=self._opcode, device=_CORE_KEYBOARD)
        return int(bytes(answer.rest)[4])

    def take_changes(self) -> bool:
        """Return whether the map has changed since this was last asked, as far as the server's answers tell."""
        changed = False
        while self._display.pending_events():
            self._display.next_event()
            changed = True
        return changed

    def read(self) -> KeyMap:
        """Return the map as it is: the very same object as long as nothing is different.

        A change is told whenever another device than the last one is used, and then mostly nothing has changed.
        """
        info = self._display.display.info
        first, last = info.min_keycode, info.max_keycode
        if self._opcode is None:
            rows = self._display.get_keyboard_mapping(first, last - first + 1)
            # One symbol of a pair stands for both where the second is missing.
            return KeyMap({code: KeySymbols((tuple(row[:2]),)) for code, row in enumerate(rows, first)}, {})
        asked = {"display": self._display.display, "opcode": self._opcode, "device": _CORE_KEYBOARD}
        symbols = bytes(_GetMap(**asked, full=_SYMBOLS, partial=0).rest)
        names = bytes(_GetNames(**asked, which=_KEY_NAMES).rest)
        if (symbols, names) != self._raw:
            self._raw = symbols, names
            self._keymap = KeyMap(parse_symbols(symbols), parse_names(names))
        return self._keymap

    def close(self) -> None:
        """Give the connection back."""
        self._display.close()


def parse_symbols(rest: bytes) -> dict[int, KeySymbols]:
    """Return the symbols of each key code from a GetMap reply, beyond its first eight bytes."""
    _, _, first, count = _MAP_HEAD.unpack_from(rest)
    keys, at = {}, _MAP_HEAD.size
    for code in range(first, first + count):
        groups, width, size = _KEY_HEAD.unpack_from(rest, at)
        at += _KEY_HEAD.size
        symbols = struct.unpack_from(f"={size}I", rest, at)
        at += 4 * size
        rows = [symbols[start : start + width] for start in range(0, size, width)] if width else []
        keys[code] = KeySymbols(tuple(rows[: groups & 0xF]), groups)
    return keys


def parse_names(rest: bytes) -> dict[int, str]:
    """Return the place of each key code from a GetNames reply, beyond its first eight bytes."""
    first, count = _NAMES_HEAD.unpack_from(rest)
    raw = [rest[at : at + 4] for at in range(_NAMES_HEAD.size, _NAMES_HEAD.size + 4 * count, 4)]
    names = {code: name.rstrip(b"\0").decode("ascii", "replace") for code, name in enumerate(raw, first)}
    return {code: name for code, name in names.items() if name}


def _reply() -> rq.Struct:
    return rq.Struct(
        rq.ReplyCode(), rq.Card8("device"), rq.Card16("sequence_number"), rq.ReplyLength(), rq.Binary("rest")
    )


def _request(number: int, *fields: rq.Field) -> rq.Struct:
    return rq.Struct(rq.Card8("opcode"), rq.Opcode(number), rq.RequestLength(), *fields)


class _UseExtension(rq.ReplyRequest):  # type: ignore[misc]
    _request: ClassVar = _request(0, rq.Card16("major"), rq.Card16("minor"))
    _reply: ClassVar = _reply()


class _SelectEvents(rq.Request):  # type: ignore[misc]
    _request: ClassVar = _request(
        1,
        *(rq.Card16(name) for name in ("device", "affected", "cleared", "all_of", "affected_parts", "parts")),
    )


class _GetState(rq.ReplyRequest):  # type: ignore[misc]
    _request: ClassVar = _request(4, rq.Card16("device"), rq.Pad(2))
    _reply: ClassVar = _reply()


class _GetMap(rq.ReplyRequest):  # type: ignore[misc]
    _request: ClassVar = _request(8, rq.Card16("device"), rq.Card16("full"), rq.Card16("partial"), rq.Pad(18))
    _reply: ClassVar = _reply()


class _GetNames(rq.ReplyRequest):  # type: ignore[misc]
    _request: ClassVar = _request(17, rq.Card16("device"), rq.Pad(2), rq.Card32("which"))
    _reply: ClassVar = _reply()
