"""From rows of an `actions.csv`, in order of time, to device events with every press's release.

Two recorders write `click`: one when a button goes down only, the other when it goes down and when it comes up, without
saying which. `survey_clicks` tells them apart: where a click is two rows, rows come in close pairs with longer pauses
between. Of clicks without releases the release is made up `HOLD_NS` later, at the same point.

A release that is missing (it came while another window had the focus) is found when the same key or button goes down
again much later than a repeating key would; it is put right before that. What is down at the end is let go there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Literal

from vlm_agent.actions.events import ButtonChanged, InputEvent, KeyChanged, PointerMoved, WheelTurned
from vlm_agent.importing.clocks import Clock
from vlm_agent.importing.ilbot_rows import Row
from vlm_agent.importing.key_pairs import NO_PAIRS, KeyPairs
from vlm_agent.importing.report import SessionReport
from vlm_agent.sessions.wheel import Notches

ClickMeaning = Literal["press", "both"]
"""What a `click` row tells: that a button went down, or that it went down or came up."""

HOLD_NS = 80_000_000
"""How long a button is held in a made-up click; people hold for about 85 ms."""
KEY_LOST_NS = 1_000_000_000
"""A held key repeats about every 33 ms after half a second: one that goes down after so long came up in between."""
KEY_HELD_NS = 10_000_000_000
"""A key that is down for longer, and for twice as long as any other, lost its release: it came up soon after it was
last heard of, not when it is next."""
BUTTON_LOST_NS = 10_000_000_000
"""The longest drag that is believed."""
_PAIR_NS = 400_000_000
_PAIRED_SHARE = 0.8
_GAP_RATIO = 0.5


def survey_clicks(clicks: Sequence[tuple[int, str]]) -> ClickMeaning:
    """Return what `click` means in a log.

    Args:
        clicks: (time in ns, button) of some hundred clicks, in order of time.
    """
    inner: list[int] = []
    outer: list[int] = []
    for button in {name for _, name in clicks}:
        gaps = [after - before for before, after in pairwise(t for t, name in clicks if name == button)]
        place = 0
        while place < len(gaps):
            if gaps[place] <= _PAIR_NS:
                inner.append(gaps[place])
                place += 1  # the next gap is from this pair's end to the next pair
            if place < len(gaps):
                outer.append(gaps[place])
            place += 1
    is_paired = 2 * len(inner) >= _PAIRED_SHARE * len(clicks) > 0
    # Quick clicking without releases makes close pairs too, but evenly spaced ones.
    return "both" if is_paired and (not outer or median(inner) < _GAP_RATIO * median(outer)) else "press"


@dataclass(frozen=True)
class LogReading:
    """How a log is to be read, by what one look over it tells."""

    clicks: ClickMeaning = "both"
    """What a `click` row tells."""
    shift_y_px: int = 0
    """What is added to the y of clicks."""
    units_a_notch: int = 1
    """What whole numbers count in turns of the wheel."""
    pairs: KeyPairs = NO_PAIRS
    """What the log tells of its keys."""
    lost: frozenset[tuple[float, str]] = frozenset()
    """Time and key, as they are written, of the last press of keys whose release is missing for long."""


def find_lost(pairs: KeyPairs, clock: Clock, last: float) -> frozenset[tuple[float, str]]:
    """Return the last press of each key that would be down for longer than any key was held: its release is missing.

    Args:
        pairs: what the log tells of its keys.
        clock: how its times are written.
        last: time of its last row.
    """
    most_ns = max([KEY_HELD_NS, *(2 * clock.span_ns(held) for held in pairs.holds)])
    return frozenset(
        (time, text)
        for time, text, until in pairs.lost
        if clock.span_ns((last if until is None else until) - time) > most_ns
    )


class EventReader:
    """Reads one row after another; remembers what is down."""

    def __init__(self, reading: LogReading, report: SessionReport) -> None:
        """Take how to read the log, and where to count."""
        self._reading = reading
        self._repaired, self._kept, self._left_out = report.repaired, report.kept, report.left_out
        self._notches = Notches(reading.units_a_notch)
        self._keys: dict[str, int] = {}
        """When each key that is down was last pressed."""
        self._buttons: dict[str, ButtonChanged] = {}
        """The press of each button that is down, where releases are told."""
        self._due: dict[str, ButtonChanged] = {}
        """The made-up release of each button, not yet given out."""
        self._lost: dict[str, int] = {}
        """When each key comes up whose release is missing, not yet given out."""
        self._last_ns = 0

    def read(self, t_ns: int, row: Row) -> Iterator[InputEvent]:
        """Yield what happened up to a row and in it, in order of time."""
        self._last_ns = t_ns
        yield from self._give_due(t_ns)
        if row.event_type == "move":
            yield PointerMoved(t_ns, row.x, row.y)
        elif row.event_type == "scroll":
            across, up = self._notches.add(row.dx, row.dy)
            if across or up:
                yield WheelTurned(t_ns, row.x, row.y, across, up)
            else:
                self._repaired["part_of_a_notch_added_up"] += 1
        elif row.event_type != "click":
            yield from self._read_key(t_ns, row)
        else:
            self._repaired["click_moved_to_the_pointer"] += self._reading.shift_y_px != 0
            yield from self._click(t_ns, row._replace(y=row.y + self._reading.shift_y_px))

    def finish(self) -> Iterator[InputEvent]:
        """Yield the releases that are still missing."""
        self._left_out["wheel_turned_less_than_a_notch"] += self._notches.has_rest
        yield from self._give_due(max([self._last_ns, *self._lost.values()]))
        for key in self._keys:
            self._repaired["let_go_at_the_end"] += 1
            yield KeyChanged(self._last_ns, key, False)
        for down in self._buttons.values():
            self._repaired["let_go_at_the_end"] += 1
            yield ButtonChanged(self._last_ns, down.x, down.y, down.button, False)
        yield from sorted(self._due.values(), key=lambda release: release.t_ns)

    def _read_key(self, t_ns: int, row: Row) -> Iterator[InputEvent]:
        key = self._reading.pairs.name(row.name)
        if key is None:
            self._left_out["unknown_key"] += 1
            return
        is_press = row.event_type == "key_press"
        yield from self._key(t_ns, key, pressed=is_press)
        if is_press and (row.time, row.name) in self._reading.lost:
            self._lost[key] = t_ns + HOLD_NS

    def _key(self, t_ns: int, key: str, *, pressed: bool) -> Iterator[InputEvent]:
        before_ns = self._keys.get(key)
        self._lost.pop(key, None)
        if not pressed:
            if before_ns is None:
                self._kept["release_without_press"] += 1
            self._keys.pop(key, None)
        else:
            if before_ns is not None and t_ns - before_ns > KEY_LOST_NS:
                self._repaired["lost_key_release"] += 1
                yield KeyChanged(t_ns, key, False)
            elif before_ns is not None:
                self._kept["key_repeat"] += 1
            self._keys[key] = t_ns
        yield KeyChanged(t_ns, key, pressed)

    def _click(self, t_ns: int, row: Row) -> Iterator[InputEvent]:
        if self._reading.clicks == "press":
            return self._press(ButtonChanged(t_ns, row.x, row.y, row.name, True))
        return self._change(t_ns, row.x, row.y, row.name)

    def _press(self, press: ButtonChanged) -> Iterator[InputEvent]:
        early = self._due.pop(press.button, None)
        if early is not None:  # clicked again before the made-up release
            yield ButtonChanged(press.t_ns, early.x, early.y, early.button, False)
        self._repaired["release_made_up"] += 1
        self._due[press.button] = ButtonChanged(press.t_ns + HOLD_NS, press.x, press.y, press.button, False)
        yield press

    def _change(self, t_ns: int, x: int, y: int, button: str) -> Iterator[InputEvent]:
        down = self._buttons.pop(button, None)
        if down is not None and t_ns - down.t_ns <= BUTTON_LOST_NS:
            yield ButtonChanged(t_ns, x, y, button, False)
            return
        if down is not None:
            self._repaired["lost_button_release"] += 1
            yield ButtonChanged(t_ns, down.x, down.y, button, False)
        press = ButtonChanged(t_ns, x, y, button, True)
        self._buttons[button] = press
        yield press

    def _give_due(self, t_ns: int) -> Iterator[InputEvent]:
        buttons = [release for release in self._due.values() if release.t_ns <= t_ns]
        keys = [KeyChanged(up_ns, key, False) for key, up_ns in self._lost.items() if up_ns <= t_ns]
        due: list[ButtonChanged | KeyChanged] = [*buttons, *keys]
        for release in sorted(due, key=lambda release: release.t_ns):
            if isinstance(release, KeyChanged):
                self._repaired["lost_key_release"] += 1
                del self._lost[release.key], self._keys[release.key]
            else:
                del self._due[release.button]
            yield release
