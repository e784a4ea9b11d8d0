"""Injecting input on X11 through the XTEST extension, and hearing all input through RECORD.

One connection injects; a key is pressed by its code of the moment and let go by the same, nothing is remapped, and no
request carries a delay for the server to wait: when an event is sent is the executor's to say. Hearing has connections
of its own.
Protocol: https://www.x.org/releases/X11R7.7/doc/xextproto/xtest.html
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from Xlib import X
from Xlib.ext import xtest

from vlm_agent.desktop.x11 import connect
from vlm_agent.desktop.x11_keys import BUTTONS, KeyTable
from vlm_agent.desktop.x11_record import SERVER_GONE, CoreEvent, RecordThread, kind_of, parse_core
from vlm_agent.errors import ConfigError
from vlm_agent.executors.devices import Control, DeviceLostError
from vlm_agent.executors.watching import SentLog, Signal
from vlm_agent.safety.rules import plain_key

_WHEEL_UP, _WHEEL_DOWN, _WHEEL_LEFT, _WHEEL_RIGHT = 4, 5, 6, 7


class XTestDevice:
    """Injects into one X server, and notes what it sends."""

    def __init__(self, name: str | None = None, sent: SentLog | None = None, display: Any = None) -> None:
        """Connect.

        Args:
            name: the display; None takes DISPLAY.
            sent: where to note every event before it goes out.
            display: a connection to use in place of one of its own; it is closed with this.

        Raises:
            ConfigError: there is no such server, or it has no XTEST.
        """
        self._display = display or connect(name)
        if not self._display.has_extension("XTEST"):
            raise ConfigError("the X server has no XTEST extension; start it with +extension XTEST")
        self._keys = KeyTable(self._display)
        self._sent = sent or SentLog()
        self._held: dict[Control, int] = {}
        """Code with which each was pressed."""
        self._last: dict[Control, int] = {}
        """Codes that were asked for last."""
        self._found: Control | None = None
        """What `press` takes without asking: the server may be held still by then, for everyone but the holder."""

    def find_missing(self, controls: list[Control]) -> list[Control]:
        """Return those of the controls that this server does not have."""
        codes = {control: self._find_code(control) for control in controls}
        # What is there now may be pressed in a moment, though the layout changes until then.
        self._last = {control: code for control, code in codes.items() if code is not None}
        return [control for control in controls if codes[control] is None]

    def find(self, control: Control) -> Control:
        """Return a control with its code: the one it was pressed with, else the one that `press` will take next."""
        code = self._held.get(control) or self._find_code(control) or self._last.get(control)
        self._found = replace(control, code=code)
        return self._found

    def list_names(self, control: Control) -> frozenset[str]:
        """Return all names of the key that a control is at the moment."""
        code = self._find_code(control) if control.kind == "key" else None
        return frozenset((control.name,)) if code is None else self._keys.list_names(code)

    def move(self, x: int, y: int) -> None:
        """Bring the pointer to a point of the screen."""
        self._send(X.MotionNotify, 0, Signal("move", point=(x, y)), x, y)

    def move_by(self, dx: int, dy: int) -> None:
        """Move the mouse by an offset."""
        self._send(X.MotionNotify, 1, Signal("move"), dx, dy)

    def press(self, control: Control) -> None:
        """Press down."""
        found, self._found = self._found, None
        code = found.code if found == control else self._find_code(control)
        if code is None:
            raise ConfigError(f"this desktop has no {control}")
        is_down = self._is_held(control, code)
        self._held[control] = code
        # Two names of one key hold it together.
        if not is_down:
            self._change(control, code, is_down=True)

    def release(self, control: Control) -> None:
        """Let go of what was pressed; or of the control's code, where it has one."""
        code = self._held.pop(control, control.code) or self._find_code(control)
        if code is None:
            raise ConfigError(f"this desktop has no {control}")
        if not self._is_held(control, code):
            self._change(control, code, is_down=False)

    def turn(self, dx: int, dy: int) -> None:
        """Turn the wheel; a notch is a press of a button of its own."""
        turns = [(dy, _WHEEL_UP, _WHEEL_DOWN), (dx, _WHEEL_RIGHT, _WHEEL_LEFT)]
        for notches, positive, negative in turns:
            button = self._find_button(positive if notches > 0 else negative) if notches else None
            if button is None:
                continue
            for _ in range(abs(notches)):
                self._send(X.ButtonPress, button, Signal("button", button, is_down=True))
                self._send(X.ButtonRelease, button, Signal("button", button))

    def is_down(self, control: Control) -> bool:
        """Return whether a key or button is down on the server, whoever pressed it."""
        if control.kind == "button":
            return bool(self._display.screen().root.query_pointer().mask >> (7 + BUTTONS[control.name]) & 1)
        code = self._find_code(control)
        return code is not None and bool(self._display.query_keymap()[code // 8] >> code % 8 & 1)

    def insist(self) -> None:
        """Go on being heard while another client holds the server still."""
        xtest.grab_control(self._display, True)
        self._display.sync()

    def cut_off(self, client: int) -> None:
        """Close another client's connection, and end what it grabbed.

        Args:
            client: anything that it has made on the server.
        """
        self._display.create_resource_object("resource", client).kill_client()
        self._display.sync()

    def close(self) -> None:
        """Give the connection back; harmless the second time."""
        with contextlib.suppress(*SERVER_GONE):
            self._display.close()
            self._keys.close()

    def _is_held(self, control: Control, code: int) -> bool:
        return any((held.kind, at) == (control.kind, code) for held, at in self._held.items() if held != control)

    def _change(self, control: Control, code: int, *, is_down: bool) -> None:
        if control.kind == "key":
            self._send(X.KeyPress if is_down else X.KeyRelease, code, Signal("key", code, is_down))
        else:
            self._send(X.ButtonPress if is_down else X.ButtonRelease, code, Signal("button", code, is_down))

    def _find_code(self, control: Control) -> int | None:
        """Return the code at this moment: the layout may have changed since the last one."""
        if control.kind == "button":
            return self._find_button(BUTTONS.get(control.name, 0))
        try:
            self._keys.follow()
        except SERVER_GONE as error:
            raise _tell_gone(error) from error
        return self._keys.find_code(control.name)

    def _find_button(self, number: int) -> int | None:
        """Return the button of the device that programs get as a number; None where there is none."""
        try:
            mapping = list(self._display.get_pointer_mapping())
        except SERVER_GONE as error:
            raise _tell_gone(error) from error
        return mapping.index(number) + 1 if number and number in mapping else None

    def _send(self, kind: int, detail: int, signal: Signal, x: int = 0, y: int = 0) -> None:
        try:
            self._sent.note(signal, time.perf_counter_ns())
            xtest.fake_input(self._display, kind, detail, x=x, y=y)
            self._display.flush()
        except SERVER_GONE as error:
            raise _tell_gone(error) from error


class X11Listener(RecordThread):
    """Hears every key, button and motion of an X server, from whatever device."""

    def __init__(self, hear: Callable[[Signal, int], None]) -> None:
        """Begin to hear in a thread of its own.

        Args:
            hear: takes each event and the time at which it was read; called in that thread.

        Raises:
            ConfigError: the server does not let us hear.
        """

        def tell(_: int, event: bytes) -> None:
            if kind_of(event) == X.MappingNotify:
                self._is_outdated = True
                return
            signal = self._read(parse_core(event))
            if signal is not None:
                hear(signal, time.perf_counter_ns())

        control = connect()
        self._keys = KeyTable(control)
        self._is_outdated = False
        super().__init__(
            control,
            tell,
            consequence="nobody could stop the agent, and it is not used live",
            clients=control.display.info.resource_id_base,
            delivered=[(X.MappingNotify, X.MappingNotify)],
        )

    def hears(self, name: str) -> bool:
        """Return whether the keyboard has a key of a name, without its side."""
        return name in map(plain_key, self._keys.all_names)

    def close(self) -> None:
        """Stop hearing; harmless the second time."""
        super().close()
        with contextlib.suppress(*SERVER_GONE):
            self._keys.close()

    def _read(self, event: CoreEvent) -> Signal | None:
        if event.kind in (X.KeyPress, X.KeyRelease):
            if self._is_outdated:
                # However many changes were told, the map is read once, when it counts.
                self._is_outdated = False
                self._keys.reload()
            keys = self._keys.in_group(event.group)
            name = keys.find_name(event.detail)
            names = frozenset(map(plain_key, keys.list_names(event.detail)))
            return Signal("key", event.detail, event.kind == X.KeyPress, name=name and plain_key(name), names=names)
        if event.kind in (X.ButtonPress, X.ButtonRelease):
            return Signal("button", event.detail, event.kind == X.ButtonPress)
        if event.kind == X.MotionNotify:
            return Signal("move", point=(event.x, event.y))
        return None


def _tell_gone(error: Exception) -> DeviceLostError:
    return DeviceLostError(f"the X server is gone: {error}")
