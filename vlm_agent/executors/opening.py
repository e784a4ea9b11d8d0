"""The devices of this machine: what injects, and what hears."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Protocol

from vlm_agent.desktop.windows import is_wayland
from vlm_agent.errors import ConfigError
from vlm_agent.executors.devices import InjectionDevice
from vlm_agent.executors.watching import SentLog, Signal


class Listener(Protocol):
    """Hears all input of the desktop."""

    on_lost: Callable[[], None]
    """Called when it hears no more without having been closed."""

    @property
    def is_alive(self) -> bool:
        """Return whether it still hears."""

    def hears(self, name: str) -> bool:
        """Return whether the keyboard has a key of a name, without its side."""

    def close(self) -> None:
        """Stop hearing."""


def open_device(sent: SentLog | None = None) -> InjectionDevice:
    """Return what injects on this machine.

    Raises:
        ConfigError: there is nothing, or it can't be used.
    """
    if sys.platform == "win32":
        from vlm_agent.executors.send_input import SendInputDevice

        return SendInputDevice()
    from vlm_agent.executors.xtest import XTestDevice

    return XTestDevice(sent=sent)


def open_listener(hear: Callable[[Signal, int], None]) -> Listener:
    """Return what hears on this machine; whoever gets none must not act, for nobody could stop it.

    Raises:
        ConfigError: all input can't be heard here.
    """
    if is_wayland():
        raise ConfigError("on Wayland only XWayland's input is heard, so a person could not stop the agent; use Xorg")
    if sys.platform == "win32":
        from vlm_agent.executors.hooks import HookListener

        return HookListener(hear)
    from vlm_agent.executors.xtest import X11Listener

    return X11Listener(hear)
