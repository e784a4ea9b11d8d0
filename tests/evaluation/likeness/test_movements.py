"""Movements of known shape give the numbers that can be worked out for them."""

from __future__ import annotations

import numpy as np
import pytest

from tests.evaluation.likeness.players import MS, minimum_jerk
from vlm_agent.evaluation.likeness.movements import (
    Track,
    bow,
    find_movements,
    log_dimensionless_jerk,
    path_ratio,
    resample,
)
from vlm_agent.evaluation.likeness.streams import InputStream


def glide(way_px: float, duration_ms: float, interval_ms: float = 20.0) -> np.ndarray:
    """A minimum-jerk movement to the right, from rest to rest."""
    share = np.arange(0, duration_ms + interval_ms / 2, interval_ms) / duration_ms
    return np.stack([way_px * minimum_jerk(share), np.zeros_like(share)], axis=1)


def rest(point, samples: int) -> np.ndarray:
    return np.tile(np.asarray(point, dtype=float), (samples, 1))


def stream(times_ms, points, sampling_ms: float | None = 8.0) -> InputStream:
    times_ns = np.array(times_ms, dtype=np.int64) * MS
    empty = np.array([], dtype=np.int64)
    spans_ns = ((0, 5_000 * MS),)
    at = np.array(points, dtype=float).reshape(-1, 2)
    return InputStream("s", None, None, spans_ns, times_ns, at, (), (), empty, (), sampling_ms)


def test_a_minimum_jerk_movement_has_the_jerk_of_the_books() -> None:
    points = glide(300, 600, interval_ms=0.25)
    assert log_dimensionless_jerk(points, 0.00025) == pytest.approx(-np.log(720 / 1.875**2), abs=0.01)
    # Free of size, pace and direction.
    turned = 3 * points @ np.array([[0.6, 0.8], [-0.8, 0.6]]) + 7
    assert log_dimensionless_jerk(turned, 0.004) == pytest.approx(log_dimensionless_jerk(points, 0.00025))


def test_path_ratio_and_bow_by_hand() -> None:
    assert path_ratio(np.array([[0.0, 0], [3, 4], [6, 8]])) == pytest.approx(1.0)
    assert path_ratio(np.array([[0.0, 0], [0, 4], [3, 4]])) == pytest.approx(7 / 5)
    assert bow(np.array([[0.0, 0], [0, 4], [3, 4]])) == pytest.approx(12 / 5 / 5)
    assert bow(np.array([[2.0, 1], [4, 1], [10, 1]])) == pytest.approx(0.0)


def test_one_glide_is_one_straight_movement_fastest_in_the_middle() -> None:
    track = Track(0, 20.0, np.concatenate([rest((0, 0), 10), glide(300, 600), rest((300, 0), 10)]))
    (movement,) = find_movements(track, [])
    assert movement.duration_ms == pytest.approx(600, abs=80)  # its slow ends are below the threshold
    assert movement.distance_px == pytest.approx(300, abs=2)
    assert movement.peak_px_s == pytest.approx(1.875 * 300 / 0.6, rel=0.05)
    assert movement.shape is not None
    assert movement.shape.path_ratio == pytest.approx(1.0)
    assert movement.shape.peak_place == pytest.approx(0.5, abs=0.02)
    assert movement.shape.submovements == 1
    assert movement.shape.smoothness == pytest.approx(-5.32, abs=0.4)
    assert movement.shape.profile.argmax() == pytest.approx(20, abs=1)


def test_a_correction_is_a_second_submovement_and_an_early_peak() -> None:
    share = np.arange(0, 1.001, 0.02)
    along = 240 * minimum_jerk(share / 0.6) + 60 * minimum_jerk((share - 0.6) / 0.4)
    points = np.stack([along, np.zeros_like(along)], axis=1)
    (movement,) = find_movements(Track(0, 20.0, np.concatenate([rest((0, 0), 5), points, rest((300, 0), 5)])), [])
    assert movement.shape is not None
    assert movement.shape.submovements == 2
    assert movement.shape.peak_place == pytest.approx(0.3, abs=0.03)


def test_a_jump_is_a_movement_of_one_sample() -> None:
    (movement,) = find_movements(Track(0, 20.0, np.concatenate([rest((0, 0), 20), rest((300, 400), 20)])), [])
    assert (movement.duration_ms, movement.distance_px) == (20.0, 500.0)
    assert movement.shape is not None
    assert movement.shape.path_ratio == pytest.approx(1.0)


def test_a_movement_ends_where_a_button_goes_down() -> None:
    points = np.concatenate([rest((0, 0), 5), glide(300, 400), glide(200, 400) + np.array([300, 0]), rest((500, 0), 5)])
    # Two glides without a rest between them: the slow middle is one movement for who doesn't press.
    together = find_movements(Track(0, 20.0, points), [])
    pressed = find_movements(Track(0, 20.0, points), [(5 + 21) * 20 * MS])
    assert [one.distance_px for one in together] == pytest.approx([500], abs=2)
    assert [one.distance_px for one in pressed] == pytest.approx([300, 200], abs=2)


def test_trembling_and_creeping_are_no_movements() -> None:
    tremble = np.zeros((60, 2))
    tremble[20, 0] = 3  # fast, but six pixels in all
    creep = np.stack([np.arange(200) * 0.4, np.zeros(200)], axis=1)  # 80 px, at 20 px/s
    assert find_movements(Track(0, 20.0, tremble), []) == []
    assert find_movements(Track(0, 20.0, creep), []) == []


def test_a_pause_is_a_pause_and_not_a_slow_movement() -> None:
    track = resample(stream([0, 8, 16, 24, 1000, 1008], [(0, 0), (5, 0), (10, 0), (15, 0), (25, 0), (35, 0)]), 20.0)
    assert track is not None
    x = track.points[:, 0]
    assert x[20:49].tolist() == [15.0] * 29  # 400 to 960 ms: at rest, though the next report lies 10 px away
    assert x[51] == 35.0
    assert x[1] == pytest.approx(12.5)  # 20 ms, between two reports


def test_a_session_without_a_pointer_has_no_track() -> None:
    assert resample(stream([], []), 20.0) is None


def glide_reports(begin_ms: float, step_ms: int):
    """Times and points that a device tells of a glide, whole pixels."""
    times_ms = np.arange(0, 901, step_ms)
    x = np.rint(400 * minimum_jerk((times_ms - begin_ms) / 600))
    return times_ms, np.stack([x, 0 * x], axis=1)


def measure_glides(interval_ms: float, step_ms: int) -> np.ndarray:
    """Smoothness and place of the highest speed of glides that begin at all phases of the sampling, on average."""
    found = []
    for begin_ms in range(100, 150, 5):
        track = resample(stream(*glide_reports(begin_ms, step_ms), step_ms), interval_ms)
        assert track is not None
        (movement,) = find_movements(track, [])
        assert movement.shape is not None
        found.append((movement.shape.smoothness, movement.shape.peak_place))
    return np.mean(found, axis=0)


def test_devices_of_20_and_125_hz_show_one_movement_at_a_common_rate() -> None:
    assert measure_glides(50.0, 8) == pytest.approx(measure_glides(50.0, 50), abs=0.03)
    # As they report, the finer device's pixels alone make a hundred times the jerk.
    fine, coarse = (log_dimensionless_jerk(glide_reports(100, step)[1], step / 1000) for step in (8, 50))
    assert fine < coarse - np.log(100)
