"""Who has grabbed keyboard and pointer of an X server: asked without disturbing, and followed by name.

Whoever grabs a device gets its events, whichever window has the focus or lies on top: a launcher, a screen's lock, a
password prompt, an open menu. The server tells nobody who that is, and XTEST reaches it like a hand would.

Whether anybody has grabbed is asked by a trial that can't succeed: a grab for a window that is not on the screen. The
server looks for other grabs first, so it answers `AlreadyGrabbed` where there is one and `GrabNotViewable` where there
is none, and changes nothing: no focus event, no lost click. Who it is follows from RECORD, which tells the requests of
all clients and the presses they get in the server's own order; our trials are in that order too, so it is known when
everything before one has been heard.

Whoever grabbed before we listened is unknown until they do it again; but the pointer's grabber is known by who is told
of a motion, and the pointer is once moved to where it is. With a keyboard nothing can be done that is nothing.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, Literal, NamedTuple

from Xlib import X
from Xlib.ext import record
from Xlib.protocol import request

from vlm_agent.desktop.x11 import connect
from vlm_agent.desktop.x11_record import RecordThread, kind_of, make_range, split_told

Grabbable = Literal["keyboard", "pointer"]

_GRAB_POINTER, _UNGRAB_POINTER, _GRAB_KEYBOARD, _UNGRAB_KEYBOARD = 26, 27, 31, 32
_SET_FOCUS = 42
_XI_GRAB, _XI_UNGRAB = 51, 52
_XI_GRAB_DEVICE_AT, _XI_UNGRAB_DEVICE_AT, _XI_STATUS_AT = 16, 8, 8
_MASTERS: dict[int, Grabbable] = {2: "pointer", 3: "keyboard"}
"""XInput 2's numbers of the devices that core grabs are of; they are the same on every server."""
_REPLY = 1
_HEARD_WITHIN_S = 0.05
_TOLD_WITHIN_S = 0.2
_GRABS: dict[int, tuple[Grabbable, int]] = {_GRAB_POINTER: ("pointer", 4), _GRAB_KEYBOARD: ("keyboard", 4)}
_UNGRABS: dict[int, Grabbable] = {_UNGRAB_POINTER: "pointer", _UNGRAB_KEYBOARD: "keyboard"}
_PRESSES: dict[int, Grabbable] = {X.KeyPress: "keyboard", X.ButtonPress: "pointer"}


class GrabOwner(NamedTuple):
    """Who has a device."""

    client: int
    """Its number; see `X11Clients.find_client`."""
    window_id: int
    """For which window it grabbed, or which got the press."""


@dataclass
class GrabLog:
    """What the stream tells of grabs, as a state; knows no connection."""

    own_client: int
    """Whose trials mark how far the stream was heard."""
    xinput_opcode: int | None
    """By which requests of XInput 2 are known; None where the server has none."""
    num_trials: int = 0
    """Trials for the pointer that were heard with their answer."""
    _owners: dict[Grabbable, GrabOwner] = field(default_factory=dict)
    _pressed: dict[Grabbable, GrabOwner] = field(default_factory=dict)
    """Who got the last press: it has the device as long as that lasts, or longer if it had asked for the key."""
    last: dict[Grabbable, GrabOwner] = field(default_factory=dict)
    """Who asked for a device last and got it, though it may be let go of by now."""
    _asked: dict[int, tuple[Grabbable, int]] = field(default_factory=dict)

    def find(self, what: Grabbable) -> GrabOwner | None:
        """Return who has a device, if somebody has; None where that is not known."""
        return self._owners.get(what) or self._pressed.get(what)

    def hear_request(self, client: int, data: bytes) -> bool:
        """Take a request; return whether it may change who gets what is pressed."""
        opcode = data[0]
        if opcode in _GRABS:
            what, window_at = _GRABS[opcode]
            self._asked[client] = what, _read_u32(data, window_at)
        elif opcode in _UNGRABS:
            self._let_go(client, _UNGRABS[opcode])
        elif opcode == self.xinput_opcode and data[1] == _XI_GRAB:
            master = _MASTERS.get(_read_u16(data, _XI_GRAB_DEVICE_AT))
            if master is None:
                return False
            self._asked[client] = master, _read_u32(data, 4)
        elif opcode == self.xinput_opcode and data[1] == _XI_UNGRAB:
            master = _MASTERS.get(_read_u16(data, _XI_UNGRAB_DEVICE_AT))
            if master is not None:
                self._let_go(client, master)
        return client != self.own_client

    def hear_told(self, client: int, data: bytes) -> None:
        """Take an event or an answer that a client got."""
        if data[0] == _REPLY:
            self._hear_answer(client, data)
            return
        what = _PRESSES.get(kind_of(data))
        if what is None:
            return
        owner = self._owners.get(what)
        if owner is not None and owner.client != client:
            del self._owners[what]  # a grab that ended without a word, as its window did
        self._pressed[what] = GrabOwner(client, _read_u32(data, 12))

    def note_owner(self, what: Grabbable, owner: GrabOwner) -> None:
        """Take note of who had grabbed before anything was heard."""
        self._owners.setdefault(what, owner)

    def hear_death(self, client: int) -> None:
        """Take note that a client is gone, with all that it had grabbed."""
        for what in _MASTERS.values():
            self._let_go(client, what)
            if what in self._pressed and self._pressed[what].client == client:
                del self._pressed[what]

    def _hear_answer(self, client: int, data: bytes) -> None:
        asked = self._asked.pop(client, None)
        if asked is None:
            return
        what, window_id = asked
        status = data[_XI_STATUS_AT] if data[1] == _XI_GRAB else data[1]
        if client != self.own_client:
            if status == X.GrabSuccess:
                self._owners[what] = self.last[what] = GrabOwner(client, window_id)
            return
        if status == X.GrabNotViewable:
            self._owners.pop(what, None)
            self._pressed.pop(what, None)
        self.num_trials += what == "pointer"

    def _let_go(self, client: int, what: Grabbable) -> None:
        if what in self._owners and self._owners[what].client == client:
            del self._owners[what]


class GrabThread(RecordThread):
    """Keeps a `GrabLog`, and says when something may have changed."""

    def __init__(self, log: GrabLog, on_change: Callable[[], None]) -> None:
        """Begin to listen.

        Args:
            log: what is told; read by others through `find` below.
            on_change: called in the thread for every grab and every change of the focus that is asked for.

        Raises:
            ConfigError: the server has no RECORD, or does not begin.
        """
        self._log = log
        self._on_change = on_change
        self._told = threading.Condition()
        ranges = [
            make_range(core_requests=(_GRAB_POINTER, _UNGRAB_KEYBOARD), core_replies=(_GRAB_POINTER, _GRAB_KEYBOARD)),
            make_range(
                core_requests=(_SET_FOCUS, _SET_FOCUS), delivered_events=(X.KeyPress, X.ButtonPress), client_died=True
            ),
        ]
        if log.xinput_opcode is not None:
            grabs = (log.xinput_opcode, log.xinput_opcode, _XI_GRAB, _XI_UNGRAB)
            ranges.append(make_range(ext_requests=grabs, ext_replies=grabs))
        super().__init__(connect(), lambda *_: None, consequence="nobody knows who gets what is pressed", ranges=ranges)

    def find(self, what: Grabbable, num_trials: int) -> GrabOwner | None:
        """Return who had a device when a trial was answered; None where that is not known.

        Args:
            what: the device.
            num_trials: how many trials for the pointer had been made, that one included.
        """
        with self._told:
            is_heard = self._told.wait_for(lambda: self._log.num_trials >= num_trials, _HEARD_WITHIN_S)
            return self._log.find(what) if is_heard else None

    def note_owner(self, what: Grabbable, owner: GrabOwner) -> None:
        """See `GrabLog`."""
        with self._told:
            self._log.note_owner(what, owner)

    def find_last(self, what: Grabbable, num_trials: int) -> GrabOwner | None:
        """Return who asked for a device last and got it before a trial; None where nobody had, or it is not known."""
        with self._told:
            is_heard = self._told.wait_for(lambda: self._log.num_trials >= num_trials, _HEARD_WITHIN_S)
            return self._log.last.get(what) if is_heard else None

    def _take(self, reply: Any) -> None:
        if reply.category == record.StartOfData:
            super()._take(reply)
            return
        if reply.client_swapped:
            return  # of another byte order; who grabs so stays unknown
        is_change = False
        with self._told:
            if reply.category == record.FromClient:
                for data in split_requests(bytes(reply.data)):
                    is_change |= self._log.hear_request(reply.id_base, data)
            elif reply.category == record.FromServer:
                for _, data in split_told(bytes(reply.data)):
                    self._log.hear_told(reply.id_base, data)
            elif reply.category == record.ClientDied:
                self._log.hear_death(reply.id_base)
            self._told.notify_all()
        if is_change:
            self._on_change()


class _MotionEar(RecordThread):
    """Hears which clients are told of motion."""

    def __init__(self) -> None:
        self.told: SimpleQueue[GrabOwner] = SimpleQueue()
        motion = make_range(delivered_events=(X.MotionNotify, X.MotionNotify))
        super().__init__(
            connect(), lambda *_: None, consequence="nobody knows who gets what is pressed", ranges=[motion]
        )

    def _take(self, reply: Any) -> None:
        if reply.category != record.FromServer or reply.client_swapped:
            super()._take(reply)
            return
        for _, data in split_told(bytes(reply.data)):
            if kind_of(data) == X.MotionNotify:
                self.told.put(GrabOwner(reply.id_base, _read_u32(data, 12)))


class GrabWatch:
    """Asks and follows, for one connection."""

    def __init__(self, display: Any, on_change: Callable[[], None]) -> None:
        """Begin to listen.

        Args:
            display: asks; it stays the caller's.
            on_change: see `GrabThread`.

        Raises:
            ConfigError: the server does not let us hear.
        """
        self._display = display
        self._num_trials = 0
        root = display.screen().root
        self._unseen = root.create_window(0, 0, 1, 1, 0, 0, window_class=X.InputOnly)
        xinput = display.query_extension("XInputExtension")
        opcode = xinput.major_opcode if xinput.present else None
        self._thread = GrabThread(GrabLog(display.display.info.resource_id_base, opcode), on_change)
        self._find_earlier_owner()

    @property
    def unseen_id(self) -> int:
        """The window that trials are made for."""
        return int(self._unseen.id)

    def ask(self) -> list[Any]:
        """Send the trials without waiting; give the result to `read` once a later request has its answer."""
        common = {"defer": True, "owner_events": True, "grab_window": self._unseen, "time": X.CurrentTime}
        modes = {"pointer_mode": X.GrabModeAsync, "keyboard_mode": X.GrabModeAsync}
        keyboard = request.GrabKeyboard(display=self._display.display, **common, **modes)
        pointer = request.GrabPointer(
            display=self._display.display, event_mask=0, confine_to=X.NONE, cursor=X.NONE, **common, **modes
        )
        self._num_trials += 1
        return [keyboard, pointer]

    def read(self, asked: list[Any]) -> dict[Grabbable, GrabOwner | None]:
        """Return who has grabbed what; a device that nobody has is left out, None is somebody unknown."""
        names: tuple[Grabbable, Grabbable] = ("keyboard", "pointer")
        grabbed: dict[Grabbable, GrabOwner | None] = {}
        for what, trial in zip(names, asked, strict=True):
            trial.reply()
            if trial.status != X.GrabNotViewable:
                grabbed[what] = self._thread.find(what, self._num_trials)
        return grabbed

    def find_last(self, what: Grabbable) -> GrabOwner | None:
        """Return who had grabbed a device last when `ask` was called; None where nobody had, or it is not known."""
        return self._thread.find_last(what, self._num_trials)

    def close(self) -> None:
        """Stop listening; harmless the second time."""
        self._thread.close()

    def _find_earlier_owner(self) -> None:
        if self.read(self.ask()).get("pointer", "nobody") is not None:
            return
        ear = _MotionEar()
        root = self._display.screen().root
        at = root.query_pointer()
        root.warp_pointer(at.root_x, at.root_y)
        self._display.sync()
        with contextlib.suppress(Empty):
            self._thread.note_owner("pointer", ear.told.get(timeout=_TOLD_WITHIN_S))
        ear.close()


def split_requests(data: bytes) -> Iterator[bytes]:
    """Yield the requests in one piece of the stream."""
    while len(data) >= 4:
        length = 4 * _read_u16(data, 2)
        if not 4 <= length <= len(data):
            return
        yield data[:length]
        data = data[length:]


def _read_u16(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], sys.byteorder)


def _read_u32(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], sys.byteorder)
