"""Mouse and keyboard of other recorders (OWAMcap 0.3 to 0.6) as events in frame pixels.

One look over the whole recording finds what it tells of itself (`survey`): whose input it is, how large the screen was
that the pictures were made of, in which messages buttons and wheel are, what the wheel counts. Then events are read in
order of time. Other recorders store positions on the screen: they are shifted by the place of the captured window and
scaled by what the pictures were scaled.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from vlm_agent.actions.events import ButtonChanged, InputEvent, KeyChanged, PointerMoved, WheelTurned
from vlm_agent.errors import DataError
from vlm_agent.sessions.foreign_windows import (
    Ownership,
    Size,
    WindowKey,
    WindowLog,
    find_ownership,
    window_key,
    window_origin,
)
from vlm_agent.sessions.mcap_writer import LoggedMessage
from vlm_agent.sessions.topics import (
    RawMouseReport,
    WheelReport,
    decode_key,
    decode_pointer,
    decode_raw_mouse,
    is_raw_mouse,
    read_pointer,
    read_shapes,
)
from vlm_agent.sessions.wheel import UNITS_A_NOTCH, Notches, find_units_a_notch

INPUT_TOPICS = frozenset(("window", "screen", "mouse", "mouse/raw", "mouse/state", "keyboard"))
"""Topics that events are made of."""
_SET_BACK_NS = 200_000_000
"""A topic is written by one thread, in order of its clock; less than this is a jitter between threads."""
_MOST_TURNS = 100_000

Decoded = tuple[LoggedMessage, dict[str, Any]]


@dataclass
class InputCounts:
    """What was mended and left out while events were read, by reason."""

    repaired: Counter[str] = field(default_factory=Counter)
    """What was mended or made up."""
    left_out: Counter[str] = field(default_factory=Counter)
    """What is no event."""


@dataclass(frozen=True)
class InputSurvey:
    """What a recording tells of its input."""

    ownership: Ownership
    """Whose it is."""
    origin: tuple[int, int]
    """Where on the screen the top left pixel of the first picture is."""
    source: Size | None
    """(width, height) of what the first picture was made of, in pixels of the screen; None without pictures."""
    raw_buttons: bool
    """Whether buttons are in raw messages alone."""
    raw_wheel: bool
    """Whether turns of the wheel are in raw messages alone."""
    units_a_notch: int
    """What whole numbers count in turns of the wheel that aren't in raw messages."""
    has_pointer: bool
    """Whether any message tells where the pointer is."""


def check_clock(messages: Iterable[LoggedMessage]) -> None:
    """Look whether the recorder's clock was set back while it ran.

    Args:
        messages: all messages in the order in which they were written.

    Raises:
        DataError: It was; what came before and after can't be told apart any more.
    """
    latest: dict[str, int] = {}
    for number, message in enumerate(messages, 1):
        before_ns = latest.get(message.channel.topic, message.t_ns)
        if before_ns - message.t_ns > _SET_BACK_NS:
            raise DataError(
                f"the clock was set back by {(before_ns - message.t_ns) / 1e9:.3f} s while this was recorded (message"
                f" {number}, {message.channel.topic}), so what came before and after would be mixed: record it again,"
                " with a clock that is not set while recording"
            )
        latest[message.channel.topic] = max(before_ns, message.t_ns)


def survey(messages: Iterable[Decoded], stop_ns: int, frame: Size | None, game_window: str) -> InputSurvey:
    """Return what a recording tells of its input.

    Args:
        messages: those of `INPUT_TOPICS`, all of them, in order of time.
        stop_ns: the first moment after the recording.
        frame: (width, height) of its frames; None without frames.
        game_window: a part of the title of the game's window, or `*` for all; empty to find it.

    Raises:
        ConfigError: No window has such a title.
        DataError: A message breaks the format.
    """
    log = WindowLog()
    source, sources = frame, list[Size]()
    origins: dict[WindowKey, tuple[int, int]] = {}
    seen: set[str] = set()
    turns: list[float] = []
    for number, (message, value) in enumerate(messages):
        if number == 0:
            log.early.start_ns = message.t_ns
        topic = message.channel.topic
        if topic == "window":
            log.see_window(message.t_ns, value, source)
            origin = window_origin(value, source)
            if origin is not None:
                origins.setdefault(window_key(value), origin)
        elif topic == "screen":
            source = read_shapes(value)[0] or frame
            if source is not None and not sources:
                sources.append(source)
            log.see_picture()
        elif topic == "mouse/state":
            seen.add("pointer")
        elif topic == "keyboard":
            log.see_input(message.t_ns, None)
        else:
            _see_mouse(message.t_ns, value, log, seen, turns)
    ownership = find_ownership(log, stop_ns, game_window)
    return InputSurvey(
        ownership,
        next((origin for key, origin in origins.items() if not ownership.game or key in ownership.game), (0, 0)),
        sources[0] if sources else frame,
        "raw button" in seen and "button" not in seen,
        "raw wheel" in seen and "wheel" not in seen,
        find_units_a_notch(turns),
        "pointer" in seen,
    )


def _see_mouse(t_ns: int, value: dict[str, Any], log: WindowLog, seen: set[str], turns: list[float]) -> None:
    if is_raw_mouse(value):
        raw = decode_raw_mouse(value)
        seen |= {"raw button"} if raw.buttons else set()
        seen |= {"raw wheel"} if any(raw.wheel) else set()
        log.see_input(t_ns, None)
        return
    event = decode_pointer(t_ns, value)
    seen.add("pointer")
    if isinstance(event, ButtonChanged):
        seen.add("button")
    elif isinstance(event, WheelReport):
        seen.add("wheel")
        if len(turns) < _MOST_TURNS:
            turns += [event.dx, event.dy]
    is_press = isinstance(event, ButtonChanged) and event.pressed
    log.see_input(t_ns, (event.x, event.y) if is_press else None)


class ForeignEventReader:
    """Turns messages in order of time into events; remembers what is down and where the pointer is."""

    def __init__(self, found: InputSurvey, frame: Size | None, counts: InputCounts) -> None:
        """Take what the recording tells, the (width, height) of its frames, and where to count."""
        self._found = found
        self._frame = frame
        self._counts = counts
        self._origin = found.origin
        self._source = found.source
        self._pointer: tuple[int, int] | None = None
        """Where the pointer was last told to be, on the screen."""
        self._down: dict[tuple[type[InputEvent], str], tuple[int, int]] = {}
        """Keys and buttons that are down, and where a button went down, in the frame."""
        self._notches, self._raw_notches = Notches(found.units_a_notch), Notches(UNITS_A_NOTCH)
        self._spans = list(reversed(found.ownership.spans))
        self._was_away = False

    def read(self, messages: Iterable[Decoded]) -> Iterator[InputEvent]:
        """Yield events in order of time.

        Args:
            messages: those of `INPUT_TOPICS` in order of time, without what lies in spans of other windows.

        Raises:
            DataError: A message breaks the format.
        """
        for message, value in messages:
            yield from self._leave(message.t_ns)
            topic = message.channel.topic
            if topic == "window":
                self._see_window(value)
            elif topic == "screen":
                self._source = read_shapes(value)[0] or self._source
            elif topic == "keyboard":
                yield from self._change(decode_key(message.t_ns, value))
            elif topic == "mouse/state":
                self._pointer = read_pointer(value) or self._pointer
            else:
                yield from self._see_mouse(message.t_ns, value)
        yield from self._leave(None)
        rests = (self._notches.has_rest, self._raw_notches.has_rest)
        self._counts.left_out["wheel_turned_less_than_a_notch"] += sum(rests)

    def _leave(self, t_ns: int | None) -> Iterator[InputEvent]:
        """Yield the releases of what was down when another window became active."""
        while self._spans and (t_ns is None or self._spans[-1].start_ns <= t_ns):
            start_ns = self._spans.pop().start_ns
            self._was_away = True
            for (kind, name), (x, y) in self._down.items():
                self._counts.repaired["let_go_when_another_window_became_active"] += 1
                is_key = kind is KeyChanged
                yield KeyChanged(start_ns, name, False) if is_key else ButtonChanged(start_ns, x, y, name, False)
            self._down.clear()

    def _see_window(self, value: dict[str, Any]) -> None:
        game = self._found.ownership.game
        if not game or window_key(value) in game:
            self._origin = window_origin(value, self._source) or self._origin

    def _see_mouse(self, t_ns: int, value: dict[str, Any]) -> Iterator[InputEvent]:
        if is_raw_mouse(value):
            yield from self._see_raw(t_ns, decode_raw_mouse(value))
            return
        event = decode_pointer(t_ns, value)
        self._pointer = event.x, event.y
        x, y = self._place()
        if isinstance(event, PointerMoved):
            yield PointerMoved(t_ns, x, y)
        elif isinstance(event, ButtonChanged):
            yield from self._change(ButtonChanged(t_ns, x, y, event.button, event.pressed))
        else:
            yield from self._turn(t_ns, event.dx, event.dy, self._notches)

    def _see_raw(self, t_ns: int, raw: RawMouseReport) -> Iterator[InputEvent]:
        if self._found.raw_buttons:
            for button, pressed in raw.buttons:
                yield from self._change(ButtonChanged(t_ns, *self._place(), button, pressed))
        if self._found.raw_wheel and any(raw.wheel):
            yield from self._turn(t_ns, *raw.wheel, self._raw_notches)

    def _turn(self, t_ns: int, dx: float, dy: float, notches: Notches) -> Iterator[InputEvent]:
        across, up = notches.add(dx, dy)
        if across or up:
            yield WheelTurned(t_ns, *self._place(), across, up)
        elif dx or dy:
            self._counts.repaired["part_of_a_notch_added_up"] += 1
        else:
            self._counts.left_out["scroll_of_nothing"] += 1

    def _change(self, event: KeyChanged | ButtonChanged) -> Iterator[InputEvent]:
        name = event.key if isinstance(event, KeyChanged) else event.button
        place = (0, 0) if isinstance(event, KeyChanged) else (event.x, event.y)
        if event.pressed:
            self._down[type(event), name] = place
        elif self._down.pop((type(event), name), None) is None and self._was_away:
            self._counts.left_out["release_of_a_press_in_another_window"] += 1
            return
        yield event

    def _place(self) -> tuple[int, int]:
        """Return where in the frame the pointer is; the middle where no message tells it, as of a caught mouse."""
        width_px, height_px = self._frame or (0, 0)
        if self._pointer is None:
            return width_px // 2, height_px // 2
        x, y = self._pointer[0] - self._origin[0], self._pointer[1] - self._origin[1]
        if self._frame is None or self._source is None or self._source == self._frame:
            return x, y
        return x * width_px // self._source[0], y * height_px // self._source[1]
