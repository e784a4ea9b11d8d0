"""Keys that steer the recorder from anywhere: never recorded themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from vlm_agent.actions.events import KeyChanged
from vlm_agent.errors import ConfigError
from vlm_agent.sessions.keys import KEY_CODES

HotkeyAction = Literal["start", "stop", "goal", "discard"]

_MODIFIERS = ("shift", "ctrl", "alt")
_NO_KEY = "none"


@dataclass(frozen=True, slots=True)
class Hotkey:
    """A key, with modifiers that must be held with it."""

    key: str
    """Canonical name."""
    modifiers: frozenset[str] = frozenset()
    """Some of shift, ctrl and alt."""


class Heard(NamedTuple):
    """What a key was to the hotkeys."""

    is_hotkey: bool
    """It is one of them, so it is not recorded."""
    action: HotkeyAction | None
    """What it asks for; only its press asks."""


def parse_hotkey(text: str, flag: str) -> Hotkey | None:
    """Return the hotkey of a text such as `f10` or `ctrl+shift+f9`; None for `none`.

    Raises:
        ConfigError: it names no key.
    """
    *modifiers, key = text.lower().split("+")
    if text.lower() == _NO_KEY:
        return None
    if key not in KEY_CODES or key in _MODIFIERS or not set(modifiers) <= set(_MODIFIERS):
        raise ConfigError(f"{flag} expects a key such as f10 or ctrl+shift+f9, or none; got {text!r}")
    return Hotkey(key, frozenset(modifiers))


class Hotkeys:
    """Listens to every key, wherever it is typed."""

    def __init__(self, hotkeys: Mapping[HotkeyAction, Hotkey | None]) -> None:
        """Take what each action's key is.

        Raises:
            ConfigError: two actions have the same key.
        """
        self._actions: dict[Hotkey, HotkeyAction] = {}
        for action, hotkey in hotkeys.items():
            if hotkey is None:
                continue
            if hotkey in self._actions:
                raise ConfigError(
                    f"--hotkey-{action} and --hotkey-{self._actions[hotkey]} are the same key; change one"
                )
            self._actions[hotkey] = action
        self._held: set[str] = set()
        self._swallowed: set[str] = set()

    def hear(self, event: KeyChanged) -> Heard:
        """Return what a key is to the hotkeys; a held one asks once."""
        if event.key in _MODIFIERS:
            (self._held.add if event.pressed else self._held.discard)(event.key)
            return Heard(is_hotkey=False, action=None)
        if event.key in self._swallowed:
            if not event.pressed:
                self._swallowed.discard(event.key)
            return Heard(is_hotkey=True, action=None)
        action = self._actions.get(Hotkey(event.key, frozenset(self._held))) if event.pressed else None
        if action is not None:
            self._swallowed.add(event.key)
        return Heard(is_hotkey=action is not None, action=action)
