"""Keys that steer the recorder from anywhere: never recorded themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from vlm_agent.actions.events import KeyChanged
from vlm_agent.errors import ConfigError
from vlm_agent.recording.stream import KeyHeard, identify
from vlm_agent.sessions.keys import KEY_CODES

HotkeyAction = Literal["start", "stop", "goal", "discard"]

_MODIFIERS = ("shift", "ctrl", "alt")
_MODIFIER_OF = {f"{side}{name}": name for side in ("", "left", "right") for name in _MODIFIERS}
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
        self._held: dict[tuple[str, int | str], str] = {}
        """Modifiers that are down, by key: of two shifts, one may be let go."""
        self._swallowed: set[tuple[str, int | str]] = set()

    def check(self, hears: Callable[[str], bool]) -> None:
        """Raise ConfigError for a key that this keyboard does not have; `hears` tells of a name whether it has it."""
        for hotkey, action in self._actions.items():
            for name in (*sorted(hotkey.modifiers), hotkey.key):
                if not hears(name):
                    raise ConfigError(
                        f"--hotkey-{action}: this keyboard has no key {name}; give one that it has, such as f10, or"
                        " none"
                    )

    def hear(self, event: KeyChanged) -> Heard:
        """Return what a key is to the hotkeys; a held one asks once."""
        which = identify(event)
        modifier = _MODIFIER_OF.get(event.key)
        if event.pressed and modifier is not None:
            self._held[which] = modifier
        elif not event.pressed and self._held.pop(which, None) is not None:
            modifier = event.key
        if modifier is not None:
            return Heard(is_hotkey=False, action=None)
        if which in self._swallowed:
            if not event.pressed:
                self._swallowed.discard(which)
            return Heard(is_hotkey=True, action=None)
        action = self._find_action(event) if event.pressed else None
        if action is not None:
            self._swallowed.add(which)
        return Heard(is_hotkey=action is not None, action=action)

    def _find_action(self, event: KeyChanged) -> HotkeyAction | None:
        modifiers = frozenset(self._held.values())
        names = {event.key} | (event.names if isinstance(event, KeyHeard) else set())
        found = (self._actions.get(Hotkey(name, modifiers)) for name in sorted(names))
        return next((action for action in found if action is not None), None)
