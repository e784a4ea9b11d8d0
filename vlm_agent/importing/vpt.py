"""VPT's recordings of Minecraft: one line of JSON a tick (`<id>.jsonl`), one frame a tick (`<id>.mp4`), 20 a second.

What VPT's own loader mends is mended here, and what the files leave open is decided so and said in the report:

- line n was done at n times 50 ms, at the frame that the video shows then. A video that tells other times than the
  lines (as many frames as lines, or evenly at another rate) is taken frame for line;
- attack stuck down: where the first tick tells the left button as newly pressed, it is taken as up until it is pressed;
- the wheel is not recorded: a change of the hotbar without a key or wheel becomes a press of the slot's digit;
- ticks in which nothing happens stay, as time in which nothing happens, and are counted;
- the mouse is caught while no menu is open: its motion becomes raw motion, and clicks are at the frame's centre. In a
  menu it has a position in the recorded window's pixels, 720 high, which is brought to the frame's size;
- raw motion in a menu is scaled by the recorder's version (`--recorder-version`; no file tells it);
- a state every 600 ms: what the tick tells beside mouse, keyboard and statistics. The cursor is not drawn into frames.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vlm_agent.actions.events import ButtonChanged, InputEvent, KeyChanged, PointerMoved, WheelTurned
from vlm_agent.errors import DataError, LeftOutError
from vlm_agent.importing.key_names import from_minecraft
from vlm_agent.importing.limits import MAX_JSON_LINE_BYTES, MAX_NOTCHES, MAX_POSITION_PX
from vlm_agent.importing.options import ImportOptions, Source
from vlm_agent.importing.reading import read_lines
from vlm_agent.importing.report import SessionReport
from vlm_agent.importing.session_files import Entry, Incoming, State, with_goal
from vlm_agent.importing.videos import Timing, check_video, decode_frames, measure_times
from vlm_agent.sessions.plain_json import parse_json
from vlm_agent.sessions.types import Frame, RawMotion
from vlm_agent.sessions.wheel import Notches

TICK_NS = 50_000_000
TICKS_PER_STATE = 12
_TAP_NS = TICK_NS // 2
"""How long something is held that went down and came up within a tick."""
_WINDOW_SIZE_PX = (1280, 720)
_MENU_SCALES = {"5.7": 0.5, "5.8": 0.5, "6.7": 2.0, "6.8": 2.0, "6.9": 2.0}
"""Of the mouse's motion while a menu is open, by the recorder's version; facts of VPT's published loader."""
_BUTTONS = ("left", "right", "middle", "x1", "x2")
_ATTACK = "left"
_EVEN_SHARE, _LENGTH_SHARE = 0.25, 0.1
"""By how much an even step may differ from the typical one, and a video's length from that of the lines."""
_HOTBAR_SLOTS = 9
_MOST_HELD = 64
_NOT_STATE = ("mouse", "keyboard", "stats")


class Tick(NamedTuple):
    """What one line says."""

    keys: frozenset[str]
    """Canonical names of the keys that are down at its end."""
    new_keys: frozenset[str]
    """Those that went down in it."""
    buttons: frozenset[str]
    """Mouse buttons that are down at its end."""
    new_buttons: frozenset[str]
    """Those that went down in it."""
    motion: tuple[int, int]
    """Of the mouse, right and down."""
    position: tuple[float, float]
    """Of the pointer, in the recorded window's pixels; means something in menus only."""
    wheel: float
    """Turned up, in notches or in units of a wheel."""
    in_menu: bool
    """Whether a menu is open and the mouse is a pointer."""
    hotbar: int | None
    """Chosen slot from 0."""
    unknown: int
    """Keys and buttons without a name."""
    state: dict[str, Any]
    """The rest."""


def read_tick(line: bytes) -> Tick:
    """Return what a line says.

    Raises:
        LeftOutError: It is no tick.
    """
    try:
        value, _ = parse_json(line)
    except DataError as error:
        raise LeftOutError("broken_line") from error
    if not is_tick(value):
        raise LeftOutError("line_is_no_tick")
    mouse, keyboard = value["mouse"], value["keyboard"]
    keys, new_keys = _names(keyboard.get("keys")), _names(keyboard.get("newKeys"))
    buttons, new_buttons = _names(mouse.get("buttons")), _names(mouse.get("newButtons"))
    found = [*keys, *new_keys, *buttons, *new_buttons]
    hotbar = value.get("hotbar")
    return Tick(
        frozenset(keys) - {None},  # type: ignore[arg-type]
        frozenset(new_keys) - {None},  # type: ignore[arg-type]
        frozenset(buttons) - {None},  # type: ignore[arg-type]
        frozenset(new_buttons) - {None},  # type: ignore[arg-type]
        (round(_number(mouse, "dx")), round(_number(mouse, "dy"))),
        (_number(mouse, "x"), _number(mouse, "y")),
        max(min(_number(mouse, "dwheel"), MAX_NOTCHES), -MAX_NOTCHES),
        value.get("isGuiOpen") is True,
        hotbar if isinstance(hotbar, int) and 0 <= hotbar < _HOTBAR_SLOTS else None,
        sum(name is None for name in found),
        {key: item for key, item in value.items() if key not in _NOT_STATE},
    )


def is_tick(value: Any) -> bool:
    """Return whether a JSON value is a tick of such a recording."""
    return (
        isinstance(value, Mapping)
        and isinstance(value.get("mouse"), Mapping)
        and isinstance(value.get("keyboard"), Mapping)
        and ("dx" in value["mouse"] or "buttons" in value["mouse"])
    )


def open_recording(source: Source, options: ImportOptions, report: SessionReport) -> Incoming:
    """Return the recording of a log of ticks, with the video beside it if there is one.

    Raises:
        DataError: The video is none, or leads out of the folder.
    """
    video = source.path.with_suffix(".mp4")
    size = check_video(source.root, video) if video.exists() else None
    version = options.recorder_version.strip()
    report.decided["times"] = "20 ticks a second, one frame each"
    by_time = size is not None and _goes_by_time(source, measure_times(video))
    if by_time:
        report.decided["pictures"] = "by their own times in the video"
    report.decided["motion in menus"] = f"times {_MENU_SCALES.get(version, 1.0):g} ({version or 'version not told'})"
    reader = TickReader(size or _WINDOW_SIZE_PX, _MENU_SCALES.get(version, 1.0), report)
    pictures = _Pictures(_place_frames(video, by_time, report), size, report) if size else None
    entries = _entries(source, reader, pictures, report)
    return Incoming(
        *(size or _WINDOW_SIZE_PX),
        1e9 / TICK_NS,
        with_goal(entries, options.goal),
        {"title": source.session, "imported": {"kind": source.kind, "source": source.path.name}},
    )


class TickReader:
    """Turns one tick after another into device events; remembers what is down."""

    def __init__(self, size: tuple[int, int], menu_scale: float, report: SessionReport) -> None:
        """Take the frames' (width, height), the scale of motion in menus, and where to count."""
        self._scale = size[1] / _WINDOW_SIZE_PX[1]
        self._pointer = self._centre = (size[0] // 2, size[1] // 2)
        self._menu_scale = menu_scale
        self._notches = Notches(1)
        self._report = report
        self._keys: frozenset[str] = frozenset()
        self._buttons: frozenset[str] = frozenset()
        self._hotbar: int | None = None
        self._is_first = True
        self._is_stuck = False
        self._end_ns = 0

    def read(self, t_ns: int, tick: Tick) -> list[InputEvent | RawMotion]:
        """Return what happened in a tick, in order of time."""
        tick = self._free_attack(tick)
        self._report.left_out["unknown_key_or_button"] += tick.unknown
        if not (tick.keys or tick.buttons or tick.new_keys or tick.new_buttons or tick.wheel or any(tick.motion)):
            self._report.kept["tick_without_input"] += 1
        events = [*self._move(t_ns, tick), *self._choose_slot(t_ns, tick)]
        for key, at_ns, pressed in _changes(t_ns, self._keys, tick.keys, tick.new_keys):
            events.append(KeyChanged(at_ns, key, pressed))
        x, y = self._pointer
        for button, at_ns, pressed in _changes(t_ns, self._buttons, tick.buttons, tick.new_buttons):
            events.append(ButtonChanged(at_ns, x, y, button, pressed))
        self._keys, self._buttons, self._hotbar = tick.keys, tick.buttons, tick.hotbar
        self._end_ns = t_ns + TICK_NS
        return sorted(events, key=lambda event: event.t_ns)

    def finish(self) -> list[InputEvent]:
        """Return the release of all that is still down."""
        self._report.left_out["wheel_turned_less_than_a_notch"] += self._notches.has_rest
        self._report.repaired["let_go_at_the_end"] += len(self._keys) + len(self._buttons)
        keys = [KeyChanged(self._end_ns, key, False) for key in sorted(self._keys)]
        buttons = [ButtonChanged(self._end_ns, *self._pointer, button, False) for button in sorted(self._buttons)]
        return [*keys, *buttons]

    def _free_attack(self, tick: Tick) -> Tick:
        if self._is_first:
            self._is_stuck, self._is_first = tick.new_buttons == {_ATTACK}, False
        elif _ATTACK in tick.new_buttons:
            self._is_stuck = False
        if not self._is_stuck:
            return tick
        self._report.repaired["attack_stuck_at_the_start"] += _ATTACK in tick.buttons
        return tick._replace(buttons=tick.buttons - {_ATTACK}, new_buttons=tick.new_buttons - {_ATTACK})

    def _move(self, t_ns: int, tick: Tick) -> Iterator[InputEvent | RawMotion]:
        factor = self._menu_scale if tick.in_menu else 1.0
        motion = round(tick.motion[0] * factor), round(tick.motion[1] * factor)
        if any(motion):
            yield RawMotion(t_ns, *motion)
        before, self._pointer = self._pointer, self._centre
        if tick.in_menu:
            self._pointer = round(tick.position[0] * self._scale), round(tick.position[1] * self._scale)
            if self._pointer != before:
                yield PointerMoved(t_ns, *self._pointer)
        _, notches = self._notches.add(0, tick.wheel)
        if notches:
            yield WheelTurned(t_ns, *self._pointer, 0, notches)
        elif tick.wheel:
            self._report.repaired["part_of_a_notch_added_up"] += 1

    def _choose_slot(self, t_ns: int, tick: Tick) -> Iterator[InputEvent]:
        if self._hotbar is None or tick.hotbar in (self._hotbar, None) or tick.wheel:
            return
        digit = str(int(tick.hotbar or 0) + 1)
        if digit not in tick.keys | tick.new_keys | self._keys:
            self._report.repaired["hotbar_key_made_up"] += 1
            yield KeyChanged(t_ns, digit, True)
            yield KeyChanged(t_ns + _TAP_NS, digit, False)


def _changes(
    t_ns: int, before: frozenset[str], after: frozenset[str], new: frozenset[str]
) -> Iterator[tuple[str, int, bool]]:
    for name in sorted(before - after - new):
        yield name, t_ns, False
    for name in sorted((after - before) | new):
        if name in before:  # came up and went down again within the tick
            yield name, t_ns, False
        yield name, t_ns, True
        if name not in after:
            yield name, t_ns + _TAP_NS, False


def _goes_by_time(source: Source, timing: Timing | None) -> bool:
    """Return whether a video's own times say which line its frames belong to."""
    if timing is None:
        return False
    lines = sum(1 for _ in read_lines(source.root, source.path, MAX_JSON_LINE_BYTES))
    step_ns = (timing.last_ns - timing.first_ns) / (timing.frames - 1)
    is_even = max(timing.longest_ns - step_ns, step_ns - timing.shortest_ns) <= _EVEN_SHARE * step_ns
    is_as_long = abs(timing.frames * step_ns - lines * TICK_NS) <= _LENGTH_SHARE * lines * TICK_NS
    is_late = timing.first_ns >= TICK_NS
    return not is_even or is_late or (is_as_long and timing.frames != lines)


def _place_frames(video: Path, by_time: bool, report: SessionReport) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield (line, picture) in order."""
    before = -1
    for number, picture in enumerate(decode_frames(video)):
        place = (picture.pts_ns + TICK_NS // 2) // TICK_NS if by_time else number
        if place <= before:
            report.left_out["frame_between_ticks"] += 1
            continue
        before = place
        report.repaired["picture_turned_upright"] += picture.is_turned
        yield place, picture.rgb


class _Pictures:
    """The pictures of a video, handed out line by line."""

    def __init__(
        self, frames: Iterator[tuple[int, NDArray[np.uint8]]], size: tuple[int, int], report: SessionReport
    ) -> None:
        """Take (line, picture) in order, the (width, height) that they should have, and where to count."""
        self._frames, self._size, self._report = frames, size, report
        self._following = next(frames, None)

    @property
    def has_ended(self) -> bool:
        """Whether no line after those before has one."""
        return self._following is None

    def show(self, place: int) -> Iterator[Entry]:
        """Yield the picture of a line if it has one; lines come in order."""
        if self._following is None or self._following[0] > place:
            self._report.kept["tick_without_a_picture_of_its_own"] += 1
            return
        _, rgb = self._following
        if rgb.shape[:2] == self._size[::-1]:
            yield Entry(place * TICK_NS, Frame(place * TICK_NS, rgb))
        else:
            self._report.left_out["picture_of_another_size"] += 1
        self._following = next(self._frames, None)

    def count_rest(self) -> None:
        """Count those that belong to no line."""
        self._report.left_out["frame_without_tick"] += (not self.has_ended) + sum(1 for _ in self._frames)


def _entries(source: Source, reader: TickReader, pictures: _Pictures | None, report: SessionReport) -> Iterator[Entry]:
    for place, line in enumerate(read_lines(source.root, source.path, MAX_JSON_LINE_BYTES)):
        t_ns = place * TICK_NS
        if pictures is not None and pictures.has_ended:
            report.left_out["tick_without_frame"] += 1
            continue
        yield from pictures.show(place) if pictures else ()
        try:
            tick = read_tick(line) if line is not None else None
        except LeftOutError as error:
            report.left_out[error.reason] += 1
            continue
        if tick is None:
            report.left_out["line_too_long"] += 1
            continue
        if place % TICKS_PER_STATE == 0:
            yield Entry(t_ns, State(tick.state))
        for event in reader.read(t_ns, tick):
            yield Entry(event.t_ns, event)
    if pictures is not None:
        pictures.count_rest()
    for last in reader.finish():
        yield Entry(last.t_ns, last)


def _names(value: Any) -> list[str | None]:
    names: list[str | None] = []
    for item in value[:_MOST_HELD] if isinstance(value, list) else ():
        if isinstance(item, str):
            names.append(from_minecraft(item))
        else:
            is_button = isinstance(item, int) and not isinstance(item, bool) and 0 <= item < len(_BUTTONS)
            names.append(_BUTTONS[item] if is_button else None)
    return names


def _number(value: Mapping[str, Any], key: str) -> float:
    number = value.get(key)
    if not isinstance(number, int | float) or isinstance(number, bool) or abs(number) > MAX_POSITION_PX:
        return 0.0
    return float(number)
