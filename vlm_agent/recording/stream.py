"""What devices and windows tell a recorder, in the order in which it happened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from vlm_agent.actions.events import ButtonChanged, InputEvent, KeyChanged
from vlm_agent.actions.placement import Rect
from vlm_agent.sessions.types import RawMotion

Focus = Literal["inside", "outside", "pointer"]
"""Whether keys go to the recorded window, to another, or to whichever window the pointer is in."""


@dataclass(frozen=True, slots=True)
class KeyHeard(KeyChanged):
    """A key of a device: several may have one name, and one may have another name after the layout has changed."""

    code: int = 0
    """Which key it is, as the system counts them."""
    names: frozenset[str] = frozenset()
    """All that it is called, where that is more than the name it is recorded under."""


@dataclass(frozen=True, slots=True)
class ButtonHeard(ButtonChanged):
    """A mouse button of a device; those without a name are told apart as well."""

    code: int = 0
    """Which button it is, as the system counts them."""


@dataclass(frozen=True, slots=True)
class FocusChanged:
    """Keys go elsewhere from now on."""

    t_ns: int
    """Time on the session's clock, nanoseconds."""
    focus: Focus
    """Where to."""


@dataclass(frozen=True, slots=True)
class WindowMoved:
    """The recorded window has another place or size."""

    t_ns: int
    """Time on the session's clock, nanoseconds."""
    rect: Rect
    """Its client area on the screen, device pixels."""


@dataclass(frozen=True, slots=True)
class WindowShown:
    """The recorded window can be seen from now on, or can't: minimised, or on another desktop."""

    t_ns: int
    """Time on the session's clock, nanoseconds."""
    is_visible: bool
    """Whether it can."""


@dataclass(frozen=True, slots=True)
class WindowClosed:
    """The recorded window is gone."""

    t_ns: int
    """Time on the session's clock, nanoseconds."""
    reason: str = "the window was closed"
    """Why, and what to do, for a person."""


@dataclass(frozen=True, slots=True)
class WindowReplaced:
    """The recorded window was closed, and its program made it anew: the new one is recorded."""

    t_ns: int
    """Time on the session's clock, nanoseconds."""


@dataclass(frozen=True, slots=True)
class ScreenChanged:
    """The screen has another size from now on."""

    t_ns: int
    """Time on the session's clock, nanoseconds."""
    screen: Rect
    """All of it, device pixels."""


def identify(event: KeyChanged | ButtonChanged) -> tuple[str, int | str]:
    """Return which key or button it is: by its code, where a device told it; else by its name."""
    kind, name = ("key", event.key) if isinstance(event, KeyChanged) else ("button", event.button)
    return kind, event.code if isinstance(event, KeyHeard | ButtonHeard) else name


WindowItem = FocusChanged | WindowMoved | WindowShown | WindowClosed | WindowReplaced | ScreenChanged
DeviceItem = InputEvent | RawMotion | WindowItem
"""Points of input events are on the screen here, in units of pointer events."""


class DeviceSource(Protocol):
    """The devices and windows of one desktop; used by one thread."""

    @property
    def notes(self) -> list[str]:
        """What a person should know of this source: how times were aligned, what can't be heard."""

    def read(self, timeout_s: float) -> list[DeviceItem]:
        """Return what happened since the last call, in order; waits for the first of it, at most so long.

        Raises:
            ConfigError: the desktop is gone.
        """

    def is_ours(self, x: int, y: int) -> bool:
        """Return whether a press at a point of the screen comes to the recorded window, its menus and its dialogs."""

    def hears(self, name: str) -> bool:
        """Return whether the keyboard has a key of a name."""

    def stop(self) -> list[DeviceItem]:
        """Stop listening, and return what was heard until then; `is_ours` still answers for it."""

    def close(self) -> None:
        """Let go of the desktop; stops listening if that goes on."""
