"""Telling a person's input from the agent's own: everything the desktop hears is held against what was sent.

X11 marks neither (Windows does), and a source device would not tell another program from ours. So each injected event
is noted before it goes out, and each event heard takes one note of its kind off; what finds no note is somebody
else's, be it a real device or another program. Only the server's own repeats of a key that we hold are forgiven.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from vlm_agent.actions.placement import Rect
from vlm_agent.actions.playback import NS_PER_MS
from vlm_agent.errors import ConfigError, DataError
from vlm_agent.executors.kill_switch import KillSwitch, StopReason
from vlm_agent.safety.rules import plain_key
from vlm_agent.sessions.keys import key_code

_NOTE_NS = 1000 * NS_PER_MS
"""A note older than this was swallowed by the server; it must not hide a person's event for ever."""
_CORNER_PX = 1

DEFAULT_HOTKEYS = ("f12", "ctrl+alt+q")
"""Either stops the agent."""


@dataclass(frozen=True, slots=True)
class Signal:
    """An input event as it is sent or heard, whatever the system calls it."""

    kind: Literal["key", "button", "move"]
    """A wheel is a button on X11."""
    code: int = 0
    """Key code or button number."""
    is_down: bool = False
    """Pressed; false for moves."""
    point: tuple[int, int] | None = None
    """Of a move; None for one by an offset, which ends nobody knows where."""
    name: str | None = None
    """Of a key, sides dropped, where it has one."""
    names: frozenset[str] = frozenset()
    """All names of a key, where it has several: the letter printed on it, say, and what the layout has it type."""
    is_own: bool = False
    """Whether the system says itself that we injected it."""


class SentLog:
    """What was sent and not heard yet; written by the player, read by the listener."""

    def __init__(self) -> None:
        """Begin empty."""
        self._lock = threading.Lock()
        self._notes: deque[tuple[int, Signal]] = deque()
        self._held: set[int] = set()

    def note(self, signal: Signal, now_ns: int) -> None:
        """Note what is about to be sent."""
        with self._lock:
            self._notes.append((now_ns, signal))

    def take(self, heard: Signal, now_ns: int) -> bool:
        """Return whether what was heard is ours, and take its note off."""
        with self._lock:
            while self._notes and self._notes[0][0] < now_ns - _NOTE_NS:
                self._notes.popleft()
            for index, (_, noted) in enumerate(self._notes):
                if _is_same(noted, heard):
                    del self._notes[index]
                    self._follow(heard)
                    return True
            # While a key is held, the server repeats its press.
            return heard.kind == "key" and heard.is_down and heard.code in self._held

    def _follow(self, heard: Signal) -> None:
        if heard.kind == "key" and heard.is_down:
            self._held.add(heard.code)
        elif heard.kind == "key":
            self._held.discard(heard.code)


class PersonWatch:
    """Throws the kill switch for a person's hotkey, a shove into a corner, and any other input of theirs."""

    def __init__(
        self,
        sent: SentLog,
        kill: KillSwitch,
        screen: Rect,
        *,
        hotkeys: tuple[str, ...] = DEFAULT_HOTKEYS,
        person_stops: bool = True,
        tolerance_px: int = 4,
    ) -> None:
        """Begin to watch.

        Args:
            sent: what the agent itself does.
            kill: what is thrown.
            screen: its corners count.
            hotkeys: keys, or keys joined by `+`.
            person_stops: whether any other input of a person's stops the agent too.
            tolerance_px: a mouse that is nudged by no more than this, within a second, is not used.
        """
        self._sent = sent
        self._kill = kill
        self._screen = screen
        self._hotkeys = [read_hotkey(text) for text in hotkeys]
        self._person_stops = person_stops
        self._tolerance_px = tolerance_px
        # By code: with both of a pair down, letting go of one leaves the other.
        self._down: dict[int, frozenset[str]] = {}
        self._at: tuple[int, int] | None = None
        self._strayed: deque[tuple[int, int]] = deque()
        self.is_armed: Callable[[], bool] = lambda: False
        self.last_person_ns: int | None = None

    @property
    def keys_down(self) -> frozenset[str]:
        """Keys that are down, whoever holds them."""
        return frozenset().union(*self._down.values())

    def hear(self, heard: Signal, now_ns: int) -> None:
        """Judge one event; called in the order in which they happened."""
        is_own = heard.is_own or self._sent.take(heard, now_ns)
        if heard.kind == "key" and heard.is_down:
            self._down[heard.code] = _names_of(heard)
        elif heard.kind == "key":
            self._down.pop(heard.code, None)
        before, self._at = self._at, heard.point or self._at
        if is_own:
            return
        hotkey = self._complete_hotkey(heard)
        if hotkey is not None:
            self._kill.throw(StopReason.HOTKEY, hotkey)
        elif heard.kind == "move" and self._is_corner(heard.point):
            self._kill.throw(StopReason.CORNER)
        elif heard.kind != "move" or self._has_strayed(before, heard.point, now_ns):
            self.last_person_ns = now_ns
            if self._person_stops and self.is_armed():
                self._kill.throw(StopReason.PERSON, heard.kind)

    def _complete_hotkey(self, heard: Signal) -> str | None:
        """Return the key with which all of a hotkey is down."""
        if heard.kind != "key" or not heard.is_down:
            return None
        for keys in self._hotkeys:
            if keys & _names_of(heard) and keys <= self.keys_down:
                return min(keys & _names_of(heard))
        return None

    def _is_corner(self, point: tuple[int, int] | None) -> bool:
        if point is None:
            return False
        x, y = point[0] - self._screen.x, point[1] - self._screen.y
        is_side = x <= _CORNER_PX or x >= self._screen.width - 1 - _CORNER_PX
        return is_side and (y <= _CORNER_PX or y >= self._screen.height - 1 - _CORNER_PX)

    def _has_strayed(self, before: tuple[int, int] | None, after: tuple[int, int] | None, now_ns: int) -> bool:
        if before is None or after is None:
            return True
        self._strayed.append((now_ns, max(abs(after[0] - before[0]), abs(after[1] - before[1]))))
        while self._strayed[0][0] < now_ns - _NOTE_NS:
            self._strayed.popleft()
        return sum(px for _, px in self._strayed) > self._tolerance_px


def read_hotkey(text: str) -> frozenset[str]:
    """Return the keys of `f12` or `ctrl+alt+q`, without their sides.

    Raises:
        ConfigError: a key has no name we know.
    """
    names = [plain_key(name) for name in text.split("+")]
    try:
        for name in names:
            key_code("leftmeta" if name == "super" else name)
    except DataError as error:
        raise ConfigError(f"--stop-keys expects keys such as f12 or ctrl+alt+q, got {text!r}") from error
    return frozenset(names)


def check_hotkeys(hotkeys: Iterable[str], hears: Callable[[str], bool]) -> None:
    """Raise ConfigError for a hotkey that can't be pressed on this keyboard.

    Args:
        hotkeys: as a person writes them.
        hears: whether the keyboard has a key of a name, without its side.
    """
    for text in hotkeys:
        missing = sorted(name for name in read_hotkey(text) if not hears(name))
        if missing:
            raise ConfigError(
                f"--stop-keys: this keyboard has no key {', '.join(missing)}, so {text} could not stop the agent; give"
                " keys that it has, such as f12"
            )


def _names_of(heard: Signal) -> frozenset[str]:
    return heard.names | ({heard.name} if heard.name else set())


def _is_same(noted: Signal, heard: Signal) -> bool:
    if (noted.kind, noted.code, noted.is_down) != (heard.kind, heard.code, heard.is_down):
        return False
    return noted.point is None or noted.point == heard.point
