"""What injects input: one protocol for X11, Windows and a dry run. Only an executor process may hold a live one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from vlm_agent.errors import ConfigError, VlmAgentError

Kind = Literal["key", "button"]


class DeviceLostError(VlmAgentError):
    """Nothing can be injected any more: the display is gone, or refuses us."""


class GuardianLostError(DeviceLostError):
    """The guardian process is gone; nothing may be pressed without it."""


@dataclass(frozen=True, slots=True, order=True)
class Control:
    """Something that can be held down."""

    kind: Kind
    """Keyboard or mouse."""
    name: str
    """Canonical key name, or `left`, `right`, `middle`."""

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


class InjectionDevice(Protocol):
    """Mouse and keyboard of a desktop; used by one thread at a time."""

    def find_missing(self, controls: list[Control]) -> list[Control]:
        """Return those of the controls that this desktop does not have."""

    def move(self, x: int, y: int) -> None:
        """Bring the pointer to a point of the screen, in units of pointer events."""

    def move_by(self, dx: int, dy: int) -> None:
        """Move the mouse by an offset, as a game with a locked pointer reads it."""

    def press(self, control: Control) -> None:
        """Press down."""

    def release(self, control: Control) -> None:
        """Let go."""

    def turn(self, dx: int, dy: int) -> None:
        """Turn the wheel by notches, right and up positive."""

    def close(self) -> None:
        """Give the device back; harmless the second time. Releases nothing."""


class DryDevice:
    """Does nothing; what a run without `--live` injects into."""

    def find_missing(self, controls: list[Control]) -> list[Control]:
        """Miss nothing."""
        return []

    def move(self, x: int, y: int) -> None:
        """Do nothing."""

    def move_by(self, dx: int, dy: int) -> None:
        """Do nothing."""

    def press(self, control: Control) -> None:
        """Do nothing."""

    def release(self, control: Control) -> None:
        """Do nothing."""

    def turn(self, dx: int, dy: int) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


def check_controls(device: InjectionDevice, controls: list[Control]) -> None:
    """Raise ConfigError where the desktop lacks a key or button that the model may use."""
    missing = device.find_missing(controls)
    if missing:
        names = ", ".join(map(str, missing))
        raise ConfigError(f"expected a desktop with all that the model may press, this one has no {names}")
