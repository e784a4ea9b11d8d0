"""Made-up players whose hand is known, recorded as sessions without pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from vlm_agent.actions.events import ButtonChanged, InputEvent, KeyChanged, PointerMoved
from vlm_agent.sessions.types import Controller
from vlm_agent.sessions.writer import SessionWriter, session_paths

WIDTH_PX, HEIGHT_PX = 800, 600
MS = 1_000_000


@dataclass(frozen=True)
class Hand:
    """How a made-up player plays: point, rest, click, pause, for ever."""

    path: Literal["hand", "line", "jump"] = "hand"
    """A bowed path in two strokes, a straight line at constant speed, or a jump."""
    pace: float = 1.0
    """How many times as long everything takes."""
    step_ms: int = 20
    """Time between two reports of the pointer."""
    seconds: float = 20.0
    """Length of a session."""
    keys: bool = True
    """Whether every third click is followed by a key."""


@dataclass(frozen=True)
class Stroke:
    """How one movement goes, whatever its pace."""

    bow: float
    """Sideways, as a share of the distance."""
    first: float
    """Share of the time that the first stroke takes."""
    second: float
    """Share of the distance that is left to a correction."""


def minimum_jerk(share):
    """Flash and Hogan 1985: way covered after a share of the time."""
    s = np.clip(share, 0.0, 1.0)
    return 10 * s**3 - 15 * s**4 + 6 * s**5


def play(hand: Hand, seed: int) -> list[InputEvent]:
    """Return the events of one session; the recording may end anywhere, in a movement or with a button down."""
    rng = np.random.default_rng(seed)
    # The form of the day: sessions of one player differ by more than their movements do.
    form = rng.lognormal(0.0, 0.07)
    events: list[InputEvent] = []
    now_ms, at = 200.0, np.array([400.0, 300.0])
    while now_ms < 1000 * hand.seconds:
        end = np.array([rng.uniform(50, WIDTH_PX - 50), rng.uniform(50, HEIGHT_PX - 50)])
        way = end - at
        if np.linalg.norm(way) < 60:
            continue
        duration_ms = hand.pace * form * (250 + 0.5 * np.linalg.norm(way)) * rng.lognormal(0.0, 0.1)
        rest_ms = hand.pace * form * max(20.0, rng.normal(70, 15))
        hold_ms = hand.pace * form * max(30.0, rng.normal(85, 20))
        pause_ms = hand.pace * form * (250 + rng.exponential(150))
        stroke = Stroke(rng.normal(0.0, 0.08), rng.uniform(0.55, 0.85), rng.uniform(0.05, 0.25))
        press_ms = now_ms + duration_ms + rest_ms
        if hand.path == "jump":
            events.append(PointerMoved(round(press_ms * MS), *map(round, end)))
        else:
            events += draw_path(hand, at, way, (now_ms, duration_ms), stroke)
        point = (round(end[0]), round(end[1]))
        events.append(ButtonChanged(round(press_ms * MS), *point, "left", True))
        events.append(ButtonChanged(round((press_ms + hold_ms) * MS), *point, "left", False))
        if hand.keys and rng.random() < 0.33:
            start_ms = press_ms + hold_ms + 0.3 * pause_ms
            key_ms = hand.pace * form * max(30.0, rng.normal(80, 20))
            events.append(KeyChanged(round(start_ms * MS), "space", True))
            events.append(KeyChanged(round((start_ms + key_ms) * MS), "space", False))
        now_ms, at = press_ms + hold_ms + pause_ms, np.array(point, dtype=float)
    events = [event for event in events if event.t_ns < 1e9 * hand.seconds]
    return sorted(events, key=lambda event: event.t_ns)


def draw_path(hand: Hand, at, way, timing, stroke: Stroke) -> list[PointerMoved]:
    """Return the reports of one movement; a report that repeats the last point is left out, as by a real mouse."""
    start_ms, duration_ms = timing
    first = np.ceil(start_ms / hand.step_ms) * hand.step_ms
    times_ms = np.append(np.arange(first, start_ms + duration_ms, hand.step_ms), start_ms + duration_ms)
    share = (times_ms - start_ms) / duration_ms
    if hand.path == "line":
        along, aside = np.clip(share, 0, 1), np.zeros_like(share)
    else:
        # A correction that sets out when the first stroke is nearly over.
        late = stroke.first - 0.1
        along = (1 - stroke.second) * minimum_jerk(share / stroke.first)
        along += stroke.second * minimum_jerk((share - late) / (1 - late))
        aside = stroke.bow * np.sin(np.pi * along)
    normal = np.array([-way[1], way[0]])
    points = np.rint(at + np.outer(along, way) + np.outer(aside, normal)).astype(int)
    events, last = [], tuple(np.rint(at).astype(int))
    for t_ms, point in zip(times_ms, points, strict=True):
        if tuple(point) != last:
            events.append(PointerMoved(round(t_ms * MS), int(point[0]), int(point[1])))
            last = tuple(point)
    return events


def record(
    stem: Path,
    events: list[InputEvent],
    *,
    who: Controller = "human",
    stop_ns: int = 20_000 * MS,
    policy: str | None = None,
    states: tuple[tuple[int, dict], ...] = (),
    width_px: int = WIDTH_PX,
) -> Path:
    """Write a session, and return its `.mcap`."""
    meta = {} if policy is None else {"policy": policy}
    stem.parent.mkdir(parents=True, exist_ok=True)
    with SessionWriter(stem, width_px=width_px, height_px=HEIGHT_PX, fps=10, meta=meta) as writer:
        writer.write_control(0, who)
        todo = [(t_ns, writer.write_game_state, (t_ns, state)) for t_ns, state in states]
        todo += [(event.t_ns, writer.write_event, (event,)) for event in events]
        for _, write, arguments in sorted(todo, key=lambda one: one[0]):
            write(*arguments)
        writer.write_control(stop_ns, who)
    return session_paths(stem)[0]


def record_all(folder: Path, hand: Hand, seeds: range, *, who: Controller = "human", policy: str | None = None):
    """Record a session for every seed."""
    stop_ns = round(hand.seconds * 1000) * MS
    return [
        record(folder / f"{who}-{seed}", play(hand, seed), who=who, stop_ns=stop_ns, policy=policy) for seed in seeds
    ]
