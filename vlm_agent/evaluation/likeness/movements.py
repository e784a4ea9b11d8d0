"""Pointer movements: where one begins and ends, and its shape in numbers.

All sessions are first brought to one sampling interval, for the roughness of a path is that of its sampling before it
is that of a hand. A movement is a run of samples faster than a slow pace that is fast somewhere; it ends at rest or
where a button goes down. Its shape is read from the path smoothed over a share of its time, which takes the steps of
whole pixels out and treats slow and fast movements of one shape alike. Speeds are frame pixels a second.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks

from vlm_agent.actions.playback import NS_PER_MS
from vlm_agent.evaluation.likeness.streams import LONGEST_STEP_MS, Floats, InputStream, Times

FASTEST_MS, SLOWEST_MS = 20.0, 50.0
"""The common sampling interval lies between these: 50 Hz hold everything a hand does (below about 10 Hz), and slower
than 20 Hz a movement is a handful of samples."""
FAST_PX_S = 100.0
"""A movement is at least this fast somewhere..."""
SLOW_PX_S = 15.0
"""...and nowhere slower than this: a pixel every 67 ms."""
_ONSET = 0.05
"""It begins and ends where its speed passes this share of its highest, so that its shape doesn't hang on its pace."""
_PAUSE_MS = 80.0
"""Pauses up to this long are part of a movement: a correction follows sooner than a new movement."""
_SHORTEST_PX = 8.0
"""Paths shorter than this are a trembling hand."""
SHAPED_PX = 30.0
"""Shorter movements have no shape: the steps of whole pixels are too large in them."""
_PROMINENCE = 0.1
"""A peak of speed rises from its surroundings by this share of the highest one."""
_TOP = 0.99
"""The place of the highest speed is the middle of where it is all but reached: some movements have a plateau."""
_SMOOTHING = 0.07
"""Standard deviation of the smoothing as a share of the movement's time, one sample at least."""
_REACH = 4
"""Standard deviations that the smoothing reaches: so much rest is put before and after a movement."""
PROFILE_POINTS = 41
"""Samples of a speed profile over a movement's time."""


@dataclass(frozen=True)
class Track:
    """A pointer sampled evenly."""

    start_ns: int
    """Time of the first sample."""
    interval_ms: float
    """Time between two samples."""
    points: Floats
    """Frame pixels, (samples, 2)."""

    def time_ns(self, index: int) -> int:
        """Return the time of a sample."""
        return self.start_ns + round(index * self.interval_ms * NS_PER_MS)


@dataclass(frozen=True)
class Shape:
    """How a movement went, without its size and pace; all are free of units."""

    path_ratio: float
    """Length of the path over the distance between its ends, 1 for a straight line."""
    bow: float
    """Greatest distance from the straight line between the ends, over their distance."""
    peak_place: float
    """When the speed was highest, as a share of the movement's time; 0.5 for a minimum-jerk movement."""
    submovements: int
    """Peaks of speed."""
    smoothness: float
    """Log dimensionless jerk: the greater (the less negative), the smoother; -5.32 for a minimum-jerk movement."""
    profile: Floats
    """Speed over the movement's time as a multiple of its mean, (PROFILE_POINTS,)."""


@dataclass(frozen=True)
class Movement:
    """One pointer movement."""

    start_ns: int
    """The last moment of rest before it."""
    stop_ns: int
    """The first moment of rest after it, or the press that ended it."""
    start: tuple[float, float]
    """Where it began, frame pixels."""
    stop: tuple[float, float]
    """Where it ended, frame pixels."""
    peak_px_s: float
    """Highest speed."""
    shape: Shape | None
    """How it went; none for movements too short to have a shape."""

    @property
    def duration_ms(self) -> float:
        """How long it took."""
        return (self.stop_ns - self.start_ns) / NS_PER_MS

    @property
    def distance_px(self) -> float:
        """How far its ends are apart."""
        return float(np.hypot(self.stop[0] - self.start[0], self.stop[1] - self.start[1]))


def resample(stream: InputStream, interval_ms: float) -> Track | None:
    """Sample a session's pointer evenly, interpolating between reports; None where it was never reported.

    A pointer that reports nothing for long was at rest until one report's time before it spoke again. Interpolating
    across the pause instead would turn it into a slow movement.
    """
    if len(stream.times_ns) == 0:
        return None
    times_ns, points = _hold_still(stream.times_ns, stream.points, stream.sampling_ms or interval_ms)
    start_ns = min(stream.spans_ns[0][0], int(times_ns[0]))
    stop_ns = max(stream.spans_ns[-1][1], int(times_ns[-1]))
    num = int(np.ceil((stop_ns - start_ns) / (interval_ms * NS_PER_MS))) + 1
    grid_ns = start_ns + np.arange(num) * interval_ms * NS_PER_MS
    columns = [np.interp(grid_ns, times_ns, points[:, axis]) for axis in (0, 1)]
    return Track(start_ns, interval_ms, np.stack(columns, axis=1))


def _hold_still(times_ns: Times, points: Floats, step_ms: float) -> tuple[Times, Floats]:
    pauses = np.flatnonzero(np.diff(times_ns) > LONGEST_STEP_MS * NS_PER_MS)
    awake_ns = times_ns[pauses + 1] - round(step_ms * NS_PER_MS)
    return np.insert(times_ns, pauses + 1, awake_ns), np.insert(points, pauses + 1, points[pauses], axis=0)


def find_movements(track: Track, presses_ns: list[int]) -> list[Movement]:
    """Return the movements of a track in order of time.

    Args:
        track: the pointer.
        presses_ns: when buttons went down, rising; each ends the movement that it falls into.
    """
    speeds = np.linalg.norm(np.diff(track.points, axis=0), axis=1) / (track.interval_ms / 1000)
    # The first sample at or after a press: what the pointer did up to it belongs to the movement.
    cuts = np.unique([int(np.ceil((t - track.start_ns) / (track.interval_ms * NS_PER_MS))) for t in presses_ns])
    runs = _join(_list_runs(speeds > SLOW_PX_S), cuts, track.interval_ms)
    parts = [part for run in runs for part in _cut(run, cuts)]
    movements = []
    for start, stop in parts:
        of_part = speeds[start:stop]
        if of_part.max() >= FAST_PX_S and of_part.sum() * track.interval_ms / 1000 >= _SHORTEST_PX:
            moving = np.flatnonzero(of_part >= _ONSET * of_part.max())
            movements.append(_describe(track, start + int(moving[0]), start + int(moving[-1]) + 1))
    return movements


def _list_runs(is_moving: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return the half-open ranges of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], is_moving, [False]])))
    return [(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]


def _join(runs: list[tuple[int, int]], cuts: NDArray[np.int_], interval_ms: float) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for start, stop in runs:
        if joined:
            first, last = joined[-1]
            is_pressed = bool(((cuts >= last) & (cuts <= start)).any())
            if (start - last) * interval_ms <= _PAUSE_MS and not is_pressed:
                joined[-1] = first, stop
                continue
        joined.append((start, stop))
    return joined


def _cut(run: tuple[int, int], cuts: NDArray[np.int_]) -> list[tuple[int, int]]:
    inside = [int(cut) for cut in cuts[(cuts > run[0]) & (cuts < run[1])]]
    edges = [run[0], *inside, run[1]]
    return list(pairwise(edges))


def _describe(track: Track, start: int, stop: int) -> Movement:
    points = track.points[start : stop + 1]
    spread = max(1.0, _SMOOTHING * (stop - start))
    pad = math.ceil(_REACH * spread)
    smooth = gaussian_filter1d(np.pad(points, ((pad, pad), (0, 0)), mode="edge"), spread, axis=0, truncate=_REACH)
    speeds = np.linalg.norm(np.diff(smooth, axis=0), axis=1) / (track.interval_ms / 1000)
    distance_px = float(np.linalg.norm(points[-1] - points[0]))
    return Movement(
        start_ns=track.time_ns(start),
        stop_ns=track.time_ns(stop),
        start=(float(points[0, 0]), float(points[0, 1])),
        stop=(float(points[-1, 0]), float(points[-1, 1])),
        peak_px_s=float(speeds.max()),
        shape=_measure_shape(smooth, speeds, pad, track.interval_ms) if distance_px >= SHAPED_PX else None,
    )


def _measure_shape(smooth: Floats, speeds: Floats, pad: int, interval_ms: float) -> Shape:
    """Measure a smoothed path (samples, 2) with `pad` samples of rest at either end, and its speeds (samples - 1,)."""
    num_steps = len(speeds) - 2 * pad
    places = (np.arange(len(speeds)) + 0.5 - pad) / num_steps
    is_top = speeds >= _TOP * speeds.max()
    peaks, _ = find_peaks(speeds, prominence=_PROMINENCE * speeds.max())
    profile = np.interp(np.linspace(0, 1, PROFILE_POINTS), places, speeds)
    return Shape(
        path_ratio=path_ratio(smooth),
        bow=bow(smooth),
        peak_place=float(np.clip(places[is_top].mean(), 0.0, 1.0)),
        submovements=len(peaks),
        # Half of the rest around it: the jerk of setting out and stopping counts, time spent at rest hardly does.
        smoothness=log_dimensionless_jerk(smooth[pad // 2 : -(pad // 2)], interval_ms / 1000),
        profile=profile / profile.mean(),
    )


def path_ratio(points: Floats) -> float:
    """Return the length of a path (samples, 2) over the distance between its ends, which must differ."""
    length = float(np.linalg.norm(np.diff(points, axis=0), axis=1).sum())
    return length / float(np.linalg.norm(points[-1] - points[0]))


def bow(points: Floats) -> float:
    """Return how far a path (samples, 2) strays from the straight line between its ends, over their distance."""
    way = points[-1] - points[0]
    apart = points - points[0]
    return float(np.abs(apart[:, 0] * way[1] - apart[:, 1] * way[0]).max() / (way @ way))


def log_dimensionless_jerk(points: Floats, interval_s: float) -> float:
    """Return the log dimensionless jerk of a path (samples, 2), of four samples or more, that moves.

    -ln(T^3 / v_peak^2 * integral of |jerk|^2 dt), as in Balasubramanian, Melendez-Calderon and Burdet, A Robust and
    Sensitive Metric for Quantifying Movement Smoothness, 2012, equation 4, after Hogan and Sternad, Sensitivity of
    Smoothness Measures to Movement Duration, Amplitude, and Arrests, 2009. A minimum-jerk movement has
    -ln(720 / 1.875^2) = -5.32.
    """
    duration_s = (len(points) - 1) * interval_s
    peak = float(np.linalg.norm(np.diff(points, axis=0), axis=1).max()) / interval_s
    jerk = np.diff(points, n=3, axis=0) / interval_s**3
    # The third differences cover three intervals less than the path.
    power = float((jerk**2).sum(axis=1).mean()) * duration_s
    return -float(np.log(duration_s**3 / peak**2 * power))
