"""Keys whose press and release are logged by different characters.

pynput writes a key as the character that it types at that moment, so a German player's Shift+2 is pressed as `"` and,
where Shift comes up first, released as `2`. One look over a log finds such pairs: a character comes up that never went
down, while another one is down that went down under other modifiers and never comes up itself. Both are one key from
then on. What a layout's number row types is known; where the pairs fit such layouts only, its other signs follow.
"""

from __future__ import annotations

from dataclasses import dataclass

from vlm_agent.importing.key_names import from_pynput, only_character
from vlm_agent.sessions.keys import SIGN_NAMES

_NUMBER_ROWS = (
    ")!@#$%^&*(",  # US
    '=!"§$%&/()',  # German
    ')!"£$%^&*(',  # UK
    '=!"#¤%&/()',  # Nordic
    '=!"·$%&/()',  # Spanish
    '=!"£$%&/()',  # Italian
    '=!"#$%&/()',  # Portuguese
    "à&é\"'(-è_ç",  # French, where digits are typed with Shift
    "à&é\"'(§è!ç",  # Belgian
    '=+"*ç%&/()',  # Swiss
)
"""What the keys 0 to 9 of a layout type beside their digits."""
_MODIFIERS = ("shift", "leftshift", "rightshift", "rightalt", "alt", "leftctrl", "ctrl", "rightctrl")
_OTHER_KEYS = {
    frozenset("<>"): "vk_226",  # between shift and z, where US keyboards have no key
    frozenset("#~"): "backslash",
}
"""Two signs of one key that are on two keys of a US keyboard."""
_MOST_LOST = 100_000


@dataclass(frozen=True)
class KeyPairs:
    """What a log tells of its keys."""

    names: dict[str, str]
    """Of characters of another layout than the US one: their key, empty for one that has no name."""
    pairs: tuple[tuple[str, str], ...]
    """Characters of one key each that are on two keys of a US keyboard, as they were pressed and released."""
    lost: tuple[tuple[float, str, float | None], ...]
    """Last press of a key whose release is missing, how it is written, and its next press, None where there is none."""
    holds: tuple[float, ...]
    """How long keys were down."""

    def name(self, text: str) -> str | None:
        """Return the canonical name of a key as pynput prints it, None where it has none."""
        character = only_character(text)
        return (self.names[character] or None) if character in self.names else from_pynput(text)


NO_PAIRS = KeyPairs({}, (), (), ())


@dataclass
class _Press:
    time: float
    text: str
    modifiers: frozenset[str]
    first: float

    @property
    def character(self) -> str:
        return only_character(self.text) or ""


class PairFinder:
    """Looks at the keys of a whole log, row by row."""

    def __init__(self) -> None:
        """Begin with nothing down."""
        self._down: dict[str, _Press] = {}
        self._claims: dict[str, tuple[str, bool]] = {}
        """Of a key that is down: which character came up in its place, and whether it went down with more modifiers."""
        self._found: dict[tuple[str, str], bool] = {}
        self._lost: list[tuple[float, str, float | None]] = []
        self._holds: list[float] = []

    def see(self, time: float, text: str, *, pressed: bool) -> None:
        """Take note of a key that went down or came up."""
        character = only_character(text) or ""
        key = character if character.isprintable() and character else from_pynput(text) or text
        if pressed:
            self._press(time, text, key)
        elif key in self._down:
            self._claims.pop(key, None)  # it came up by itself: nothing came up in its place
            self._holds.append(time - self._down.pop(key).first)
        else:
            self._release_of_another(only_character(text) or "")

    def finish(self) -> KeyPairs:
        """Return what was found."""
        for key in list(self._claims):
            self._confirm(key)
        for press in self._down.values():
            self._lose(press, None)
        names = _name_pairs(self._found)
        foreign = [pair for pair in self._found if from_pynput(pair[0]) != from_pynput(pair[1])]
        return KeyPairs(names, tuple(foreign), tuple(self._lost), tuple(self._holds))

    def _press(self, time: float, text: str, key: str) -> None:
        self._confirm(key)
        for other, (came_up, _) in list(self._claims.items()):
            if came_up == only_character(text):
                self._confirm(other)
        before = self._down.get(key)
        if before is not None:
            self._lose(before, time)
        first = time if before is None else before.first
        self._down[key] = _Press(time, text, self._modifiers(), first)

    def _release_of_another(self, character: str) -> None:
        now = self._modifiers()
        waiting = [
            (key, press)
            for key, press in self._down.items()
            if key not in self._claims and press.modifiers != now and _may_be_one_key(press.character, character)
        ]
        if len(waiting) == 1:
            ((key, press),) = waiting
            self._claims[key] = (character, bool(press.modifiers - now))

    def _confirm(self, key: str) -> None:
        claim = self._claims.pop(key, None)
        if claim is not None:
            came_up, is_shifted = claim
            self._found[self._down.pop(key).character, came_up] = is_shifted

    def _lose(self, press: _Press, until: float | None) -> None:
        if len(self._lost) < _MOST_LOST:
            self._lost.append((press.time, press.text, until))

    def _modifiers(self) -> frozenset[str]:
        return frozenset(key for key in self._down if key in _MODIFIERS)


def describe_pairs(pairs: KeyPairs) -> str:
    """Return in words which characters are one key."""
    told = [f"{down!r} and {up!r} are {pairs.name(down) or 'no key that has a name'}" for down, up in pairs.pairs[:5]]
    return "not the US one: " + ", ".join(told)


def _may_be_one_key(one: str, other: str) -> bool:
    if not one or not other or one == other:
        return False
    # No layout has two letters or digits of ASCII on one key.
    return not (_is_plain(one) and _is_plain(other))


def _is_plain(character: str) -> bool:
    return character.isascii() and character.isalnum()


def _name_pairs(found: dict[tuple[str, str], bool]) -> dict[str, str]:
    names: dict[str, str] = {}
    for (down, up), is_shifted in found.items():
        base, shifted = (up, down) if is_shifted else (down, up)
        names[base] = names[shifted] = names.get(base) or names.get(shifted) or _name_pair(base, shifted)
    digits = {(character, name) for character, name in names.items() if name.isdigit() and character != name}
    fitting = [row for row in _NUMBER_ROWS if digits and all(row[int(digit)] == sign for sign, digit in digits)]
    for digit in "0123456789":
        signs = {row[int(digit)] for row in fitting}
        if len(signs) == 1:
            names.setdefault(signs.pop(), digit)
    return names


def _name_pair(base: str, shifted: str) -> str:
    for character in (base, shifted):
        if _is_plain(character):
            return character
    other = _OTHER_KEYS.get(frozenset((base, shifted)))
    if other is not None:
        return other
    for character in (base, shifted):
        if character in SIGN_NAMES:
            return SIGN_NAMES[character]
    # A sign that a US keyboard types with a digit is on no digit here.
    names = (from_pynput(character) for character in (base, shifted))
    return next((name for name in names if name is not None and not name.isdigit()), "")
