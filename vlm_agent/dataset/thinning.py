"""Thins a window's pointer path to few way-points, and measures what that loses.

A stretch is left out where the pointer stays within a tolerance of the smooth stroke that `actions.playback` would draw
between its ends, so each way-point lies as far from the one before as one stroke can tell. (Cutting at the worst point,
as Douglas and Peucker do for lines, keeps more: strokes that start and stop are not lines.) Clicks and wheel turns are
way-points already, since executing them brings the pointer there, so the moves that lead to one are usually left out.
Where the pointer is at the end of the window is kept. The error is measured by playing the thinned chunk back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from vlm_agent.actions.events import ButtonChanged, PointerMoved
from vlm_agent.actions.playback import expand
from vlm_agent.actions.types import Action, ActionChunk, Key
from vlm_agent.errors import ConfigError

Points = NDArray[np.float64]
"""Pointer points of shape (n, 3): time in ms since the window's start, x and y in frame pixels."""

_STEP_MS = 20
"""The reconstruction error is sampled this often."""


@dataclass(frozen=True)
class ThinningConfig:
    """How much of a pointer's path is kept."""

    path_tolerance_px: float = 60.0
    """A played-back stroke may stray this far from the recorded one at any moment."""
    rest_tolerance_px: float = 12.0
    """The pointer may end the window this far from where it did."""

    def __post_init__(self) -> None:
        """Raise ConfigError for a tolerance below 0."""
        if min(self.path_tolerance_px, self.rest_tolerance_px) < 0:
            raise ConfigError("thinning tolerances must not be negative")


@dataclass
class ThinningError:
    """How far played-back pointers stray from recorded ones, gathered over windows."""

    samples: int = 0
    """Moments compared, one each 20 ms of every window in which the pointer moved."""
    sum_square_px2: float = 0.0
    """Sum of the squared distances."""
    max_px: float = 0.0
    """Largest distance."""
    points_in: int = 0
    """Recorded pointer points."""
    points_out: int = 0
    """MOVEs they became."""

    @property
    def rms_px(self) -> float:
        """Root mean square distance, pixels."""
        return float(np.sqrt(self.sum_square_px2 / self.samples)) if self.samples else 0.0

    def add(self, distances_px: NDArray[np.float64]) -> None:
        """Count the distances of one window."""
        self.samples += len(distances_px)
        self.sum_square_px2 += float(np.square(distances_px).sum())
        self.max_px = max(self.max_px, float(distances_px.max(initial=0.0)))

    def merge(self, other: ThinningError) -> None:
        """Add what another part of the dataset lost."""
        self.samples += other.samples
        self.sum_square_px2 += other.sum_square_px2
        self.max_px = max(self.max_px, other.max_px)
        self.points_in += other.points_in
        self.points_out += other.points_out

    def to_json(self) -> dict[str, float | int]:
        """Return the figures that a manifest stores."""
        return {
            "rms_px": round(self.rms_px, 2),
            "max_px": round(self.max_px, 2),
            "points_in": self.points_in,
            "points_out": self.points_out,
        }


def thin_path(
    points: Points, anchors: Points, start: tuple[int, int], config: ThinningConfig
) -> list[tuple[int, int, int]]:
    """Return the way-points worth keeping, as (ms, x, y), in order of time.

    Args:
        points: the window's pointer points.
        anchors: points of the window's clicks and wheel turns, which are way-points in any case.
        start: where the pointer is when the window begins.
        config: tolerances.
    """
    if not len(points):
        return []
    path = np.concatenate([[(0.0, *start)], points])
    fixed = {0, *_nearest_in_time(path, anchors)}
    end = _find_end(path, max(fixed), config.rest_tolerance_px)
    edges = sorted(fixed) if end is None else [*sorted(fixed), end]
    keep = {i for begin, stop in pairwise(edges) for i in _split(path, begin, stop, config.path_tolerance_px)}
    kept = [(int(path[i, 0]), int(path[i, 1]), int(path[i, 2])) for i in sorted(keep)]
    before = path[max(fixed | keep), 1:]
    if end is not None and _distance(path[-1, 1:], before) > config.rest_tolerance_px:
        kept.append((int(path[end, 0]), int(path[-1, 1]), int(path[-1, 2])))
    return kept


def measure_error(chunk: ActionChunk, points: Points, start: tuple[int, int], horizon_ms: int) -> NDArray[np.float64]:
    """Return the distances, one each 20 ms, from the recorded pointer to the chunk played back from the same start."""
    moments = np.arange(0, horizon_ms, _STEP_MS, dtype=float)
    events = expand(chunk, start_t_ns=0, pointer=start, horizon_ms=horizon_ms, step_ms=_STEP_MS)
    played = np.array(
        [(0.0, *start)]
        + [(event.t_ns / 1e6, event.x, event.y) for event in events if isinstance(event, PointerMoved | ButtonChanged)]
    )
    recorded = np.concatenate([[(0.0, *start)], points]) if len(points) else np.array([(0.0, *start)])
    difference = _positions(recorded, moments) - _positions(played, moments)
    return np.hypot(difference[:, 0], difference[:, 1])


def anchors_of(actions: Sequence[tuple[int, Action]]) -> Points:
    """Return the points that timed actions (ms, action) bring the pointer to."""
    rows = [(float(ms), action.x, action.y) for ms, action in actions if not isinstance(action, Key)]
    return np.array(rows, dtype=float).reshape(-1, 3)


def _split(path: Points, first: int, last: int, tolerance_px: float) -> list[int]:
    """Return the way-points needed between two, each as far from the one before as one stroke can tell."""
    keep: list[int] = []
    begin = first
    while True:
        fitting = (end for end in range(last, begin, -1) if _stray(path, begin, end).max(initial=0.0) <= tolerance_px)
        begin = next(fitting)
        if begin == last:
            return keep
        keep.append(begin)


def _stray(path: Points, begin: int, end: int) -> NDArray[np.float64]:
    """Return how far the points between two of them are from the stroke that joins these."""
    inner = path[begin + 1 : end]
    off = inner[:, 1:] - _stroke(path[begin], path[end], inner[:, 0])
    return np.hypot(off[:, 0], off[:, 1])


def _stroke(begin: Points, end: Points, times_ms: NDArray[np.float64]) -> NDArray[np.float64]:
    # The minimum-jerk stroke of `actions.playback`, not rounded to pixels and steps.
    span = max(end[0] - begin[0], 1e-9)
    tau = (times_ms - begin[0]) / span
    share = tau**3 * (10 - 15 * tau + 6 * tau**2)
    return begin[1:] + share[:, None] * (end[1:] - begin[1:])


def _find_end(path: Points, last_fixed: int, tolerance_px: float) -> int | None:
    """Return the index at which the pointer is best said to have come to rest, or None if it has not moved since.

    Not the last report: a hand that rests still trembles. Not the first point near enough either: the stroke slows down
    before its end. So the moment, from the first near enough, at which a stroke fits best.
    """
    away = np.hypot(path[:, 1] - path[-1, 1], path[:, 2] - path[-1, 2]) > tolerance_px
    arrival = int(np.flatnonzero(away)[-1]) + 1 if away.any() else 0
    if arrival <= last_fixed:
        return None
    return min(range(arrival, len(path)), key=lambda end: float(_stray(path, last_fixed, end).max(initial=0.0)))


def _nearest_in_time(path: Points, anchors: Points) -> list[int]:
    return [int(np.abs(path[:, 0] - anchor[0]).argmin()) for anchor in anchors]


def _positions(track: Points, moments: NDArray[np.float64]) -> NDArray[np.float64]:
    # A pointer stays where it was last seen until it is seen elsewhere.
    return track[np.searchsorted(track[:, 0], moments, side="right") - 1, 1:]


def _distance(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    return float(np.hypot(*(a - b)))
