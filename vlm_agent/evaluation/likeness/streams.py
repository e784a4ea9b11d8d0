"""What a session says about hand and screen: where the pointer was, what was pressed, when the game changed.

Read once from the `.mcap`; no picture is decoded. This module knows neither movements nor distances.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlm_agent.actions.events import ButtonChanged, InputEvent, KeyChanged, PointerMoved, WheelTurned
from vlm_agent.actions.playback import NS_PER_MS
from vlm_agent.errors import DataError
from vlm_agent.evaluation.rectangles import list_boxes
from vlm_agent.sessions.types import Controller

Floats = NDArray[np.float64]
Times = NDArray[np.int64]

_UNSEEN = frozenset(
    {"timestamp", "camera", "mouse", "hoveredTile", "hoverText", "menuEntries", "lastInteraction", "chat"}
)
"""What a state says about the pointer, the clock and the past: it changes without anything having happened."""


@dataclass(frozen=True, slots=True)
class Press:
    """A button or key that went down."""

    t_ns: int
    """When."""
    hold_ms: float | None
    """How long it stayed down; None where the recording ended first."""
    name: str
    """`left`, `right`, `middle`, or a key's name."""
    point: tuple[int, int] | None
    """Where the pointer was, frame pixels; None for a key."""

    @property
    def stop_ns(self) -> int:
        """When it came up; when it went down where that is unknown."""
        return self.t_ns + round((self.hold_ms or 0.0) * NS_PER_MS)


@dataclass(frozen=True, slots=True)
class Scene:
    """What a game state shows."""

    t_ns: int
    """When it was exported."""
    situation: str
    """Hash of its truth values and short texts: another one means that something visible happened."""
    targets: NDArray[np.int32]
    """What could be pressed, (targets, 4): left, top, width, height in frame pixels."""


@dataclass(frozen=True)
class InputStream:
    """One session's hand and screen."""

    session: str
    """The file's name without suffix."""
    policy: str | None
    """Which policy's episode it is; None for a recording of a person."""
    frame_size_px: tuple[int, int] | None
    """Width and height of its frames; None where it has none."""
    spans_ns: tuple[tuple[int, int], ...]
    """When the one who is asked about was in control, half-open."""
    times_ns: Times
    """When the pointer was told to be somewhere, rising strictly, (samples,)."""
    points: Floats
    """Where, frame pixels, (samples, 2)."""
    presses: tuple[Press, ...]
    """Buttons, in order of time."""
    keys: tuple[Press, ...]
    """Keys, in order of time; what the keyboard repeats while a key is held is left out."""
    wheel_ns: Times
    """When the wheel was turned."""
    scenes: tuple[Scene, ...]
    """Game states, in order of time."""
    sampling_ms: float | None
    """Time between two samples while the pointer moves; None where it hardly does."""

    @property
    def duration_ms(self) -> float:
        """How long the one who is asked about was in control, milliseconds."""
        return sum(stop - start for start, stop in self.spans_ns) / NS_PER_MS


def read_stream(path: Path, who: Controller) -> InputStream:
    """Read a session.

    Args:
        path: the `.mcap` file.
        who: whose part of it; a session that does not say who acts is a human's.

    Raises:
        DataError: it is damaged, or `who` never acts in it.
    """
    from vlm_agent.sessions.reader import SessionReader

    reader = SessionReader(path)
    info = reader.info()
    spans_ns = tuple(_list_spans(reader.controls(), who, info.start_ns, info.end_ns + 1))
    if not spans_ns:
        other = "an agent" if who == "human" else "a human"
        raise DataError(f"{path}: expected a session of {'a human' if who == 'human' else 'an agent'}, got {other}'s")
    events = list(reader.events())
    moves_ns = np.array([event.t_ns for event in events if isinstance(event, PointerMoved)], dtype=np.int64)
    times_ns, points = _follow_pointer(events)
    policy = reader.meta.get("policy")
    return InputStream(
        session=path.stem,
        policy=policy if isinstance(policy, str) else None,
        frame_size_px=reader.frame_size,
        spans_ns=spans_ns,
        times_ns=times_ns,
        points=points,
        presses=tuple(_list_presses(event for event in events if isinstance(event, ButtonChanged))),
        keys=tuple(_list_presses(event for event in events if isinstance(event, KeyChanged))),
        wheel_ns=np.array([event.t_ns for event in events if isinstance(event, WheelTurned)], dtype=np.int64),
        scenes=tuple(read_scene(t_ns, state) for t_ns, state in reader.game_states()),
        sampling_ms=measure_sampling(moves_ns),
    )


LONGEST_STEP_MS = 120.0
"""A pointer that says nothing for longer was at rest: a slow device reports every 50 ms, and only what has changed."""
_LEAST_STEPS = 10


def measure_sampling(moves_ns: Times) -> float | None:
    """Return the median time between reports of a moving pointer, milliseconds; None for fewer than ten."""
    steps_ms = np.diff(moves_ns) / NS_PER_MS
    steps_ms = steps_ms[(steps_ms > 0) & (steps_ms <= LONGEST_STEP_MS)]
    return float(np.median(steps_ms)) if len(steps_ms) >= _LEAST_STEPS else None


def read_scene(t_ns: int, state: dict[str, Any]) -> Scene:
    """Return what a game state shows, whatever the game.

    Its situation is made of the truth values, nulls and texts outside lists: windows that open, phases, what an
    animation is. Numbers are left out, for a walking player's place is another one at every tick.
    """
    situation = json.dumps(_keep_facts(state), sort_keys=True)
    targets = np.array(sorted(set(_find_targets(state))), dtype=np.int32).reshape(-1, 4)
    return Scene(t_ns, hashlib.sha256(situation.encode()).hexdigest()[:16], targets)


def _keep_facts(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _keep_facts(inner) for key, inner in value.items() if key not in _UNSEEN}
    return value if value is None or isinstance(value, bool | str) else 0


def _find_targets(state: Any) -> Iterator[tuple[int, int, int, int]]:
    for box in list_boxes(state):
        left, top, width, height = map(round, box)
        if width > 0 and height > 0:
            yield left, top, width, height


def _list_spans(
    controls: Iterable[tuple[int, Controller]], who: Controller, start_ns: int, stop_ns: int
) -> Iterator[tuple[int, int]]:
    """Yield the half-open spans in which `who` acts; before anyone is named the first one named does."""
    turns: list[tuple[int, Controller]] = []
    for t_ns, acting in controls:
        # Saying again who acts changes nothing.
        if not turns or turns[-1][1] != acting:
            turns.append((t_ns if turns else start_ns, acting))
    for (t_ns, acting), (until_ns, _) in pairwise([*(turns or [(start_ns, "human")]), (stop_ns, who)]):
        if acting == who and until_ns > t_ns:
            yield t_ns, until_ns


def _follow_pointer(events: Iterable[InputEvent]) -> tuple[Times, Floats]:
    """Return times (samples,) and points (samples, 2) of the pointer; of several at one time the last."""
    at: dict[int, tuple[int, int]] = {}
    for event in events:
        if not isinstance(event, KeyChanged):
            at[event.t_ns] = (event.x, event.y)
    times_ns = sorted(at)
    points = np.array([at[t_ns] for t_ns in times_ns], dtype=float).reshape(-1, 2)
    return np.array(times_ns, dtype=np.int64), points


def _list_presses(events: Iterable[ButtonChanged] | Iterable[KeyChanged]) -> list[Press]:
    down: dict[str, ButtonChanged | KeyChanged] = {}
    presses = []
    for event in events:
        name = event.button if isinstance(event, ButtonChanged) else event.key
        if event.pressed:
            down.setdefault(name, event)
        elif name in down:
            first = down.pop(name)
            presses.append(_make_press(first, name, (event.t_ns - first.t_ns) / NS_PER_MS))
    presses += [_make_press(event, name, None) for name, event in down.items()]
    return sorted(presses, key=lambda press: press.t_ns)


def _make_press(event: ButtonChanged | KeyChanged, name: str, hold_ms: float | None) -> Press:
    return Press(event.t_ns, hold_ms, name, (event.x, event.y) if isinstance(event, ButtonChanged) else None)
