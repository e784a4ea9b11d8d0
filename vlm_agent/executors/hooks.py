"""Hearing all input on Windows through low-level hooks; what we inject carries our mark."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from vlm_agent.desktop.win32_hooks import (
    BUTTONS,
    KEYS,
    WM_MOUSEHWHEEL,
    WM_MOUSEMOVE,
    WM_MOUSEWHEEL,
    HookThread,
    KeyInfo,
    MouseInfo,
    has_key,
)
from vlm_agent.executors.send_input import OUR_MARK
from vlm_agent.executors.watching import Signal
from vlm_agent.safety.rules import plain_key
from vlm_agent.sessions.keys import key_name

_NUMBERS = {"left": 1, "middle": 2, "right": 3, "x": 7}
_CHANGES = {message: (_NUMBERS[name], is_down) for message, (name, is_down) in BUTTONS.items()}
_CHANGES |= {WM_MOUSEWHEEL: (4, True), WM_MOUSEHWHEEL: (6, True)}
"""Message -> number of the button, as X11 counts them, and whether it is down; which of the extra ones comes on top."""


def read_keyboard(message: int, info: KeyInfo) -> Signal | None:
    """Return what a keyboard event is; None for one that is neither a press nor a release."""
    is_down = KEYS.get(message)
    if is_down is None or info.is_altgr_shadow:
        return None
    return Signal("key", info.key_id, is_down, name=plain_key(key_name(info.code)), is_own=info.extra == OUR_MARK)


def read_mouse(message: int, info: MouseInfo) -> Signal | None:
    """Return what a mouse event is; None for one that is neither of a button nor a motion."""
    is_own = info.extra == OUR_MARK
    if message == WM_MOUSEMOVE:
        return Signal("move", point=(info.x, info.y), is_own=is_own)
    change = _CHANGES.get(message)
    if change is None:
        return None
    number, is_down = change
    if message in BUTTONS and BUTTONS[message][0] == "x":
        number += info.data >> 16
    return Signal("button", number, is_down, is_own=is_own)


class HookListener(HookThread):
    """Hears every key, button and motion, and which of them are our own."""

    def __init__(self, hear: Callable[[Signal, int], None], user32: Any = None, kernel32: Any = None) -> None:
        """Begin to hear in a thread of its own.

        Args:
            hear: takes each event and the time at which it was read; called in that thread.
            user32: the system's library, or a stand-in.
            kernel32: the same.

        Raises:
            ConfigError: the system does not let us hear.
        """

        def tell(signal: Signal | None) -> None:
            if signal is not None:
                hear(signal, time.perf_counter_ns())

        super().__init__(
            on_mouse=lambda message, info: tell(read_mouse(message, info)),
            on_key=lambda message, info: tell(read_keyboard(message, info)),
            refusal="Windows does not tell of input, so nobody could stop the agent; it is not used live",
            user32=user32,
            kernel32=kernel32,
        )

    def hears(self, name: str) -> bool:
        """Return whether the keyboard has a key of a name, without its side."""
        return has_key(self._user32, {"super": "leftmeta"}.get(name, name))
