"""What injects input: one protocol for X11, Windows and a dry run. Only an executor process may hold a live one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

from vlm_agent.actions.spec import ActionSpec
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
    """Canonical key name, or `left`, `right`, `middle`, `x1`, `x2`."""
    code: int | None = field(default=None, compare=False)
    """What the system calls it; None where that is not asked yet."""

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


class InjectionDevice(Protocol):
    """Mouse and keyboard of a desktop; used by one thread at a time."""

    def find_missing(self, controls: list[Control]) -> list[Control]:
        """Return those of the controls that this desktop does not have, as its keyboard is at the moment."""

    def find(self, control: Control) -> Control:
        """Return a control with its code: the one it was pressed with, else the one that `press` would take next."""

    def list_names(self, control: Control) -> frozenset[str]:
        """Return all names of the key that a control is at the moment."""

    def move(self, x: int, y: int) -> None:
        """Bring the pointer to a point of the screen, in units of pointer events."""

    def move_by(self, dx: int, dy: int) -> None:
        """Move the mouse by an offset, as a game with a locked pointer reads it."""

    def press(self, control: Control) -> None:
        """Press down."""

    def release(self, control: Control) -> None:
        """Let go of what was pressed, by the code of then; where it was another that pressed it, by the control's."""

    def turn(self, dx: int, dy: int) -> None:
        """Turn the wheel by notches, right and up positive."""

    def close(self) -> None:
        """Give the device back; harmless the second time. Releases nothing."""


class DryDevice:
    """Does nothing; what a run without `--live` injects into."""

    def find_missing(self, controls: list[Control]) -> list[Control]:
        """Miss nothing."""
        return []

    def find(self, control: Control) -> Control:
        """Know no code."""
        return control

    def list_names(self, control: Control) -> frozenset[str]:
        """Know no other name."""
        return frozenset((control.name,))

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


def list_controls(spec: ActionSpec) -> list[Control]:
    """Return all that may be pressed."""
    keys = [Control("key", name) for name in spec.keys]
    return keys + ([Control("button", name) for name in spec.buttons] if spec.pointer != "none" else [])


def find_missing(device: InjectionDevice, controls: list[Control]) -> list[Control]:
    """Return what a model may press and the desktop does not have; it is left out then.

    Raises:
        ConfigError: the desktop has nothing of it.
    """
    missing = device.find_missing(controls)
    if missing and len(missing) == len(controls):
        raise ConfigError(f"the model may press {join_controls(missing)}, and this desktop has none of it")
    return missing


def join_controls(controls: list[Control]) -> str:
    """Return the names of controls, as a person reads them."""
    return ", ".join(map(str, controls))
