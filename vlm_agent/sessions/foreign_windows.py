"""Whose input is it: the windows that were active while another recorder ran, and which of them is the game's.

OWAMcap's recorders tell the active window about once a second, and they hear keys and clicks of all windows. The game's
is the window that was captured: its rectangle is about as large as the captured picture. Where several are, or none is
(a whole screen was captured), it is the one that was active nearly all the time; where none was, the user has to say.
What was done while another window was active is no play: those spans do not belong to the session.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from vlm_agent.errors import ConfigError
from vlm_agent.sessions.types import Excluded

ELSEWHERE = "elsewhere"
"""Why such a span is excluded."""
EVERY_WINDOW = "*"
"""Says that the input of all windows is meant."""
_BORDER_PX = 64
"""A window is taken for the captured one if it exceeds the picture by at most this: invisible borders, a title."""
_MOST_OF_THE_TIME = 0.9
_MOST_TOLD = 5
_MOST_TITLES = 1000

Size = tuple[int, int]
WindowKey = int | str
"""A window's handle, or its title where there is none."""


@dataclass
class Stretch:
    """A time in which one window was active."""

    start_ns: int
    """First moment."""
    key: WindowKey
    """The window."""
    inputs: int = 0
    """Messages of mouse and keyboard in it."""
    pictures: int = 0
    """Messages of pictures in it."""
    left_ns: int | None = None
    """Since the window was last told: when a button was first pressed outside it, which makes another one active."""
    left_inputs: int = 0
    """Messages of mouse and keyboard since then."""
    left_pictures: int = 0
    """Messages of pictures since then."""


@dataclass
class WindowLog:
    """Active windows, noted in order of time."""

    titles: dict[WindowKey, list[str]] = field(default_factory=dict)
    """Of each window all titles it had."""
    fitting: set[WindowKey] = field(default_factory=set)
    """Windows about as large as the captured picture."""
    stretches: list[Stretch] = field(default_factory=list)
    """One after another."""
    early: Stretch = field(default_factory=lambda: Stretch(0, ""))
    """What came before the first window was told; counted to that one."""
    _rect: tuple[int, int, int, int] | None = None

    def see_window(self, t_ns: int, message: dict[str, Any], captured: Size | None) -> None:
        """Take note of a `window` message."""
        key, title = window_key(message), str(message.get("title") or "")
        known = self.titles.setdefault(key, [])
        if title not in known and len(known) < _MOST_TITLES:
            known.append(title)
        if window_origin(message, captured) is not None:
            self.fitting.add(key)
        self._rect = read_rect(message)
        if not self.stretches:
            self.stretches.append(Stretch(self.early.start_ns, key, self.early.inputs, self.early.pictures))
        elif self.stretches[-1].key != key:
            self.stretches.append(Stretch(t_ns, key))
        else:
            last = self.stretches[-1]
            last.left_ns, last.left_inputs, last.left_pictures = None, 0, 0

    def see_input(self, t_ns: int, pressed_at: tuple[int, int] | None) -> None:
        """Take note of a message of mouse or keyboard; `pressed_at` is where on the screen a button went down in it."""
        stretch = self.stretches[-1] if self.stretches else self.early
        if pressed_at is not None and self._rect is not None and stretch.left_ns is None:
            left, top, right, bottom = self._rect
            if not (left <= pressed_at[0] < right and top <= pressed_at[1] < bottom):
                stretch.left_ns = t_ns
        stretch.inputs += 1
        stretch.left_inputs += stretch.left_ns is not None

    def see_picture(self) -> None:
        """Take note of a message of a picture."""
        stretch = self.stretches[-1] if self.stretches else self.early
        stretch.pictures += 1
        stretch.left_pictures += stretch.left_ns is not None


@dataclass(frozen=True)
class Ownership:
    """Which window is the game's, and what was done in others."""

    told: str
    """How it was decided, in words."""
    unclear: str = ""
    """Why it can't be decided; empty where it can."""
    game: frozenset[WindowKey] = frozenset()
    """The game's windows; empty where all count."""
    spans: tuple[Excluded, ...] = ()
    """When another window was active, in order of time."""
    inputs: int = 0
    """Messages of mouse and keyboard in these spans."""
    pictures: int = 0
    """Messages of pictures in these spans."""


def find_ownership(log: WindowLog, stop_ns: int, title: str) -> Ownership:
    """Return which window is the game's.

    Args:
        log: the windows of a whole recording.
        stop_ns: the first moment after it.
        title: a part of the title of the game's window, or `EVERY_WINDOW`; empty to decide it by what is told.

    Raises:
        ConfigError: No window has such a title.
    """
    if title == EVERY_WINDOW:
        return Ownership("the input of every window")
    if not log.stretches:
        if title:
            raise ConfigError(f"--game-window {title!r}: the recording tells no windows; leave it out")
        return Ownership("not told: all input is taken for the game's")
    active_ns = _active_ns(log, stop_ns)
    if title:
        named = {key for key, titles in log.titles.items() if any(title.casefold() in one.casefold() for one in titles)}
        if not named:
            raise ConfigError(f"--game-window {title!r}: no window has such a title; there are {_tell(log, active_ns)}")
        return _with_spans(log, stop_ns, frozenset(named), f"named: {_name(log, named)}")
    candidates = log.fitting or set(log.titles)
    why = "as large as the pictures" if log.fitting else "no window is as large as the pictures"
    groups = _group(log, candidates)
    total_ns = sum(active_ns[key] for key in candidates)
    most = max(groups, key=lambda group: sum(active_ns[key] for key in group))
    if len(groups) > 1 and sum(active_ns[key] for key in most) < _MOST_OF_THE_TIME * total_ns:
        told = _tell(log, {key: active_ns[key] for key in candidates})
        return Ownership("", f"keys and clicks of several windows are in it, and any may be the game's: {told}")
    game = frozenset(most)
    others = "" if len(groups) == 1 else ", active nearly all the time"
    return _with_spans(log, stop_ns, game, f"{_name(log, game)} ({why}{others})")


def window_key(message: dict[str, Any]) -> WindowKey:
    """Return what tells a window of a `window` message from others."""
    handle = message.get("hWnd")
    return handle if isinstance(handle, int) and not isinstance(handle, bool) else str(message.get("title"))


def window_origin(message: dict[str, Any], captured: Size | None) -> tuple[int, int] | None:
    """Return where on the screen the captured picture's top left pixel is, if this is the window that was captured.

    Windows draws an invisible border left, right and below a window; the capture leaves it out.
    """
    rect = read_rect(message)
    if captured is None or rect is None:
        return None
    left, top, right, bottom = rect
    spare_x, spare_y = right - left - captured[0], bottom - top - captured[1]
    if not (0 <= spare_x <= _BORDER_PX and 0 <= spare_y <= _BORDER_PX):
        return None
    return left + spare_x // 2, top


def read_rect(message: dict[str, Any]) -> tuple[int, int, int, int] | None:
    """Return left, top, right, bottom of a `window` message, None where it tells none."""
    rect = message.get("rect")
    if not isinstance(rect, list) or len(rect) != 4 or not all(isinstance(side, int) for side in rect):
        return None
    return rect[0], rect[1], rect[2], rect[3]


def _active_ns(log: WindowLog, stop_ns: int) -> dict[WindowKey, int]:
    active_ns = dict.fromkeys(log.titles, 0)
    stops = [*(stretch.start_ns for stretch in log.stretches[1:]), stop_ns]
    for stretch, end_ns in zip(log.stretches, stops, strict=True):
        active_ns[stretch.key] += end_ns - stretch.start_ns
    return active_ns


def _group(log: WindowLog, keys: set[WindowKey]) -> list[set[WindowKey]]:
    """Put together windows that had a title in common: a game makes its window anew when it changes its size."""
    groups: list[tuple[set[str], set[WindowKey]]] = []
    for key in sorted(keys, key=str):
        titles, members = {title for title in log.titles[key] if title}, {key}
        for group in [group for group in groups if group[0] & titles]:
            groups.remove(group)
            titles, members = titles | group[0], members | group[1]
        groups.append((titles, members))
    return [members for _, members in groups]


def _with_spans(log: WindowLog, stop_ns: int, game: frozenset[WindowKey], told: str) -> Ownership:
    spans: list[Excluded] = []
    inputs = pictures = 0
    before: Stretch | None = None
    for place, stretch in enumerate(log.stretches):
        if stretch.key not in game:
            start_ns = stretch.start_ns
            if before is not None and before.key in game and before.left_ns is not None:
                start_ns = before.left_ns
                inputs, pictures = inputs + before.left_inputs, pictures + before.left_pictures
            inputs, pictures = inputs + stretch.inputs, pictures + stretch.pictures
            end_ns = log.stretches[place + 1].start_ns if place + 1 < len(log.stretches) else stop_ns
            if spans and spans[-1].stop_ns >= start_ns:
                start_ns = spans.pop().start_ns
            spans.append(Excluded(start_ns, end_ns, ELSEWHERE))
        before = stretch
    return Ownership(told, "", game, tuple(spans), inputs, pictures)


def _name(log: WindowLog, game: Iterable[WindowKey]) -> str:
    return ", ".join(sorted({repr(log.titles[key][0]) for key in game}))


def _tell(log: WindowLog, active_ns: dict[WindowKey, int]) -> str:
    most = sorted(active_ns, key=lambda key: -active_ns[key])
    told = [f"{log.titles[key][0]!r} ({active_ns[key] / 1e9:.0f} s)" for key in most[:_MOST_TOLD]]
    return ", ".join(told) + (", …" if len(most) > _MOST_TOLD else "")
