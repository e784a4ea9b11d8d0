"""The event stream of an X server's RECORD extension: device events, and on demand those delivered to windows.

python-xlib parses core events slowly, so they are split and read here. Layouts: X11 protocol, appendix B, and
https://www.x.org/releases/X11R7.7/doc/recordproto/record.html
"""

from __future__ import annotations

import contextlib
import struct
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from Xlib import X
from Xlib import error as xlib_error
from Xlib.ext import record

from vlm_agent.desktop.x11 import connect
from vlm_agent.errors import ConfigError

SERVER_GONE = (xlib_error.ConnectionClosedError, OSError)
"""What is raised where the server closes a connection."""
SENT = 0x80
"""Set in the type of an event that another program sent."""
_TIME_BYTES, _EVENT_BYTES = 4, 32
_CORE = struct.Struct("=BBHIIIIhhhhHBx")
_GROUP_AT = 13
"""Bits 13 and 14 of an event's state tell the group (XKB protocol, 2.2.2)."""
_PATIENCE_S = 5.0


class CoreEvent(NamedTuple):
    """A key, button or motion event of a device."""

    kind: int
    """`X.KeyPress` to `X.MotionNotify`."""
    detail: int
    """Key code or button number."""
    server_ms: int
    """The server's time."""
    x: int
    """Column on the screen."""
    y: int
    """Row on the screen."""
    group: int = 0
    """Which of its keyboard's groups of symbols was active."""
    root_id: int = 0
    """Root window of the screen that the pointer was on; 0 where the server does not say."""


def kind_of(event: bytes) -> int:
    """Return the type of an event, sent or not."""
    return event[0] & ~SENT


def parse_core(event: bytes) -> CoreEvent:
    """Return a device event of 32 bytes."""
    _, detail, _, server_ms, root_id, _, _, x, y, _, _, state, _ = _CORE.unpack(event)
    return CoreEvent(kind_of(event), detail, server_ms, x, y, state >> _GROUP_AT & 3, root_id)


class RecordThread:
    """Hears a server's events on a connection and a thread of its own, as RECORD demands."""

    def __init__(
        self,
        control: Any,
        hear: Callable[[int, bytes], None],
        *,
        consequence: str,
        on_lost: Callable[[], None] = lambda: None,
        clients: int = record.AllClients,
        delivered: Sequence[tuple[int, int]] = (),
        ranges: Sequence[dict[str, Any]] = (),
    ) -> None:
        """Begin to hear all device events, or what is asked for instead.

        Args:
            control: another connection, by which hearing is ended; it is closed with this one.
            hear: given the server's time of telling, ms, and an event of 32 bytes; called in the thread.
            consequence: what follows where the server lets nobody hear, for the message.
            on_lost: see the attribute.
            clients: whose delivered events are told.
            delivered: first and last type of those.
            ranges: what to hear in place of all that, from `make_range`; `_take` is then to be overridden.

        Raises:
            ConfigError: the server has no RECORD, does not begin, or is not there.
        """
        if not control.has_extension(record.extname):
            raise ConfigError(f"the X server has no RECORD extension, so {consequence}; enable it in its settings")
        self._control, self._events = control, connect()
        self._hear = hear
        self.on_lost = on_lost
        """Called when it hears no more without having been closed."""
        self._is_closing = False
        devices = [make_range(device_events=(X.KeyPress, X.MotionNotify))]
        wanted = [*ranges] or devices + [make_range(delivered_events=kinds) for kinds in delivered]
        self._context = self._events.record_create_context(record.FromServerTime, [clients], wanted)
        self._events.sync()
        self._is_ready = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="xrecord", daemon=True)
        self._thread.start()
        if not self._is_ready.wait(_PATIENCE_S):
            raise ConfigError(
                f"the X server did not begin to tell its events within {_PATIENCE_S:g} s, so {consequence};"
                " is it busy or stopped?"
            )

    @property
    def is_alive(self) -> bool:
        """Return whether it still hears."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Stop hearing, when all that came until now is told; harmless the second time."""
        self._is_closing = True
        with contextlib.suppress(*SERVER_GONE):
            self._control.record_disable_context(self._context)
            self._control.sync()
        self._thread.join(_PATIENCE_S)
        for connection in (self._control, self._events):
            with contextlib.suppress(*SERVER_GONE):
                connection.close()

    def _listen(self) -> None:
        try:
            with contextlib.suppress(*SERVER_GONE):
                self._events.record_enable_context(self._context, self._take)
        finally:
            if not self._is_closing:
                self.on_lost()

    def _take(self, reply: Any) -> None:
        if reply.category == record.StartOfData:
            self._is_ready.set()
        if reply.category != record.FromServer or reply.client_swapped:
            return
        for server_ms, event in split_told(bytes(reply.data)):
            self._hear(server_ms, event)


def split_told(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield what a server told clients in one piece of the stream: its time, ms, and 32 bytes of an event or answer."""
    step = _TIME_BYTES + _EVENT_BYTES
    for start in range(0, len(data) - step + 1, step):
        event_at = start + _TIME_BYTES
        yield int.from_bytes(data[start:event_at], sys.byteorder), data[event_at : start + step]


def make_range(**wanted: tuple[int, ...] | bool) -> dict[str, Any]:
    """Return an XRecord range that asks for nothing but what is named."""
    nothing = {"core_requests": (0, 0), "core_replies": (0, 0), "ext_requests": (0, 0, 0, 0)}
    nothing |= {"ext_replies": (0, 0, 0, 0), "delivered_events": (0, 0), "device_events": (0, 0), "errors": (0, 0)}
    return {**nothing, "client_started": False, "client_died": False, **wanted}
