"""What is recorded: a window, a part of the screen, or a monitor."""

from __future__ import annotations

import os
from dataclasses import dataclass

from vlm_agent.actions.placement import Rect
from vlm_agent.desktop.screen import ScreenGrabber, check_screen
from vlm_agent.desktop.types import Desktop
from vlm_agent.desktop.windows import choose_window, is_wayland, open_desktop
from vlm_agent.errors import ConfigError
from vlm_agent.recording.config import RecordConfig
from vlm_agent.sessions.plain_json import mend_text


@dataclass(frozen=True)
class Target:
    """What is recorded."""

    rect: Rect
    """Where it is at the start, device pixels; its size is that of the frames."""
    title: str
    """What to call it."""
    app: str = ""
    """The program, where it is a window."""
    window_id: int | None = None
    """The window; None for a part of the screen."""


def choose_target(config: RecordConfig) -> Target:
    """Return what a command line asks for.

    Raises:
        ConfigError: there is no such window, part or monitor, or no desktop that can be recorded, or seen.
    """
    if is_wayland() and os.environ.get("DISPLAY"):
        _refuse_xwayland()
    desktop = open_desktop()
    try:
        target = _choose(config, desktop)
        # Told now, before there is a session that would stay empty.
        check_screen()
        return target
    finally:
        desktop.close()


def _refuse_xwayland() -> None:
    # An X server that runs inside the session, such as Xephyr, is as good as one on its own.
    from vlm_agent.desktop.x11 import connect, is_xwayland

    display = connect()
    try:
        if is_xwayland(display):
            raise ConfigError(
                "a Wayland session shows no program the screen, the mouse and the keyboard of another;"
                " log in with an Xorg session, or start the game in `Xephyr :1` and record with DISPLAY=:1"
            )
    finally:
        display.close()


def _choose(config: RecordConfig, desktop: Desktop) -> Target:
    if config.window is not None:
        window = choose_window(desktop, config.window)
        return Target(window.rect, mend_text(window.title), mend_text(window.app), window.window_id)
    rect = config.parse_rect()
    if rect is not None:
        if desktop.screen.intersect(rect) is None:
            raise ConfigError(f"--rect {rect} lies outside the screen ({desktop.screen}); give a part of it")
        return Target(rect, "screen")
    number = 1 if config.monitor is None else config.monitor
    grabber = ScreenGrabber()
    try:
        monitors = grabber.monitors
    finally:
        grabber.close()
    if not 1 <= number <= len(monitors):
        raise ConfigError(f"--monitor {number} does not exist; there are 1 to {len(monitors)}")
    return Target(monitors[number - 1], f"monitor {number}")
