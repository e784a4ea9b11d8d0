"""Whether a key on an X server is another program's hotkey, whoever has the keyboard: asked without pressing it.

A program may take one key, or one combination, for itself (a passive grab on the root window): a launcher's hotkey, a
window manager's. Two can't take the same, so the key is taken and at once given back; where that is refused, somebody
else has it. To be asked while the server is held still, or a key pressed at that very moment would be ours.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from Xlib import X
from Xlib import error as xlib_error
from Xlib.ext import xinput
from Xlib.protocol import request

_MASTER_KEYBOARD = 3
"""XInput 2's number of it."""
_MODIFIERS = 0xFF
"""Shift, Lock, Control and Mod1 to Mod5 in a pointer's state; the rest are buttons."""


def ask_hotkey(display: Any, code: int, state: int) -> Callable[[], bool]:
    """Send the question, and return what tells the answer once a later request has its own.

    Args:
        display: the connection that asks.
        code: key code.
        state: modifiers that are down, as a pointer's state has them.
    """
    root, modifiers = display.screen().root, state & _MODIFIERS
    modes = {"pointer_mode": X.GrabModeAsync, "keyboard_mode": X.GrabModeAsync}
    refused = xlib_error.CatchError(xlib_error.BadAccess)
    key = {"display": display.display, "grab_window": root, "key": code, "modifiers": modifiers}
    request.GrabKey(onerror=refused, owner_events=True, **modes, **key)
    request.UngrabKey(**key)
    if not display.has_extension(xinput.extname):
        return lambda: refused.get_error() is not None
    both = {"display": display.display, "opcode": display.display.get_extension_major(xinput.extname)}
    both |= {"deviceid": _MASTER_KEYBOARD, "grab_window": root, "detail": code, "modifiers": [modifiers]}
    both |= {"grab_type": xinput.GrabtypeKeycode}
    taken = xinput.XIPassiveGrabDevice(
        defer=True,
        time=X.CurrentTime,
        cursor=X.NONE,
        grab_mode=xinput.GrabModeAsync,
        paired_device_mode=xinput.GrabModeAsync,
        owner_events=True,
        mask=xinput.KeyPressMask,
        **both,
    )
    xinput.XIPassiveUngrabDevice(**both)

    def is_taken() -> bool:
        taken.reply()
        return refused.get_error() is not None or bool(taken.modifiers)

    return is_taken
