"""The devices of this machine: what injects, and what hears."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Protocol

from vlm_agent.desktop.types import Desktop, Reach
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


def open_device(sent: SentLog | None = None, desktop: Desktop | None = None) -> InjectionDevice:
    """Return what injects on this machine.

    Args:
        sent: where to note every event before it goes out.
        desktop: whose connection to use, so that a question asked there and a press stay in one order; None opens one.

    Raises:
        ConfigError: there is nothing, or it can't be used.
    """
    if sys.platform == "win32":
        from vlm_agent.executors.send_input import SendInputDevice

        return SendInputDevice()
    from vlm_agent.desktop.x11 import X11Desktop
    from vlm_agent.executors.xtest import XTestDevice

    return XTestDevice(sent=sent, display=desktop.display if isinstance(desktop, X11Desktop) else None)


def find_losses() -> tuple[type[Exception], ...]:
    """Return what is raised here where the desktop is gone, or has closed our connection."""
    if sys.platform == "win32":
        return ()
    from vlm_agent.desktop.x11_record import SERVER_GONE

    return SERVER_GONE


def open_last_hand() -> tuple[InjectionDevice, Callable[[int], None]]:
    """Return what lets go of keys though the desktop is held still, and what cuts off who holds it.

    Raises:
        ConfigError: there is nothing, or it can't be used.
    """
    device = open_device()
    if sys.platform == "win32":
        return device, lambda client: None
    from vlm_agent.executors.xtest import XTestDevice

    assert isinstance(device, XTestDevice)
    device.insist()
    return device, device.cut_off


def open_reach(desktop: Desktop, on_change: Callable[[], None]) -> Reach:
    """Return what knows who gets what is pressed on this machine.

    Args:
        desktop: an open one.
        on_change: called, in any thread, when that may have changed.

    Raises:
        ConfigError: it can't be known here.
    """
    if sys.platform == "win32":
        from vlm_agent.desktop.win32 import Win32Reach

        return Win32Reach()
    from vlm_agent.desktop.x11 import X11Desktop
    from vlm_agent.desktop.x11_reach import X11Reach

    assert isinstance(desktop, X11Desktop)
    return X11Reach(desktop, on_change)


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
