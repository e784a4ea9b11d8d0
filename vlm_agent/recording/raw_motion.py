"""The mouse's own motion on X11, through XInput2: what a game with a locked pointer is steered by.

XRecord tells only where the pointer is, which in such a game stands still.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from select import select
from typing import Any

from Xlib import error as xlib_error
from Xlib.ext import ge, xinput

from vlm_agent.desktop.x11 import connect
from vlm_agent.recording.x11_wire import RawValues, parse_raw

_RAW_MOTION = 17
_X_AXIS, _Y_AXIS = 0, 1
_RELATIVE = 0
_VALUATOR = 2
_PROGRAMS = "XTEST"


class RawMotionListener:
    """Hears relative motion on a connection and a thread of its own."""

    def __init__(self, hear: Callable[[int, int, int], None], *, with_programs: bool = False) -> None:
        """Ask for raw motion.

        Args:
            hear: called with the server's milliseconds and whole counts right and down.
            with_programs: hear what programs inject (XTEST) as well. A program that sets the pointer somewhere reports
                the place as if it were motion, so this is for those that only move it by steps.

        Raises:
            ConfigError: there is no X server.
        """
        self._hear = hear
        self._with_programs = with_programs
        self._display = connect()
        self._rest = [0.0, 0.0]
        self._relative: dict[int, bool] = {}
        self._is_stopping = threading.Event()
        self.is_available = self._subscribe()
        """Whether the server knows XInput 2."""
        self._thread = threading.Thread(target=self._listen, name="raw motion", daemon=True)
        if self.is_available:
            self._thread.start()

    def stop(self) -> None:
        """Stop listening, when all that came until now is told."""
        if self.is_available:
            # Whatever the server sent before it answers is here then.
            self._is_stopping.set()
            self._thread.join()
        self._display.close()

    def _subscribe(self) -> bool:
        if not self._display.has_extension(xinput.extname) or not self._display.has_extension(ge.extname):
            return False
        # From version 2.1 on raw events come while another program has grabbed the pointer, as games do.
        xinput.XIQueryVersion(
            display=self._display.display,
            opcode=self._display.display.get_extension_major(xinput.extname),
            major_version=2,
            minor_version=2,
        )
        self._display.screen().root.xinput_select_events([(xinput.AllMasterDevices, xinput.RawMotionMask)])
        self._display.sync()
        return True

    def _listen(self) -> None:
        try:
            while not self._is_stopping.is_set():
                select([self._display.fileno()], [], [], 0.05)
                self._drain()
            self._display.sync()
            self._drain()
        except (xlib_error.ConnectionClosedError, OSError, ValueError):
            # The server went away; the device source, which asks it all the time, says so.
            return

    def _drain(self) -> None:
        while self._display.pending_events():
            event = self._display.next_event()
            if event.type == ge.GenericEventCode and event.evtype == _RAW_MOTION:
                values = parse_raw(bytes(event.data))
                if values is not None and self._is_motion(values.source_id):
                    self._tell(values)

    def _tell(self, values: RawValues) -> None:
        counts = []
        for place, axis in enumerate((_X_AXIS, _Y_AXIS)):
            # Devices may report parts of a count; they add up.
            exact = values.values.get(axis, 0.0) + self._rest[place]
            whole = math.trunc(exact)
            self._rest[place] = exact - whole
            counts.append(whole)
        if any(counts):
            self._hear(values.server_ms, *counts)

    def _is_motion(self, source_id: int) -> bool:
        if source_id not in self._relative:
            # A device that was plugged in since the last look, or the first look.
            devices = self._display.xinput_query_device(xinput.AllDevices).devices
            self._relative |= {device.deviceid: self._judge(device) for device in devices}
        return self._relative.get(source_id, False)

    def _judge(self, device: Any) -> bool:
        name = device.name.decode("utf-8", "replace") if isinstance(device.name, bytes) else str(device.name)
        if _PROGRAMS in name:
            return self._with_programs
        axes = [part for part in device.classes if part.type == _VALUATOR and part.number in (_X_AXIS, _Y_AXIS)]
        # A tablet or a virtual machine's pointer reports places, not motion.
        return bool(axes) and all(part.mode == _RELATIVE for part in axes)
