"""Mouse, keyboard and the recorded window on X11, in one exact order.

XRecord tells every device event, whoever has grabbed the device, and at the same time each event that the server
delivers to a connection of ours which watches the window. Both come in one stream in the server's own order and with
its time, so a key typed a moment after the window lost the keyboard is never taken for one typed into it.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Iterator
from queue import Empty, SimpleQueue
from typing import NamedTuple

from Xlib import X, Xatom

from vlm_agent.actions.events import PointerMoved, WheelTurned
from vlm_agent.actions.placement import Rect
from vlm_agent.desktop.x11 import X11Desktop, connect
from vlm_agent.desktop.x11_keys import BUTTONS, KeyTable
from vlm_agent.desktop.x11_record import SERVER_GONE, CoreEvent, RecordThread, kind_of, parse_core
from vlm_agent.errors import ConfigError
from vlm_agent.recording import x11_wire
from vlm_agent.recording.clock import SessionClock
from vlm_agent.recording.raw_motion import RawMotionListener
from vlm_agent.recording.stream import (
    ButtonHeard,
    DeviceItem,
    Focus,
    FocusChanged,
    KeyHeard,
    ScreenChanged,
    WindowClosed,
    WindowMoved,
    WindowReplaced,
    WindowShown,
)
from vlm_agent.recording.x11_time import ServerClock, create_mark_window
from vlm_agent.recording.x11_window import RecordedWindow
from vlm_agent.sessions.types import RawMotion

_BUTTONS = {number: name for name, number in BUTTONS.items()}
_WHEEL = {4: (0, 1), 5: (0, -1), 6: (-1, 0), 7: (1, 0)}
"""Button number -> notches right and up."""
_WINDOW_EVENTS = ((X.FocusIn, X.MappingNotify),)
"""Focus changes 9-10; destroyed, unmapped, mapped, asked to be mapped, reparented, configured 17-22; our marks 28;
another keyboard map 34. What lies between is not selected; of several ranges the server forgets what is beyond 31."""
_POLL_S = 0.1
"""How often the server is asked something, so that it hands over what XRecord holds back while nothing else happens."""
_GONE = "the X server is gone; what was recorded until then is kept"


class _Heard(NamedTuple):
    server_ms: int
    event: bytes


class _RawCounts(NamedTuple):
    server_ms: int
    dx: int
    dy: int


class X11Devices:
    """The devices of an X server, and one of its windows; see `DeviceSource`."""

    def __init__(self, clock: SessionClock, window_id: int | None = None, *, with_programs: bool = False) -> None:
        """Start to listen.

        Args:
            clock: what times are told in.
            window_id: the window to watch; None hears the devices only.
            with_programs: see `RawMotionListener`.

        Raises:
            ConfigError: the server has no XRecord, or is not there.
        """
        self._clock = clock
        self._stream: SimpleQueue[_Heard | _RawCounts | None] = SimpleQueue()
        self._desktop, self._watcher = X11Desktop(), connect()
        self._window = None if window_id is None else RecordedWindow(self._desktop, self._watcher, window_id)
        self._screen: Rect | None = None
        self._pointer_root_id = 0
        self._server_clock = ServerClock.measure(self._watcher)
        self._keys = KeyTable(self._watcher)
        self._buttons = list(self._watcher.get_pointer_mapping())
        """What programs get for each button of a device: a person may have them swapped."""
        self._are_maps_old = False
        self._root_id = self._watcher.screen().root.id
        self._rect: Rect | None = None
        self._seen_elsewhere: Rect | None = None
        self._polled_s = time.monotonic()
        self._pending: list[DeviceItem] = []
        self._is_stopped = False
        self._last_ns = 0
        self._early: deque[RawMotion] = deque()
        """Raw motion of which XRecord may still have to tell what came before."""
        self._mark = create_mark_window(self._watcher)
        self._is_mark_asked = False
        if self._window is not None:
            self._window.watch()
        self._record = RecordThread(
            self._watcher,
            lambda server_ms, event: self._stream.put(_Heard(server_ms, event)),
            consequence="input can't be heard",
            on_lost=lambda: self._stream.put(None),
            clients=self._watcher.display.info.resource_id_base,
            delivered=_WINDOW_EVENTS,
        )
        self._raw = RawMotionListener(
            lambda server_ms, dx, dy: self._stream.put(_RawCounts(server_ms, dx, dy)), with_programs=with_programs
        )
        self._tell_how_it_stands()

    @property
    def notes(self) -> list[str]:
        """What a person should know of this source."""
        notes = []
        if not self._server_clock.is_ours:
            off_ms = self._server_clock.uncertainty_ns / 1e6
            notes.append(f"the X server has a clock of its own: its times were aligned to within {off_ms:.1f} ms")
        if not self._raw.is_available:
            notes.append("the X server has no XInput 2: a locked pointer's motion (mouse/raw) is not recorded")
        return notes

    def read(self, timeout_s: float) -> list[DeviceItem]:
        """Return what happened since the last call, in order; waits for the first of it, at most so long.

        Raises:
            ConfigError: the server is gone.
        """
        items, self._pending = self._pending, []
        try:
            if not items:
                items += self._translate(self._stream.get(timeout=timeout_s))
            # What came until now, and no more: a stream that never rests must not keep the caller.
            for _ in range(self._stream.qsize()):
                items += self._translate(self._stream.get_nowait())
        except Empty:
            pass
        self._ask_mark()
        return items + self._poll()

    def is_ours(self, x: int, y: int) -> bool:
        """Return whether a press at a point of the screen comes to the recorded window, its menus and its dialogs."""
        return self._window is None or self._window.takes_click(x, y)

    def hears(self, name: str) -> bool:
        """Return whether the keyboard has a key of a name."""
        return name in self._keys.all_names

    def stop(self) -> list[DeviceItem]:
        """Stop listening, and return what was heard until then; nothing the second time."""
        if self._is_stopped:
            return []
        self._is_stopped = True
        self._raw.stop()
        self._record.close()
        items, self._pending = self._pending, []
        with contextlib.suppress(Empty, ConfigError):
            while True:
                items += self._translate(self._stream.get_nowait())
        return [*items, *self._early]

    def close(self) -> None:
        """Let go of the desktop; stops listening if that goes on."""
        self.stop()
        if self._window is not None:
            self._window.close()
        self._desktop.close()
        self._keys.close()

    def _tell_how_it_stands(self) -> None:
        """Say at the start what later only changes are told of; asked after listening began, so no change is missed."""
        now_ns = self._clock.now_ns()
        self._pointer_root_id = int(self._watcher.screen().root.query_pointer().root.id)
        self._screen = self._desktop.screen
        self._pending.append(ScreenChanged(now_ns, self._screen))
        if self._window is None:
            return
        window = self._window.describe()
        if window is None:
            self._pending.append(WindowShown(now_ns, is_visible=False))
        else:
            self._rect = window.rect
            self._pending.append(WindowMoved(now_ns, window.rect))
        self._pending.append(FocusChanged(now_ns, self._window.find_focus()))

    def _translate(self, heard: _Heard | _RawCounts | None) -> list[DeviceItem]:
        if heard is None:
            raise ConfigError(_GONE)
        if isinstance(heard, _RawCounts):
            self._early.append(RawMotion(self._date(heard.server_ms), heard.dx, heard.dy))
            return []
        kind = kind_of(heard.event)
        if kind == X.MappingNotify:
            self._are_maps_old = True
            return []
        if kind == X.PropertyNotify:
            self._is_mark_asked = False
            return self._raw_until(self._date(heard.server_ms))
        # XRecord's own time is when it was told, a device event's when it happened.
        event = parse_core(heard.event) if kind <= X.MotionNotify else None
        server_ms = heard.server_ms if event is None else event.server_ms
        return [
            *self._raw_until(self._date(server_ms) - 1),
            *self._translate_event(server_ms, event, kind, heard.event),
        ]

    def _translate_event(self, server_ms: int, core: CoreEvent | None, kind: int, heard: bytes) -> list[DeviceItem]:
        t_ns = self._date_in_order(server_ms)
        if core is not None:
            return self._device_item(t_ns, core)
        if kind in (X.FocusIn, X.FocusOut):
            is_root = x11_wire.subject_of(heard) == self._root_id
            focus = x11_wire.parse_focus(heard, is_root=is_root)
            if focus is None:
                return []
            return [FocusChanged(t_ns, self._follow_focus(focus, heard))]
        return self._window_item(t_ns, kind, heard)

    def _follow_focus(self, focus: Focus, heard: bytes) -> Focus:
        if self._window is None:
            return focus
        return self._window.follow_focus(focus, is_grab=x11_wire.is_by_grab(heard))

    def _raw_until(self, t_ns: int) -> list[DeviceItem]:
        """Return the raw motion that came until a moment up to which XRecord has told everything."""
        items: list[DeviceItem] = []
        while self._early and self._early[0].t_ns <= t_ns:
            items.append(self._early.popleft())
        return items

    def _ask_mark(self) -> None:
        if not self._early or self._is_mark_asked:
            return
        self._is_mark_asked = True
        with _telling_of_loss():
            self._mark.change_property(Xatom.WM_NAME, Xatom.STRING, 8, b"until here")
            self._watcher.flush()

    def _date(self, server_ms: int) -> int:
        return self._clock.of_monotonic(self._server_clock.to_monotonic_ns(server_ms))

    def _date_in_order(self, server_ms: int) -> int:
        # The server counts milliseconds; what it tells within one still has an order, a nanosecond apart.
        self._last_ns = max(self._date(server_ms), self._last_ns + 1)
        return self._last_ns

    def _device_item(self, t_ns: int, event: CoreEvent) -> list[DeviceItem]:
        is_pointer = event.kind not in (X.KeyPress, X.KeyRelease)
        self._pointer_root_id = event.root_id or self._pointer_root_id  # only motion tells
        if is_pointer and self._pointer_root_id != self._root_id:
            return []  # on another screen of the server, whose places have the same numbers
        if event.kind == X.MotionNotify:
            return [PointerMoved(t_ns, event.x, event.y)]
        self._read_maps()
        is_press = event.kind in (X.KeyPress, X.ButtonPress)
        if not is_pointer:
            return self._key_item(t_ns, event, is_press)
        number = self._buttons[event.detail - 1] if event.detail <= len(self._buttons) else event.detail
        if number in _WHEEL:
            return [WheelTurned(t_ns, event.x, event.y, *_WHEEL[number])] if is_press else []
        if not number:
            return []  # nobody gets it
        name = _BUTTONS.get(number, "unknown")
        return [ButtonHeard(t_ns, event.x, event.y, name, is_press, event.detail)]

    def _read_maps(self) -> None:
        """Read what keys and buttons are anew, where a change was told: once, however many there were."""
        if self._are_maps_old:
            self._are_maps_old = False
            with _telling_of_loss():
                self._keys.reload()
                self._buttons = list(self._watcher.get_pointer_mapping())

    def _key_item(self, t_ns: int, event: CoreEvent, is_press: bool) -> list[DeviceItem]:
        keys = self._keys.in_group(event.group)
        name = keys.find_name(event.detail)
        lost: list[DeviceItem] = []
        if is_press and self._window is not None and self._window.has_lost_keys():
            lost = [FocusChanged(t_ns, "outside")]
        if name is None:
            return lost
        return [*lost, KeyHeard(t_ns, name, is_press, event.detail, keys.list_names(event.detail))]

    def _window_item(self, t_ns: int, kind: int, event: bytes) -> list[DeviceItem]:
        match kind:
            case X.DestroyNotify:
                # Perhaps another takes its place; what is pressed meanwhile belongs to none.
                if self._window is not None:
                    self._window.end()
                return [WindowShown(t_ns, is_visible=False)]
            case X.UnmapNotify:
                return [WindowShown(t_ns, is_visible=False)]
            case X.MapNotify:
                return [WindowShown(t_ns, is_visible=True)]
            case X.ReparentNotify:
                if self._window is not None:
                    self._window.parent_id = x11_wire.parse_parent(event)
            case X.ConfigureNotify:
                placed = x11_wire.parse_configure(event)
                if placed is not None:
                    return self._moved(t_ns, placed.rect if self._is_on_screen(placed) else self._ask_rect())
        return []

    def _is_on_screen(self, placed: x11_wire.Configured) -> bool:
        return placed.is_sent or self._window is None or self._window.parent_id == self._root_id

    def _ask_rect(self) -> Rect | None:
        window = None if self._window is None else self._window.describe()
        return None if window is None else window.rect

    def _moved(self, t_ns: int, rect: Rect | None) -> list[DeviceItem]:
        if rect is None or rect == self._rect:
            return []
        self._rect = rect
        return [WindowMoved(t_ns, rect)]

    def _poll(self) -> list[DeviceItem]:
        """Look at the window itself now and then: not every window manager tells of every move."""
        if time.monotonic() - self._polled_s < _POLL_S:
            return []
        self._polled_s = time.monotonic()
        with _telling_of_loss():
            while self._watcher.pending_events():
                self._watcher.next_event()
            items = self._ask_screen() + self._look_for_next()
            rect = self._ask_rect()
            self._watcher.sync()
        # Once may be a change whose event is still on its way; twice the same is one that had none.
        is_untold = rect is not None and rect != self._rect and rect == self._seen_elsewhere
        self._seen_elsewhere = rect
        return items + (self._moved(self._clock.now_ns(), rect) if is_untold else [])

    def _ask_screen(self) -> list[DeviceItem]:
        screen = self._desktop.screen
        if screen == self._screen:
            return []
        self._screen = screen
        return [ScreenChanged(self._clock.now_ns(), screen)]

    def _look_for_next(self) -> list[DeviceItem]:
        if self._window is None or not self._window.has_ended:
            return []
        found, now_ns = self._window.find_next(), self._clock.now_ns()
        if found is None:
            return [WindowClosed(now_ns, self._window.explain_end())] if self._window.is_over else []
        self._rect = found.rect
        items: list[DeviceItem] = [WindowReplaced(now_ns), WindowMoved(now_ns, found.rect)]
        return [*items, WindowShown(now_ns, is_visible=True), FocusChanged(now_ns, self._window.find_focus())]


@contextlib.contextmanager
def _telling_of_loss() -> Iterator[None]:
    try:
        yield
    except SERVER_GONE as error:
        raise ConfigError(_GONE) from error
