"""What a game allows: the one value that codec, schema, grammar, prompt table and validator are generated from."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, replace
from numbers import Integral
from typing import Any, Literal

from vlm_agent.errors import ConfigError

PointerKind = Literal["absolute", "relative", "none"]

EventName = Literal["CLICK", "KEY", "SCROLL", "MOVE"]

MAX_NAMES = 512
"""Keys or buttons of one spec; a keyboard has about a hundred."""

_NUMBERS = (
    *("extent_width", "extent_height", "horizon_ms", "time_unit_ms", "max_actions", "max_scroll", "max_offset"),
)
_NAME = re.compile(r"[a-z0-9_]{1,32}")


@dataclass(frozen=True)
class ActionSpec:
    """The actions one environment accepts."""

    extent_width: int
    """Absolute x runs over 0 <= x < extent_width."""
    extent_height: int
    """Absolute y runs over 0 <= y < extent_height."""
    keys: tuple[str, ...] = ()
    """Keys that may be pressed, canonical names out of a-z, 0-9 and _ (`minus`, not `-`); empty forbids KEY."""
    buttons: tuple[str, ...] = ("left", "right", "middle")
    """Mouse buttons that may be pressed; empty forbids CLICK."""
    pointer: PointerKind = "absolute"
    """How MOVE is meant; `none` forbids CLICK, SCROLL and MOVE."""
    horizon_ms: int = 600
    """Length of a window; the running sum of dt never passes it."""
    time_unit_ms: int = 10
    """dt is a multiple of this."""
    max_actions: int = 8
    """Most actions in a chunk."""
    max_scroll: int = 5
    """Most wheel notches in one SCROLL; 0 forbids SCROLL."""
    max_offset: int = 500
    """Largest relative offset; used only with a relative pointer."""
    holds: bool = True
    """Whether `state` down/up may be said (drags, chords); otherwise full presses only."""

    def __post_init__(self) -> None:
        """Raise ConfigError for a spec that can't be meant."""
        self._check_types()
        if self.extent_width < 1 or self.extent_height < 1:
            raise ConfigError(f"extent must be at least 1x1, got {self.extent_width}x{self.extent_height}")
        if self.time_unit_ms < 1 or self.horizon_ms % self.time_unit_ms:
            raise ConfigError(f"horizon_ms {self.horizon_ms} must be a multiple of time_unit_ms {self.time_unit_ms}")
        if self.max_actions < 1:
            raise ConfigError(f"max_actions must be at least 1, got {self.max_actions}")
        if len(set(self.keys)) != len(self.keys) or len(set(self.buttons)) != len(self.buttons):
            raise ConfigError("keys and buttons must not repeat")
        if self.max_scroll < 0 or self.max_offset < 1 or self.horizon_ms < 0:
            raise ConfigError("max_scroll and horizon_ms must be at least 0, max_offset at least 1")
        for name in (*self.keys, *self.buttons):
            # The codecs write names bare: a quote, a space or a dot in one would end it early.
            if not isinstance(name, str) or not _NAME.fullmatch(name):
                raise ConfigError(f"key and button names are 1 to 32 of a-z, 0-9 and _, got {name!r:.60}")

    def _check_types(self) -> None:
        for name in _NUMBERS:
            if not isinstance(getattr(self, name), Integral) or isinstance(getattr(self, name), bool):
                raise ConfigError(f"{name} must be a whole number, got {getattr(self, name)!r:.40}")
        if max(len(self.keys), len(self.buttons)) > MAX_NAMES:
            raise ConfigError(f"{len(self.keys)} keys and {len(self.buttons)} buttons: expected at most {MAX_NAMES}")

    @property
    def events(self) -> tuple[EventName, ...]:
        """The kinds of action this spec allows, in the order every table names them."""
        allowed: list[EventName] = []
        if self.pointer != "none" and self.buttons:
            allowed.append("CLICK")
        if self.keys:
            allowed.append("KEY")
        if self.pointer != "none" and self.max_scroll:
            allowed.append("SCROLL")
        if self.pointer != "none":
            allowed.append("MOVE")
        return tuple(allowed)

    def with_extent(self, width: int, height: int) -> ActionSpec:
        """Return the same spec over another coordinate extent."""
        return replace(self, extent_width=width, extent_height=height)

    def to_json(self) -> dict[str, Any]:
        """Return the plain-data form that recipes and datasets store."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> ActionSpec:
        """Rebuild a spec from `to_json`; raises ConfigError on unknown or missing fields."""
        try:
            return cls(**{**value, "keys": tuple(value["keys"]), "buttons": tuple(value["buttons"])})
        except (TypeError, KeyError) as error:
            raise ConfigError(f"not an action spec: {error}") from error
