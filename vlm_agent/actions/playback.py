"""A chunk in frame pixels as raw device events: smooth pointer paths, full presses as down then up.

It knows no clock and no device: it only says which event is due when (see `executors`, and the games' `feed`).
"""

from __future__ import annotations

from dataclasses import dataclass

from vlm_agent.actions.events import ButtonChanged, InputEvent, KeyChanged, PointerMoved, WheelTurned
from vlm_agent.actions.invalid import InvalidActionError, Reason
from vlm_agent.actions.types import ActionChunk, Click, Key, Move, Scroll

NS_PER_MS = 1_000_000
"""Nanoseconds in a millisecond."""


@dataclass(frozen=True)
class _Pace:
    hold_ns: int
    step_ns: int


def expand(
    chunk: ActionChunk,
    *,
    start_t_ns: int,
    pointer: tuple[int, int],
    horizon_ms: int,
    hold_ms: int = 60,
    step_ms: int = 20,
    relative: bool = False,
) -> list[InputEvent]:
    """Return the device events of `chunk`, sorted by time.

    The pointer arrives at every point exactly at its action's time, on a straight minimum-jerk path from where it was.
    A full press is released after `hold_ms`, or halfway to the next pointer action where that comes sooner (moving with
    the button down would be a drag), and in any case before the same key is pressed again; the last release may lie
    after the horizon. The path stays in the convex hull of `pointer` and the chunk's points.

    Args:
        chunk: Actions in frame pixels.
        start_t_ns: Time of the window's start on the session's clock.
        pointer: Where the pointer is at that time, frame pixels.
        horizon_ms: Length of the window.
        hold_ms: How long a full press is held.
        step_ms: Time between two points of a path.
        relative: Read MOVE as an offset from where the pointer is, and press where the pointer is.

    Raises:
        InvalidActionError: the actions take longer than the horizon.
    """
    if chunk.duration_ms > horizon_ms:
        raise InvalidActionError(Reason.OVER_HORIZON, f"dt adds up to {chunk.duration_ms} ms, at most {horizon_ms}")
    pace = _Pace(hold_ms * NS_PER_MS, step_ms * NS_PER_MS)
    times_ns = _times_ns(chunk, start_t_ns)
    events: list[InputEvent] = []
    free_ns = start_t_ns  # from when on the pointer may leave its last point
    for index, (action, t_ns) in enumerate(zip(chunk.actions, times_ns, strict=True)):
        if isinstance(action, Key):
            events += _press_key(chunk, times_ns, index, pace)
            continue
        target = _target(action, pointer, relative=relative)
        events += _path(pointer, target, free_ns, t_ns, pace.step_ns)
        if isinstance(action, Move) or target != pointer:
            events.append(PointerMoved(t_ns, *target))
        pointer, free_ns = target, t_ns
        if isinstance(action, Scroll):
            events.append(WheelTurned(t_ns, *target, dx=0, dy=action.dy))
        elif isinstance(action, Click):
            presses = _press_button(chunk, times_ns, index, target, pace)
            events += presses
            free_ns = presses[-1].t_ns
    return sorted(events, key=lambda event: event.t_ns)  # stable: what was said first stays first


def _times_ns(chunk: ActionChunk, start_t_ns: int) -> list[int]:
    times_ns = []
    t_ns = start_t_ns
    for action in chunk.actions:
        t_ns += action.dt_ms * NS_PER_MS
        times_ns.append(t_ns)
    return times_ns


def _target(action: Click | Scroll | Move, pointer: tuple[int, int], *, relative: bool) -> tuple[int, int]:
    if not relative:
        return action.x, action.y
    if isinstance(action, Move):
        return pointer[0] + action.x, pointer[1] + action.y
    return pointer


def _path(
    source: tuple[int, int], target: tuple[int, int], start_ns: int, stop_ns: int, step_ns: int
) -> list[InputEvent]:
    # Minimum jerk (Flash and Hogan 1985), sampled strictly between the two times; points that repeat are left out.
    points: list[InputEvent] = []
    last = source
    for t_ns in range(start_ns + step_ns, stop_ns, step_ns):
        part = (t_ns - start_ns) / (stop_ns - start_ns)
        eased = part**3 * (10 - 15 * part + 6 * part**2)
        point = (
            round(source[0] + (target[0] - source[0]) * eased),
            round(source[1] + (target[1] - source[1]) * eased),
        )
        if point != last:
            points.append(PointerMoved(t_ns, *point))
            last = point
    return points


def _press_button(
    chunk: ActionChunk, times_ns: list[int], index: int, at: tuple[int, int], pace: _Pace
) -> list[ButtonChanged]:
    action, t_ns = chunk.actions[index], times_ns[index]
    assert isinstance(action, Click)
    if action.state is not None:
        return [ButtonChanged(t_ns, *at, button=action.button, pressed=action.state == "down")]
    held_ns = pace.hold_ns
    for later, later_ns in zip(chunk.actions[index + 1 :], times_ns[index + 1 :], strict=True):
        if not isinstance(later, Key):
            held_ns = min(held_ns, (later_ns - t_ns) // 2)
            break
    return [
        ButtonChanged(t_ns, *at, button=action.button, pressed=True),
        ButtonChanged(t_ns + held_ns, *at, button=action.button, pressed=False),
    ]


def _press_key(chunk: ActionChunk, times_ns: list[int], index: int, pace: _Pace) -> list[InputEvent]:
    action, t_ns = chunk.actions[index], times_ns[index]
    assert isinstance(action, Key)
    if action.state is not None:
        return [KeyChanged(t_ns, key=action.key, pressed=action.state == "down")]
    held_ns = pace.hold_ns
    for later, later_ns in zip(chunk.actions[index + 1 :], times_ns[index + 1 :], strict=True):
        if isinstance(later, Key) and later.key == action.key:
            held_ns = min(held_ns, (later_ns - t_ns) // 2)
            break
    return [
        KeyChanged(t_ns, key=action.key, pressed=True),
        KeyChanged(t_ns + held_ns, key=action.key, pressed=False),
    ]
