"""What must not be done even where the spec allows it; plain values that a person can write down.

All positions are pixels of the captured frame. The rules know nothing of models or games.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

from vlm_agent.errors import ConfigError, DataError
from vlm_agent.sessions.keys import key_code, key_name

_MODIFIERS = {
    "shift": ("shift",),
    "ctrl": ("ctrl", "control", "ctl"),
    "alt": ("alt", "option", "altgr", "alt_gr", "iso_level3_shift"),
    "super": ("super", "win", "windows", "meta", "cmd", "command", "gui"),
}
"""How each modifier is written in denied combinations, and what other programs call it."""


def _spell_modifiers() -> Iterator[tuple[str, str]]:
    for plain, names in _MODIFIERS.items():
        for name in names:
            yield name, plain
            for side in ("left", "right"):
                for spelled in (f"{side}{name}", f"{side}_{name}", f"{name}{side}", f"{name}_{side}"):
                    yield spelled, plain
                for spelled in (f"{side[0]}{name}", f"{name}_{side[0]}"):
                    yield spelled, plain


_PLAIN = dict(_spell_modifiers()) | {"del": "delete", "esc": "escape", "return": "enter"}


def plain_key(name: str) -> str:
    """Return a key's name as combinations write it: without its side, its case, or another program's name for it."""
    name = name.strip().lower()
    # A key may also be named by its code (`vk_162`) or by the sign it types.
    with suppress(DataError):
        name = key_name(key_code(name))
    return _PLAIN.get(name, name)


def is_combo_down(combos: Iterable[frozenset[str]], down: Iterable[str]) -> bool:
    """Return whether any combination is among the keys that are down, whichever their sides and names."""
    plain = {plain_key(name) for name in down}
    return any({plain_key(name) for name in combo} <= plain for combo in combos)


class Refusal(StrEnum):
    """Why a parsed chunk was not executed; the list is closed, so that counts can be compared."""

    OUT_OF_SPEC = "out_of_spec"
    """The chunk breaks the action spec."""
    REGION_DENIED = "region_denied"
    """A press, a wheel turn or a drag touches a denied region."""
    COMBO_DENIED = "combo_denied"
    """Keys would be held together that must not be."""
    RATE_EXCEEDED = "rate_exceeded"
    """More actions within a second than allowed."""


@dataclass(frozen=True, slots=True)
class Region:
    """A half-open rectangle of the frame."""

    left_px: int
    """First column."""
    top_px: int
    """First row."""
    right_px: int
    """First column beyond."""
    bottom_px: int
    """First row beyond."""

    def __post_init__(self) -> None:
        """Raise ConfigError for an empty rectangle: it would deny nothing, silently."""
        if self.left_px >= self.right_px or self.top_px >= self.bottom_px:
            raise ConfigError(f"a denied region must have an area, got {self}")

    def contains(self, x_px: int, y_px: int) -> bool:
        """Return whether a pixel lies inside."""
        return self.left_px <= x_px < self.right_px and self.top_px <= y_px < self.bottom_px


DANGEROUS_COMBOS = (
    frozenset({"alt", "f4"}),
    frozenset({"alt", "tab"}),
    frozenset({"ctrl", "alt", "delete"}),
    frozenset({"ctrl", "q"}),
    frozenset({"ctrl", "w"}),
    frozenset({"super"}),
    frozenset({"win"}),
)
"""Keys that leave or close a program; denied unless rules say otherwise. Either side of a modifier counts."""


@dataclass(frozen=True)
class SafetyRules:
    """Limits on what may be executed."""

    denied_regions: tuple[Region, ...] = ()
    """Parts of the frame that may not be clicked or scrolled on (a logout button, say)."""
    denied_combos: tuple[frozenset[str], ...] = DANGEROUS_COMBOS
    """Sets of keys that may not be held together; a set of one denies that key."""
    max_actions_per_s: int = 30
    """Most actions within any one second, moves included."""
    max_presses_per_s: int = 12
    """Most clicks and keys within any one second."""

    def __post_init__(self) -> None:
        """Raise ConfigError for limits that allow nothing."""
        if min(self.max_actions_per_s, self.max_presses_per_s) < 1:
            raise ConfigError("max_actions_per_s and max_presses_per_s must be at least 1")
