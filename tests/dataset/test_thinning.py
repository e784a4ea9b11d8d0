"""Thinning: few way-points, clicks kept, error measured by playing back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlm_agent.actions.types import ActionChunk, Click, Key, Move
from vlm_agent.dataset.thinning import (
    ThinningConfig,
    ThinningError,
    _positions,
    anchors_of,
    measure_error,
    thin_path,
)
from vlm_agent.errors import ConfigError

CONFIG = ThinningConfig(path_tolerance_px=20, rest_tolerance_px=5)
NOTHING = np.zeros((0, 3))


def stroke(start, end, begin_ms, end_ms, step_ms=10):
    times = np.arange(begin_ms, end_ms + 1, step_ms, dtype=float)
    tau = (times - begin_ms) / (end_ms - begin_ms)
    share = tau**3 * (10 - 15 * tau + 6 * tau**2)
    points = np.round(np.asarray(start) + share[:, None] * (np.asarray(end) - np.asarray(start)))
    return np.column_stack([times, points])


def test_a_smooth_stroke_is_one_way_point_where_it_ends():
    assert thin_path(stroke((0, 0), (300, 200), 0, 400), NOTHING, (0, 0), CONFIG) == [(400, 300, 200)]


def test_a_stroke_that_a_click_ends_needs_no_way_point():
    points = stroke((0, 0), (300, 200), 0, 400)
    assert thin_path(points, anchors_of([(400, Click(0, 300, 200))]), (0, 0), CONFIG) == []


def test_a_pointer_that_rests_or_trembles_needs_none():
    tremble = np.array([(t, 50 + t % 3, 50 - t % 2) for t in range(0, 600, 20)], dtype=float)
    assert thin_path(tremble, NOTHING, (50, 50), CONFIG) == []
    assert thin_path(NOTHING, NOTHING, (50, 50), CONFIG) == []


def test_a_corner_is_kept():
    points = np.concatenate([stroke((0, 0), (200, 0), 0, 280), stroke((200, 0), (200, 200), 290, 580)])
    way = thin_path(points, NOTHING, (0, 0), CONFIG)
    assert way[-1][1:] == (200, 200)
    assert len(way) == 2
    assert np.hypot(way[0][1] - 200, way[0][2]) <= 20


def test_leaving_and_coming_back_is_kept():
    points = np.concatenate([stroke((0, 0), (200, 0), 0, 280), stroke((200, 0), (0, 0), 290, 580)])
    way = thin_path(points, NOTHING, (0, 0), CONFIG)
    assert max(x for _, x, _ in way) > 150
    assert way[-1][1:] == (0, 0)


def test_error_is_measured_by_playing_back():
    points = stroke((0, 0), (300, 200), 0, 400, step_ms=20)
    exact = measure_error(ActionChunk((Move(400, 300, 200),)), points, (0, 0), 600)
    assert exact.max() < 2
    still = measure_error(ActionChunk(), points, (0, 0), 600)
    assert still.max() == pytest.approx(np.hypot(300, 200))
    error = ThinningError()
    error.add(still)
    other = ThinningError()
    other.merge(error)
    assert other.to_json()["max_px"] == pytest.approx(360.56)
    assert other.rms_px == pytest.approx(np.sqrt(np.square(still).mean()))
    assert ThinningError().rms_px == 0


def test_errors_of_sessions_are_added_up():
    one, other = ThinningError(4, 100.0, 8.0, 50, 3), ThinningError(6, 300.0, 7.0, 20, 2)
    one.merge(other)
    assert one == ThinningError(10, 400.0, 8.0, 70, 5)
    assert one.to_json() == {"rms_px": 6.32, "max_px": 8.0, "points_in": 70, "points_out": 5}
    one.add(np.array([3.0, 9.0]))
    assert (one.samples, one.sum_square_px2, one.max_px) == (12, 490.0, 9.0)


def test_a_pointer_is_where_it_was_seen_last():
    track = np.array([(0.0, 1, 2), (20.0, 5, 6)])
    assert _positions(track, np.array([0.0, 19.0, 20.0, 40.0])).tolist() == [[1, 2], [1, 2], [5, 6], [5, 6]]


def test_anchors_are_the_actions_with_a_place():
    assert anchors_of([(5, Key(0, "a")), (9, Click(0, 1, 2))]).tolist() == [[9, 1, 2]]


def test_negative_tolerance_is_refused():
    with pytest.raises(ConfigError, match="negative"):
        ThinningConfig(path_tolerance_px=-1)


@settings(deadline=None)
@given(
    path=st.lists(st.tuples(st.integers(0, 764), st.integers(0, 502)), min_size=1, max_size=30),
    clicks=st.sets(st.integers(0, 29), max_size=3),
    start=st.tuples(st.integers(0, 764), st.integers(0, 502)),
)
def test_way_points_are_in_order_and_end_near_the_end(path, clicks, start):
    points = np.array([(20 * i, x, y) for i, (x, y) in enumerate(path)], dtype=float)
    timed = [(20 * i, Click(0, *path[i])) for i in sorted(clicks) if i < len(path)]
    way = thin_path(points, anchors_of(timed), start, CONFIG)
    times = [ms for ms, _, _ in way]
    assert times == sorted(set(times))
    assert set(times) <= set(points[:, 0].astype(int))
    stops = sorted([(0, *start), *way, *((ms, click.x, click.y) for ms, click in timed)], key=lambda stop: stop[0])
    assert np.hypot(stops[-1][1] - path[-1][0], stops[-1][2] - path[-1][1]) <= CONFIG.rest_tolerance_px


def test_tolerance_zero_keeps_a_wild_path_exactly():
    rng = np.random.default_rng(0)
    points = np.column_stack([np.arange(0, 600, 20.0), rng.integers(0, 700, 30), rng.integers(0, 500, 30)])
    way = thin_path(points, NOTHING, (0, 0), ThinningConfig(0, 0))
    # The first point falls on the window's start, where the pointer is given.
    assert [list(point) for point in way][-29:] == points[1:].astype(int).tolist()
