"""What is compared: every feature's name, unit and group, and its values in a session."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from vlm_agent.actions.playback import NS_PER_MS
from vlm_agent.evaluation.likeness.movements import Movement, Shape, find_movements, resample
from vlm_agent.evaluation.likeness.streams import Floats, InputStream, Press, Scene
from vlm_agent.evaluation.likeness.timing import (
    KEY,
    KINDS,
    LEFT,
    MOVE,
    OTHER_BUTTON,
    RIGHT,
    SCROLL,
    Act,
    Pieces,
    count_per_minute,
    cut_pieces,
    find_pause_before,
    list_acts,
    list_busy_shares,
    list_click_intervals,
    list_idle_spans,
    list_reactions,
    list_rests,
    list_transitions,
)

Group = Literal["shape", "timing", "rate"]


@dataclass(frozen=True)
class Feature:
    """One thing that is compared."""

    key: str
    """Its name in files."""
    label: str
    """Its name for readers."""
    unit: str
    """`ms`, `px`, ... or empty."""
    group: Group
    """`shape`: how a movement goes; `timing`: how long things take; `rate`: how often things are done."""
    digits: int = 0
    """Digits after the point that mean something."""
    least: int = 20
    """With fewer values on either side it is left out: its distance would be noise."""


_LEAST_PIECES = 8
"""A rate is counted over a whole piece; fewer of them mean something than of single movements or presses."""

FEATURES = (
    Feature("path_ratio", "path over distance", "", "shape", 3),
    Feature("bow", "sideways bow", "", "shape", 3),
    Feature("peak_place", "place of top speed", "", "shape", 2),
    Feature("submovements", "submovements", "", "shape", 1),
    Feature("smoothness", "smoothness", "", "shape", 2),
    Feature("movement_ms", "movement time", "ms", "timing"),
    Feature("peak_px_s", "top speed", "px/s", "timing"),
    Feature("throughput", "throughput", "bit/s", "timing", 1),
    Feature("rest_ms", "rest before a press", "ms", "timing"),
    Feature("reaction_ms", "reaction", "ms", "timing"),
    Feature("click_interval_ms", "time between clicks", "ms", "timing"),
    Feature("button_hold_ms", "button hold", "ms", "timing"),
    Feature("key_hold_ms", "key hold", "ms", "timing"),
    Feature("idle_ms", "pause", "ms", "timing"),
    Feature("distance_px", "movement distance", "px", "rate"),
    Feature("busy_share", "time with input", "%", "rate", 0, _LEAST_PIECES),
    Feature("moves_min", "movements", "/min", "rate", 1, _LEAST_PIECES),
    Feature("left_clicks_min", "left clicks", "/min", "rate", 1, _LEAST_PIECES),
    Feature("right_clicks_min", "right clicks", "/min", "rate", 1, _LEAST_PIECES),
    Feature("other_clicks_min", "other clicks", "/min", "rate", 1, _LEAST_PIECES),
    Feature("keys_min", "keys", "/min", "rate", 1, _LEAST_PIECES),
    Feature("scrolls_min", "scrolls", "/min", "rate", 1, _LEAST_PIECES),
)
"""All that have a unit of their own, in the order of the table; what follows what is `TRANSITIONS`."""
TRANSITIONS = Feature("transitions", "what follows what", "", "rate", 2)
"""Pairs of kinds of act; compared by total variation, for they have no order."""
_RATE_KINDS = {
    "moves_min": MOVE,
    "left_clicks_min": LEFT,
    "right_clicks_min": RIGHT,
    "other_clicks_min": OTHER_BUTTON,
    "keys_min": KEY,
    "scrolls_min": SCROLL,
}
MOVEMENT_COLUMNS = (
    *("path_ratio", "bow", "peak_place", "submovements", "smoothness"),
    *("movement_ms", "peak_px_s", "before_ms"),
)
"""What the classifier is told of a movement; time and speed for its distance, see `level_movements`."""
PRESS_COLUMNS = ("hold_ms", "rest_ms", "since_press_ms", "is_right")
"""What the classifier is told of a press."""


@dataclass(frozen=True)
class Aim:
    """A movement onto something whose size is known, and that was pressed."""

    difficulty_bit: float
    """Fitts' index in Shannon's form, log2(distance / width + 1) (ISO 9241-411)."""
    movement_ms: float
    """How long the movement took."""


@dataclass(frozen=True)
class SessionFeatures:
    """All that is compared of one session."""

    session: str
    """Its name."""
    pieces: int
    """In how many pieces it was taken."""
    values: Mapping[str, Floats]
    """By feature; each (values,), empty where there is nothing."""
    transitions: Floats
    """What follows what: index of the first kind times their number plus that of the second, (pairs,)."""
    profiles: Floats
    """Speed over movements, (movements, PROFILE_POINTS), multiples of each movement's mean."""
    movements: Floats
    """A row for each movement that has a shape, columns `MOVEMENT_COLUMNS`; NaN where something is unknown."""
    distances_px: Floats
    """How far each of these went, (movements,)."""
    presses: Floats
    """A row for each press of a button, columns `PRESS_COLUMNS`; NaN where something is unknown."""
    aims: tuple[Aim, ...]
    """For Fitts' law."""


def measure_session(stream: InputStream, *, interval_ms: float, piece_ms: float) -> SessionFeatures:
    """Measure a session.

    Args:
        stream: its input.
        interval_ms: the sampling interval that all sessions are brought to.
        piece_ms: the length that all sessions are cut to.
    """
    pieces = cut_pieces(stream.spans_ns, piece_ms)
    track = resample(stream, interval_ms)
    found = [] if track is None else find_movements(track, [press.t_ns for press in stream.presses])
    acts = list_acts(stream, found)
    # One interval at either end: what is still moving there has been cut off by the recording.
    margin_ns = round(interval_ms * NS_PER_MS)
    movements = [one for one in found if pieces.is_inside(one.start_ns - margin_ns, one.stop_ns + margin_ns)]
    shaped = [(one, one.shape) for one in movements if one.shape is not None]
    rests = list_rests(stream.presses, found, pieces)
    aims = tuple(_list_aims(stream.scenes, found, rests))
    held = [[one.hold_ms for one in of_kind if pieces.is_inside(one.t_ns, one.stop_ns)] for of_kind in _both(stream)]
    per_minute = count_per_minute(acts, pieces)
    values: dict[str, Sequence[float | None]] = {
        "path_ratio": [shape.path_ratio for _, shape in shaped],
        "bow": [shape.bow for _, shape in shaped],
        "peak_place": [shape.peak_place for _, shape in shaped],
        "submovements": [shape.submovements for _, shape in shaped],
        "smoothness": [shape.smoothness for _, shape in shaped],
        "movement_ms": [movement.duration_ms for movement, _ in shaped],
        "peak_px_s": [movement.peak_px_s for movement, _ in shaped],
        "distance_px": [movement.distance_px for movement in movements],
        "throughput": [1000 * aim.difficulty_bit / aim.movement_ms for aim in aims],
        "rest_ms": [rest_ms for rest_ms, _ in rests],
        "reaction_ms": list_reactions(stream, acts, pieces),
        "click_interval_ms": list_click_intervals(stream.presses, pieces),
        "button_hold_ms": held[0],
        "key_hold_ms": held[1],
        "idle_ms": list_idle_spans(acts, pieces),
        "busy_share": list_busy_shares(acts, pieces),
        **{key: per_minute[kind] for key, kind in _RATE_KINDS.items()},
    }
    pairs = [KINDS.index(one) * len(KINDS) + KINDS.index(later) for one, later in list_transitions(acts, pieces)]
    return SessionFeatures(
        session=stream.session,
        pieces=len(pieces.edges_ns),
        values={key: np.array([one for one in of_key if one is not None], float) for key, of_key in values.items()},
        transitions=np.array(pairs, dtype=float),
        profiles=_stack([shape.profile for _, shape in shaped]),
        movements=_stack([_movement_row(movement, shape, acts, pieces) for movement, shape in shaped]),
        distances_px=np.array([movement.distance_px for movement, _ in shaped]),
        presses=_stack(_press_rows(stream.presses, rests, pieces)),
        aims=aims,
    )


def _both(stream: InputStream) -> tuple[tuple[Press, ...], tuple[Press, ...]]:
    return stream.presses, stream.keys


def level_movements(sessions: Sequence[SessionFeatures]) -> list[Floats]:
    """Return the rows of movements with time and speed as they are for the distance, by session.

    How far the pointer has to go is decided by what lies where, and a classifier that knew it would tell scenes apart,
    not hands. Logs of time and speed less their line over the log of the distance, fitted on all sessions together.
    """
    log_distances = np.log(np.concatenate([one.distances_px for one in sessions]))
    if len(log_distances) == 0 or np.ptp(log_distances) == 0:
        return [one.movements for one in sessions]
    whole = np.concatenate([one.movements for one in sessions if len(one.movements)])
    for name in ("movement_ms", "peak_px_s"):
        column = MOVEMENT_COLUMNS.index(name)
        logs = np.log(whole[:, column])
        whole[:, column] = logs - np.polyval(np.polyfit(log_distances, logs, 1), log_distances)
    return np.split(whole, np.cumsum([len(one.movements) for one in sessions])[:-1])


def _stack(rows: Sequence[Floats]) -> Floats:
    return np.stack(rows) if rows else np.empty((0, 0))


def _movement_row(movement: Movement, shape: Shape, acts: Sequence[Act], pieces: Pieces) -> Floats:
    before_ms = find_pause_before(acts, movement.start_ns, pieces)
    return np.array(
        [
            *(shape.path_ratio, shape.bow, shape.peak_place, shape.submovements, shape.smoothness),
            *(movement.duration_ms, movement.peak_px_s),
            math.nan if before_ms is None else before_ms,
        ]
    )


def _press_rows(presses: Sequence[Press], rests: Sequence[tuple[float, Press]], pieces: Pieces) -> list[Floats]:
    rest_ms = {press.t_ns: rest for rest, press in rests}
    rows = []
    before: Press | None = None
    for press in presses:
        if pieces.is_inside(press.t_ns, press.stop_ns):
            is_known = before is not None and pieces.is_inside(before.t_ns, press.t_ns)
            since_ms = (press.t_ns - before.t_ns) / NS_PER_MS if before is not None and is_known else math.nan
            hold_ms = math.nan if press.hold_ms is None else press.hold_ms
            rows.append(np.array([hold_ms, rest_ms.get(press.t_ns, math.nan), since_ms, float(press.name == "right")]))
        before = press
    return rows


def _list_aims(
    scenes: Sequence[Scene], movements: Sequence[Movement], rests: Sequence[tuple[float, Press]]
) -> list[Aim]:
    """Return the movements that led to a press on something whose bounds the state of that moment tells."""
    scene_times_ns = np.array([scene.t_ns for scene in scenes], dtype=np.int64)
    starts_ns = np.array([movement.start_ns for movement in movements], dtype=np.int64)
    aims = []
    for _, press in rests:
        # The state before the press: a later one may show what the press has done.
        movement = movements[int(np.searchsorted(starts_ns, press.t_ns)) - 1]
        index = int(np.searchsorted(scene_times_ns, press.t_ns, side="right")) - 1
        width_px = _find_width(scenes[index], press.point) if index >= 0 and press.point is not None else None
        if width_px is not None and movement.duration_ms > 0:
            aims.append(Aim(math.log2(movement.distance_px / width_px + 1), movement.duration_ms))
    return aims


def _find_width(scene: Scene, point: tuple[int, int]) -> float | None:
    """Return the smaller side of the smallest target under a point, pixels."""
    left, top, width, height = scene.targets.T
    is_under = (left <= point[0]) & (point[0] < left + width) & (top <= point[1]) & (point[1] < top + height)
    if not is_under.any():
        return None
    areas = np.where(is_under, width.astype(np.int64) * height, np.iinfo(np.int64).max)
    best = int(areas.argmin())
    return float(min(width[best], height[best]))
