"""A human hand on mouse and keyboard: movements with the timing and the shape that people's movements have.

A movement takes Fitts' time, starts with one minimum-jerk stroke that covers most of the way and ends with up to two
corrections that overlap it; it bows and trembles sideways and ends somewhere on the target, not at its centre.
Positions are frame pixels, times nanoseconds on the session's clock. The hand knows no game and no goal: it is told
where to go. Sources: Fitts' law in Shannon's form (ISO 9241-411), Flash and Hogan 1985 (minimum jerk),
Meyer et al. 1988 (submovements).
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vlm_agent.actions.events import ButtonChanged, InputEvent, KeyChanged, PointerMoved
from vlm_agent.games.ringcraft.layout import Rect
from vlm_agent.games.ringcraft.skill import Motor

SAMPLE_MS = 20
"""The pointer is sampled once per client tick."""
_NS_PER_MS = 1_000_000
_SHORTEST_MOVE_PX = 1.5
_CORRECTION_WIDTHS = 0.5
"""A first stroke that ends further from the goal than this share of the target's width is corrected."""

Path = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Stroke:
    """A planned movement."""

    path: Path
    """Pointer positions, float pixels (samples, 2); sample i is `SAMPLE_MS * (i + 1)` after the start."""
    duration_ms: float
    """Time the movement takes; the last sample is the first at or after it."""


def fitts_time_ms(motor: Motor, distance_px: float, width_px: float) -> float:
    """Return the mean time of a movement over a distance onto a target of a width, milliseconds."""
    return motor.fitts_intercept_ms + motor.fitts_slope_ms * math.log2(distance_px / max(width_px, 1.0) + 1.0)


def draw_endpoint(aim: Rect, motor: Motor, rng: np.random.Generator, *, misses: bool = False) -> tuple[float, float]:
    """Return where a movement onto `aim` ends: normal about the centre, kept on the target unless it misses.

    A miss ends beside the target, by up to three quarters of its size, on a side drawn at random.
    """
    x, y = aim.x + (aim.width - 1) / 2, aim.y + (aim.height - 1) / 2
    if misses:
        angle = rng.uniform(0.0, 2 * math.pi)
        reach = rng.uniform(0.75, 1.25)
        return x + reach * aim.width * math.cos(angle), y + reach * aim.height * math.sin(angle)
    return (
        x + _draw_inside(rng, motor.endpoint_spread * aim.width, 0.42 * (aim.width - 1)),
        y + _draw_inside(rng, motor.endpoint_spread * aim.height, 0.42 * (aim.height - 1)),
    )


def plan_stroke(
    start: tuple[float, float], end: tuple[float, float], width_px: float, motor: Motor, rng: np.random.Generator
) -> Stroke:
    """Plan a movement from `start` to `end`, onto a target `width_px` wide."""
    origin, goal = np.asarray(start, dtype=float), np.asarray(end, dtype=float)
    distance = float(np.linalg.norm(goal - origin))
    duration_ms = fitts_time_ms(motor, distance, width_px) * rng.lognormal(0.0, motor.duration_spread)
    num_samples = max(1, math.ceil(duration_ms / SAMPLE_MS))
    times_ms = SAMPLE_MS * np.arange(1, num_samples + 1)
    path = origin + _superpose(times_ms, _draw_submovements(goal - origin, duration_ms, width_px, motor, rng))
    path = path + _lateral(path, origin, goal, motor, rng)
    path[-1] = goal
    return Stroke(path, duration_ms)


class Hand:
    """Turns orders (point there, click, tap a key) into device events, each at its own time.

    Orders are queued; `release_due` hands out the events of one client tick. A button or key that goes down always
    comes up again, `drop_plans` included.
    """

    def __init__(
        self, motor: Motor, rng: np.random.Generator, *, position: tuple[int, int], frame_size_px: tuple[int, int]
    ) -> None:
        """Take the hand's skill, its source of chance, where the pointer is, and the frame's width and height."""
        self._motor = motor
        self._rng = rng
        self._position = position
        self._frame_size_px = frame_size_px
        self._queue: deque[InputEvent] = deque()
        self._down: dict[str, InputEvent] = {}

    @property
    def position(self) -> tuple[int, int]:
        """Where the pointer is, as last handed out."""
        return self._position

    @property
    def is_busy(self) -> bool:
        """Whether planned events are still to come."""
        return bool(self._queue)

    def rest_at(self, position: tuple[int, int]) -> None:
        """Note that the pointer is somewhere else than this hand left it (someone else moved it)."""
        self._position = position

    def point(self, aim: Rect, at_ns: int, *, misses: bool = False) -> int:
        """Plan a movement onto `aim` starting at a time; return when it arrives."""
        end = draw_endpoint(aim, self._motor, self._rng, misses=misses)
        end = (float(self._clamp(end)[0]), float(self._clamp(end)[1]))
        return self._move(end, min(aim.width, aim.height), at_ns)

    def drift(self, radius_px: float, at_ns: int) -> int:
        """Plan a small idle movement about where the pointer is; return when it ends."""
        x, y = self._position
        angle = self._rng.uniform(0.0, 2 * math.pi)
        radius = radius_px * self._rng.uniform(0.5, 1.0)
        end = self._clamp((x + radius * math.cos(angle), y + radius * math.sin(angle)))
        return self._move((float(end[0]), float(end[1])), radius_px, at_ns)

    def click(self, at_ns: int, button: str = "left") -> int:
        """Plan a click where the pointer will be once the movements planned so far are done; return when it ends."""
        x, y = self._planned_position()
        up_ns = at_ns + self._draw_hold_ns()
        self._push(ButtonChanged(at_ns, x, y, button, True))
        self._push(ButtonChanged(up_ns, x, y, button, False))
        return up_ns

    def tap(self, key: str, at_ns: int) -> int:
        """Plan a short press of a key; return when it ends."""
        return self.hold(key, at_ns, self._draw_hold_ns())

    def hold(self, key: str, at_ns: int, duration_ns: int) -> int:
        """Plan a key held for a time; return when it ends."""
        self._push(KeyChanged(at_ns, key, True))
        self._push(KeyChanged(at_ns + duration_ns, key, False))
        return at_ns + duration_ns

    def drop_plans(self) -> None:
        """Forget what has not begun; what is down still comes up at its planned time."""
        self._queue = deque(event for event in self._queue if self._ends_a_press(event))

    def release_due(self, until_ns: int) -> list[InputEvent]:
        """Return the events before `until_ns`, in order; they are done then."""
        due = []
        while self._queue and self._queue[0].t_ns < until_ns:
            event = self._queue.popleft()
            self._note(event)
            due.append(event)
        return due

    def _move(self, end: tuple[float, float], width_px: float, at_ns: int) -> int:
        start = self._planned_position()
        if math.dist(start, end) < _SHORTEST_MOVE_PX:
            return at_ns
        stroke = plan_stroke((float(start[0]), float(start[1])), end, width_px, self._motor, self._rng)
        last = start
        arrival_ns = at_ns
        for index, sample in enumerate(stroke.path, start=1):
            point = self._clamp((float(sample[0]), float(sample[1])))
            arrival_ns = at_ns + index * SAMPLE_MS * _NS_PER_MS
            if point != last:
                self._push(PointerMoved(arrival_ns, *point))
                last = point
        return arrival_ns

    def _planned_position(self) -> tuple[int, int]:
        for event in reversed(self._queue):
            if not isinstance(event, KeyChanged):
                return event.x, event.y
        return self._position

    def _push(self, event: InputEvent) -> None:
        # Plans overlap (a key held while the pointer moves), so an event may belong before the queue's end.
        later = []
        while self._queue and self._queue[-1].t_ns > event.t_ns:
            later.append(self._queue.pop())
        self._queue.append(event)
        self._queue.extend(reversed(later))

    def _note(self, event: InputEvent) -> None:
        if isinstance(event, ButtonChanged | KeyChanged):
            if event.pressed:
                self._down[_press_name(event)] = event
            else:
                self._down.pop(_press_name(event), None)
        if not isinstance(event, KeyChanged):
            self._position = (event.x, event.y)

    def _ends_a_press(self, event: InputEvent) -> bool:
        return isinstance(event, ButtonChanged | KeyChanged) and not event.pressed and _press_name(event) in self._down

    def _draw_hold_ns(self) -> int:
        hold_ms = max(35.0, self._rng.normal(self._motor.hold_mean_ms, self._motor.hold_spread_ms))
        return int(hold_ms * _NS_PER_MS)

    def _clamp(self, point: tuple[float, float]) -> tuple[int, int]:
        width, height = self._frame_size_px
        return min(max(round(point[0]), 0), width - 1), min(max(round(point[1]), 0), height - 1)


def _press_name(event: ButtonChanged | KeyChanged) -> str:
    return f"button {event.button}" if isinstance(event, ButtonChanged) else f"key {event.key}"


def _draw_inside(rng: np.random.Generator, spread: float, limit: float) -> float:
    return float(np.clip(rng.normal(0.0, spread), -limit, limit)) if limit > 0 else 0.0


@dataclass(frozen=True)
class _Submovement:
    start_ms: float
    duration_ms: float
    offset: npt.NDArray[np.float64]
    """Way covered, pixels (2,)."""


def _draw_submovements(
    way: npt.NDArray[np.float64], duration_ms: float, width_px: float, motor: Motor, rng: np.random.Generator
) -> list[_Submovement]:
    """Split a way into a first stroke of 85-98 % (or a little past the end) and up to two overlapping corrections."""
    distance = float(np.linalg.norm(way))
    share = rng.uniform(1.02, 1.08) if rng.random() < motor.overshoot_rate else rng.uniform(0.85, 0.98)
    left = abs(1.0 - share) * distance
    if left < _CORRECTION_WIDTHS * width_px:
        return [_Submovement(0.0, duration_ms, way)]
    first_ms = 0.72 * duration_ms
    start_ms = 0.62 * duration_ms
    rest = way * (1.0 - share)
    first = _Submovement(0.0, first_ms, way * share)
    if left < _CORRECTION_WIDTHS * width_px * 2 or rng.random() < 0.5:
        return [first, _Submovement(start_ms, duration_ms - start_ms, rest)]
    middle_ms = 0.5 * (duration_ms - start_ms)
    most = rng.uniform(0.7, 0.9)
    return [
        first,
        _Submovement(start_ms, middle_ms, rest * most),
        _Submovement(start_ms + middle_ms, duration_ms - start_ms - middle_ms, rest * (1.0 - most)),
    ]


def _superpose(times_ms: npt.NDArray[np.int_], parts: list[_Submovement]) -> Path:
    """Sum minimum-jerk strokes over sample times; returns offsets from the start (samples, 2)."""
    total = np.zeros((len(times_ms), 2))
    for part in parts:
        s = np.clip((times_ms - part.start_ms) / part.duration_ms, 0.0, 1.0)[:, None]
        total += part.offset * (10 * s**3 - 15 * s**4 + 6 * s**5)
    return total


def _lateral(
    path: Path, origin: npt.NDArray[np.float64], goal: npt.NDArray[np.float64], motor: Motor, rng: np.random.Generator
) -> Path:
    """Return the sideways offsets of a path (samples, 2): a bow and an Ornstein-Uhlenbeck tremor."""
    way = goal - origin
    distance = float(np.linalg.norm(way))
    normal = np.array([-way[1], way[0]]) / distance
    along = np.clip((path - origin) @ way / distance**2, 0.0, 1.0)
    # Both fade to nothing at the ends: a movement starts at the pointer and stops where it was drawn to stop.
    bow = rng.normal(0.0, motor.curvature) * distance
    envelope = np.sin(np.pi * along)
    tremor = _ornstein_uhlenbeck(len(path), motor.lateral_noise * distance, rng)
    return np.outer(envelope * (bow + tremor), normal)


def _ornstein_uhlenbeck(num_samples: int, spread: float, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Return a mean-reverting walk with a time constant of 120 ms and the given standard deviation."""
    decay = math.exp(-SAMPLE_MS / 120.0)
    noise = rng.normal(0.0, spread * math.sqrt(1 - decay**2), num_samples)
    values = np.empty(num_samples)
    value = rng.normal(0.0, spread)
    for index in range(num_samples):
        value = decay * value + noise[index]
        values[index] = value
    return values
