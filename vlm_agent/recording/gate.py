"""What is recorded of everything that devices tell: the events of the chosen window, in frame pixels, and no others.

Kept are events inside the window and keys while it has the keyboard. A press that was kept always gets its release,
wherever that comes; one that was not kept never does. What is down is known by key, not by name: of two keys of one
name (both shifts) the first press and the last release are recorded, and a release has the name of its press, though
the layout has changed since. Knows no system and no thread: items in, events out.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple, TypeVar, assert_never

from vlm_agent.actions.events import ButtonChanged, InputEvent, KeyChanged, PointerMoved, WheelTurned
from vlm_agent.actions.placement import Placement
from vlm_agent.recording.stream import (
    DeviceItem,
    Focus,
    FocusChanged,
    ScreenChanged,
    WindowClosed,
    WindowItem,
    WindowMoved,
    WindowReplaced,
    WindowShown,
    identify,
)
from vlm_agent.sessions.types import RawMotion

DISCARD_NS = 10_000_000_000
"""How far back `discard` may reach."""
_ASK_NS = 100_000_000
"""How often moves over a window without the keyboard are asked about: whether another lies above it."""

ON_ANOTHER_WINDOW = "press_on_another_window"
"""Reason of a press where another program's window lies over the recorded one, or has the mouse."""

Kept = InputEvent | RawMotion

_Pointed = TypeVar("_Pointed", PointerMoved, WheelTurned)


_Name = tuple[str, str]
"""Key or button, and its name."""


class _Release(NamedTuple):
    pressed_ns: int
    event: KeyChanged | ButtonChanged


class Gate:
    """Lets through what belongs to the recording."""

    def __init__(
        self, placement: Placement, *, focus: Focus, is_ours: Callable[[int, int], bool], has_window: bool = True
    ) -> None:
        """Start open.

        Args:
            placement: where the frame is on the screen.
            focus: where keys go.
            is_ours: whether a point of the screen shows the recorded window and no other above it.
            has_window: False records a part of the screen, whatever lies there: every point in it and every key.
        """
        self.placement = placement
        self.is_closed = False
        """The window is gone."""
        self.is_visible = True
        """The window can be seen."""
        self.left_out: Counter[str] = Counter()
        """Presses in the frame that were not for the window, by reason."""
        self._focus = focus
        self._has_window = has_window
        self._is_ours = is_ours
        self._is_open = True
        self._pointer = (0, 0)
        self._down: dict[tuple[str, int | str], _Name] = {}
        """Names of the keys and buttons that are down and count."""
        self._presses: dict[_Name, KeyChanged | ButtonChanged] = {}
        """The press that was let through of each name that is down."""
        self._releases: deque[_Release] = deque()
        self._asked: tuple[int, bool] = (-_ASK_NS, False)

    def feed(self, item: DeviceItem) -> list[Kept]:
        """Return what is recorded of an item: the event in frame pixels, or nothing."""
        match item:
            case KeyChanged():
                return self._press(item, ("key", item.key), keep=item.pressed and self._takes_keys())
            case ButtonChanged():
                self._pointer = item.x, item.y
                return self._press(item, ("button", item.button), keep=item.pressed and self._takes_press(item))
            case WheelTurned():
                self._pointer = item.x, item.y
                return [self._placed(item)] if self._takes_press(item) else []
            case PointerMoved():
                self._pointer = item.x, item.y
                return [self._placed(item)] if self._takes_move(item) else []
            case RawMotion():
                return [item] if self._takes_keys() else []
            case _:
                self._follow(item)
        return []

    def shut(self, t_ns: int) -> list[InputEvent]:
        """Let nothing through from now on; return releases of all that is down, for their own will not be heard."""
        self._is_open = False
        presses, self._presses = list(self._presses.values()), {}
        self._down.clear()
        self._releases.clear()
        return [self._let_go(t_ns, press) for press in presses]

    def open(self) -> None:
        """Let through again."""
        self._is_open = True

    def discard(self, start_ns: int, stop_ns: int) -> list[InputEvent]:
        """Forget the presses of a span that is left out of the session, and return the releases that it swallowed.

        The releases are dated at the span's end: whoever reads the session saw the presses before it.
        """
        swallowed = [
            release for release in self._releases if release.pressed_ns < start_ns <= release.event.t_ns < stop_ns
        ]
        self._releases.clear()
        self._presses = {name: press for name, press in self._presses.items() if press.t_ns < start_ns}
        self._down = {which: name for which, name in self._down.items() if name in self._presses}
        return [replace(release.event, t_ns=stop_ns) for release in swallowed]

    def _press(self, event: KeyChanged | ButtonChanged, name: _Name, *, keep: bool) -> list[Kept]:
        which = identify(event)
        if event.pressed:
            # A key that is held repeats itself; that is the keyboard's doing, not the player's.
            if which in self._down or not keep:
                return []
            self._down[which] = name
            if name in self._presses:
                return []
            self._presses[name] = self._plain(event, name)
            return [self._presses[name]]
        if which not in self._down:
            return []
        name = self._down.pop(which)
        if name in self._down.values():
            return []
        release = self._plain(event, name)
        self._releases.append(_Release(self._presses.pop(name).t_ns, release))
        while self._releases[0].event.t_ns < event.t_ns - DISCARD_NS:
            self._releases.popleft()
        return [release]

    def _plain(self, event: KeyChanged | ButtonChanged, name: _Name) -> KeyChanged | ButtonChanged:
        if isinstance(event, KeyChanged):
            return KeyChanged(event.t_ns, name[1], event.pressed)
        return ButtonChanged(event.t_ns, *self.placement.to_frame(event.x, event.y), name[1], event.pressed)

    def _let_go(self, t_ns: int, press: KeyChanged | ButtonChanged) -> InputEvent:
        if isinstance(press, KeyChanged):
            return KeyChanged(t_ns, press.key, pressed=False)
        return ButtonChanged(t_ns, *self.placement.to_frame(*self._pointer), press.button, pressed=False)

    def _follow(self, item: WindowItem) -> None:
        match item:
            case FocusChanged():
                self._focus = item.focus
            case WindowMoved():
                old = self.placement
                self.placement = Placement.fit(item.rect, old.frame_width_px, old.frame_height_px, old.scale)
            case WindowShown():
                self.is_visible = item.is_visible
            case WindowClosed():
                self.is_closed = True
            case WindowReplaced() | ScreenChanged():
                pass  # for a person to know
            case _:
                assert_never(item)

    def _takes_press(self, event: ButtonChanged | WheelTurned) -> bool:
        if not self._is_on_frame(event.x, event.y):
            return False
        is_ours = not self._has_window or self._is_ours(event.x, event.y)
        self.left_out[ON_ANOTHER_WINDOW] += not is_ours
        return is_ours

    def _takes_keys(self) -> bool:
        if not self._is_open or not self.is_visible:
            return False
        if not self._has_window or self._focus == "inside":
            return True
        return self._focus == "pointer" and self._is_on_frame(*self._pointer) and self._is_ours(*self._pointer)

    def _is_on_frame(self, x: int, y: int) -> bool:
        return self._is_open and self.is_visible and self.placement.holds(x, y)

    def _takes_move(self, move: PointerMoved) -> bool:
        if not self._is_open or not self.is_visible:
            return False
        if any(isinstance(press, ButtonChanged) for press in self._presses.values()):
            return True
        if not self.placement.holds(move.x, move.y):
            return False
        if not self._has_window or self._focus == "inside":
            return True
        asked_ns, answer = self._asked
        if move.t_ns - asked_ns >= _ASK_NS:
            answer = self._is_ours(move.x, move.y)
            self._asked = move.t_ns, answer
        return answer

    def _placed(self, event: _Pointed) -> _Pointed:
        x, y = self.placement.to_frame(event.x, event.y)
        return replace(event, x=x, y=y)
