"""Raw device events of a session, read as actions: presses joined, repeats removed, wheel notches gathered.

A press and its release close together in time and place are one full CLICK or KEY; otherwise each half is said with
its `state`. What the spec can't say is left out and counted. Moves stay raw here, as the pointer's path; `thinning`
makes way-points of them. Coordinates are pixels of the captured frame throughout.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import assert_never

from vlm_agent.actions.events import ButtonChanged, InputEvent, KeyChanged, PointerMoved, WheelTurned
from vlm_agent.actions.spec import ActionSpec
from vlm_agent.actions.types import Action, Click, Key, Scroll

MODIFIERS = frozenset(f"{side}{key}" for side in ("", "left", "right") for key in ("shift", "ctrl", "alt", "meta"))
"""Keys that change what is pressed while they are down: another press in between makes them a hold, however short."""


class EventDrop(StrEnum):
    """Why an event did not become an action."""

    KEY_REPEAT = "key_repeat"
    """The keyboard repeated a key that was held."""
    BUTTON_REPEAT = "button_repeat"
    """A button went down that was down already."""
    RELEASE_ALONE = "release_alone"
    """A release whose press was before the recording."""
    KEY_NOT_IN_SPEC = "key_not_in_spec"
    """The spec does not allow the key."""
    BUTTON_NOT_IN_SPEC = "button_not_in_spec"
    """The spec does not allow the button, or no pointer."""
    SCROLL_NOT_IN_SPEC = "scroll_not_in_spec"
    """The spec does not allow the wheel, or it was turned sideways."""
    OUTSIDE_FRAME = "outside_frame"
    """A press or a turn beyond the captured frame."""
    HOLD_SHORTENED = "hold_shortened"
    """A hold became a full press because the spec has no holds."""


@dataclass(frozen=True)
class PressConfig:
    """When two halves are one press."""

    full_press_ms: int = 400
    """Longest time between press and release of a full press, milliseconds."""
    full_press_px: int = 8
    """Farthest the pointer may go between press and release of a full CLICK, pixels; beyond it is a drag."""
    scroll_gather_ms: int = 150
    """Wheel notches one way, at most this far apart, are one SCROLL, milliseconds."""


@dataclass
class Timeline:
    """A session's input as actions and a pointer path, both in order of time."""

    times_ns: list[int] = field(default_factory=list)
    """When each action happens."""
    actions: list[Action] = field(default_factory=list)
    """Clicks, keys and scrolls in frame pixels, with `dt_ms` 0."""
    path_times_ns: list[int] = field(default_factory=list)
    """When the pointer was seen at each point of its path."""
    path: list[tuple[int, int]] = field(default_factory=list)
    """Where it was, clamped into the frame, pixels."""
    drops: Counter[str] = field(default_factory=Counter)
    """Events that became no action, by `EventDrop`."""

    def span(self, start_ns: int, stop_ns: int) -> list[tuple[int, Action]]:
        """Return the actions with start <= t < stop."""
        first, last = bisect_left(self.times_ns, start_ns), bisect_left(self.times_ns, stop_ns)
        return list(zip(self.times_ns[first:last], self.actions[first:last], strict=True))

    def path_span(self, start_ns: int, stop_ns: int) -> list[tuple[int, int, int]]:
        """Return the pointer's points with start <= t < stop, as (t_ns, x, y)."""
        first, last = bisect_left(self.path_times_ns, start_ns), bisect_left(self.path_times_ns, stop_ns)
        return [(self.path_times_ns[i], *self.path[i]) for i in range(first, last)]

    def pointer_at(self, t_ns: int) -> tuple[int, int] | None:
        """Return where the pointer was last seen before a time, or None if it was not yet."""
        before = bisect_left(self.path_times_ns, t_ns)
        return self.path[before - 1] if before else None


def read_timeline(events: Iterable[InputEvent], spec: ActionSpec, config: PressConfig | None = None) -> Timeline:
    """Return the actions and the pointer path of events in order of time.

    Args:
        events: raw events in frame pixels, ascending in time.
        spec: what may be said, over an extent equal to the frame's size.
        config: when two halves are one press.
    """
    joiner = _Joiner(spec, config or PressConfig())
    for event in events:
        joiner.add(event)
    return joiner.timeline


class _Joiner:
    """Reads one event after another; remembers which presses still wait for their release."""

    def __init__(self, spec: ActionSpec, config: PressConfig) -> None:
        self.timeline = Timeline()
        self._spec = spec
        self._config = config
        self._waiting: dict[str, int] = {}
        """Index of the action of each press (`key a`, `button left`) that has no release yet."""

    def add(self, event: InputEvent) -> None:
        """Read one event."""
        match event:
            case PointerMoved():
                self._track(event)
            case ButtonChanged():
                self._track(event)
                self._button(event)
            case WheelTurned():
                self._track(event)
                self._wheel(event)
            case KeyChanged():
                self._key(event)
            case _:
                assert_never(event)

    def _track(self, event: PointerMoved | ButtonChanged | WheelTurned) -> None:
        x = min(max(event.x, 0), self._spec.extent_width - 1)
        y = min(max(event.y, 0), self._spec.extent_height - 1)
        self.timeline.path_times_ns.append(event.t_ns)
        self.timeline.path.append((x, y))

    def _key(self, event: KeyChanged) -> None:
        if event.key not in self._spec.keys:
            self._drop(EventDrop.KEY_NOT_IN_SPEC, once=event.pressed)
        elif event.pressed:
            self._press(f"key {event.key}", event.t_ns, Key(0, event.key, "down"), EventDrop.KEY_REPEAT)
        else:
            self._release(f"key {event.key}", event.t_ns, Key(0, event.key, "up"))

    def _button(self, event: ButtonChanged) -> None:
        name = f"button {event.button}"
        if event.button not in self._spec.buttons or self._spec.pointer != "absolute":
            self._drop(EventDrop.BUTTON_NOT_IN_SPEC, once=event.pressed)
        elif not event.pressed:
            x, y = self.timeline.path[-1]
            self._release(name, event.t_ns, Click(0, x, y, event.button, "up"))
        elif not self._inside(event):
            self._drop(EventDrop.OUTSIDE_FRAME)
        else:
            click = Click(0, event.x, event.y, event.button, "down")
            self._press(name, event.t_ns, click, EventDrop.BUTTON_REPEAT)

    def _press(self, name: str, t_ns: int, action: Click | Key, if_held: EventDrop) -> None:
        if name in self._waiting:
            self._drop(if_held)
            return
        self._waiting[name] = len(self.timeline.actions)
        self._append(t_ns, action if self._spec.holds else replace(action, state=None))

    def _release(self, name: str, t_ns: int, up: Click | Key) -> None:
        if name not in self._waiting:
            self._drop(EventDrop.RELEASE_ALONE)
            return
        index = self._waiting.pop(name)
        down = self.timeline.actions[index]
        assert isinstance(down, Click | Key)
        full = self._is_full_press(index, t_ns, up)
        if full or not self._spec.holds:
            self.timeline.actions[index] = replace(down, state=None)
            self._drop(EventDrop.HOLD_SHORTENED, once=not full)
        else:
            self._append(t_ns, up)

    def _is_full_press(self, index: int, t_ns: int, up: Click | Key) -> bool:
        down = self.timeline.actions[index]
        if t_ns - self.timeline.times_ns[index] > self._config.full_press_ms * 1_000_000:
            return False
        if isinstance(up, Key):
            return up.key not in MODIFIERS or index == len(self.timeline.actions) - 1
        assert isinstance(down, Click)
        return max(abs(up.x - down.x), abs(up.y - down.y)) <= self._config.full_press_px

    def _wheel(self, event: WheelTurned) -> None:
        if not event.dy or not self._spec.max_scroll or self._spec.pointer != "absolute":
            self._drop(EventDrop.SCROLL_NOT_IN_SPEC)
        elif not self._inside(event):
            self._drop(EventDrop.OUTSIDE_FRAME)
        else:
            self._turn(event.t_ns, Scroll(0, event.x, event.y, event.dy))

    def _turn(self, t_ns: int, scroll: Scroll) -> None:
        most = self._spec.max_scroll
        last = self.timeline.actions[-1] if self.timeline.actions else None
        if isinstance(last, Scroll) and (last.dy > 0) == (scroll.dy > 0):
            near = t_ns - self.timeline.times_ns[-1] <= self._config.scroll_gather_ms * 1_000_000
            if near and abs(last.dy + scroll.dy) <= most:
                self.timeline.actions[-1] = replace(last, dy=last.dy + scroll.dy)
                return
        self._append(t_ns, replace(scroll, dy=max(-most, min(most, scroll.dy))))

    def _inside(self, event: ButtonChanged | WheelTurned) -> bool:
        return 0 <= event.x < self._spec.extent_width and 0 <= event.y < self._spec.extent_height

    def _append(self, t_ns: int, action: Action) -> None:
        self.timeline.times_ns.append(t_ns)
        self.timeline.actions.append(action)

    def _drop(self, reason: EventDrop, *, once: bool = True) -> None:
        if once:
            self.timeline.drops[reason] += 1
