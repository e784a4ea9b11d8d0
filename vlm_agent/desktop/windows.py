"""Opening the desktop of this machine, and choosing a window on it."""

from __future__ import annotations

import os
import re
import sys

from vlm_agent.desktop.types import Desktop, WindowInfo
from vlm_agent.errors import ConfigError


def open_desktop() -> Desktop:
    """Connect to the desktop of this machine.

    Raises:
        ConfigError: there is none that we can use; the message says what to do.
    """
    if sys.platform == "win32":
        from vlm_agent.desktop.win32 import Win32Desktop

        return Win32Desktop()
    if sys.platform == "darwin":
        raise ConfigError(
            "expected an X11 desktop or Windows, this is macOS; record and act in a Linux or Windows machine"
        )
    if not os.environ.get("DISPLAY"):
        raise ConfigError(_explain_no_display())
    from vlm_agent.desktop.x11 import X11Desktop

    return X11Desktop()


def is_wayland() -> bool:
    """Return whether this session is a Wayland one, where X11 sees only the windows of XWayland."""
    return os.environ.get("XDG_SESSION_TYPE") == "wayland" or bool(os.environ.get("WAYLAND_DISPLAY"))


def choose_window(desktop: Desktop, title: str, *, app: str | None = None, pid: int | None = None) -> WindowInfo:
    """Return the window whose title matches, as a regular expression anywhere in it, without regard to case.

    A title that is exactly the pattern goes before others.

    Args:
        desktop: where to look.
        title: the pattern.
        app: only windows of this `WindowInfo.app`, where given.
        pid: only windows of this process, where given.

    Raises:
        ConfigError: no window matches, or several do, or the pattern is none.
    """
    try:
        pattern = re.compile(title, re.IGNORECASE)
    except re.error as error:
        raise ConfigError(f"--window expects a title or a regular expression, got {title!r}: {error}") from error
    windows = [
        window
        for window in desktop.list_windows()
        if window.title and app in (None, window.app) and pid in (None, window.pid)
    ]
    matches = [window for window in windows if window.title == title] or [
        window for window in windows if pattern.search(window.title)
    ]
    if len(matches) == 1:
        return matches[0]
    names = ", ".join(sorted({window.title for window in matches or windows})) or "none"
    if matches:
        raise ConfigError(f"--window {title!r} names {len(matches)} windows ({names}); give one title in full")
    raise ConfigError(f"--window {title!r} names no window; there are: {names}")


def _explain_no_display() -> str:
    if is_wayland():
        return "expected an X11 display, this is a Wayland session without XWayland; log in with an Xorg session"
    return (
        "expected a screen, DISPLAY is not set; run this on a desktop, or under `xvfb-run -s '-screen 0 1280x800x24'`"
    )
