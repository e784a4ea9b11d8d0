"""Clocks of exporters are found whatever they count in, and their drift is told; clicks check it from another side."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vlm_agent.recording.alignment import ExporterClock, ReactionCheck

MS = 1_000_000
NOW_NS = 1_795_000_000_000_000_000


@pytest.mark.parametrize("unit_ns", [1, 1_000, 1_000_000, 1_000_000_000])
@pytest.mark.parametrize("origin_ns", [0, NOW_NS - 3_600_000 * MS, NOW_NS + 250 * MS])
def test_stamps_of_any_unit_and_origin_are_aligned(unit_ns: int, origin_ns: int) -> None:
    """The origin: the exporter's clock starts at 0 when the recording does, an hour ago, or runs 250 ms behind."""
    rng = np.random.default_rng(unit_ns % 97)
    clock = ExporterClock()
    off_ms, raw_ms = [], []
    for tick in range(200):
        true_ns = NOW_NS + tick * 600 * MS
        arrived_ns = true_ns + round(rng.exponential(60)) * MS
        stamp = (true_ns - NOW_NS if origin_ns == 0 else true_ns - (origin_ns - NOW_NS)) / unit_ns
        t_ns = clock.align(stamp, arrived_ns).t_ns
        assert t_ns <= arrived_ns
        off_ms.append((t_ns - true_ns) / MS)
        raw_ms.append((arrived_ns - true_ns) / MS)
    assert clock.unit_ns == unit_ns
    # Once it has seen a quick answer it is nearer than the arrivals, by an order.
    assert np.percentile(np.abs(off_ms[20:]), 95) < 15 < np.percentile(raw_ms, 50) + 1
    assert abs(clock.drift_ms) < 20


def test_a_counter_of_ticks_is_no_time() -> None:
    clock = ExporterClock()
    for tick in range(50):
        assert clock.align(tick, NOW_NS + tick * 600 * MS).t_ns == NOW_NS + tick * 600 * MS
    assert clock.unit_ns is None


@pytest.mark.parametrize(("parts_per_million", "is_told"), [(0, False), (100, False), (3_000, True), (-3_000, True)])
def test_a_clock_that_runs_away_is_told_and_followed(parts_per_million: int, is_told: bool) -> None:
    rng = np.random.default_rng(3)
    clock = ExporterClock()
    for tick in range(200):
        true_ns = tick * 600 * MS
        arrived_ns = NOW_NS + true_ns + round(rng.uniform(2, 40)) * MS
        stamp_ms = 5_000 + true_ns / MS * (1 + parts_per_million / 1e6)
        t_ns = clock.align(stamp_ms, arrived_ns).t_ns
    assert (abs(clock.drift_ms) > 100) == is_told
    if is_told:
        # 3000 ppm over two minutes are 360 ms; a window of half a minute lags 90 ms behind a clock that falls back.
        assert abs((t_ns - NOW_NS - true_ns) / MS) < 130


NUMBERS = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True),
    st.integers(-(10**400), 10**400),
    st.integers(NOW_NS // MS - 10**7, NOW_NS // MS + 10**7),
    st.integers(NOW_NS // 10**9 - 10**5, NOW_NS // 10**9 + 10**5),
)
HOUR_MS = 3_600_000


@given(st.lists(st.tuples(NUMBERS, st.integers(0, 20_000)), max_size=60))
def test_no_stamp_dates_a_state_far_from_its_arrival(stamped: list[tuple[float, int]]) -> None:
    clock, arrived_ns = ExporterClock(), NOW_NS
    for stamp, wait_ms in stamped:
        arrived_ns += wait_ms * MS
        assert arrived_ns - 10_000 * MS <= clock.align(stamp, arrived_ns).t_ns <= arrived_ns


def is_odd(stamp_ms: float, true_ms: int) -> bool:
    return not -9_000 < true_ms - stamp_ms < 900


@given(
    st.dictionaries(st.integers(0, 59), NUMBERS, max_size=25),
    st.lists(st.integers(0, 90), min_size=60, max_size=60),
    st.sampled_from([0, HOUR_MS, -HOUR_MS]),
    st.sampled_from([100, 600]),
)
@example(dict.fromkeys(range(8), 0), [5] * 60, 0, 100)
@example(dict.fromkeys(range(0, 60, 2), math.inf), [5] * 60, 0, 100)
@example({0: NOW_NS // MS + HOUR_MS}, [5] * 60, 0, 100)
@example({5: NOW_NS // MS + HOUR_MS, 11: NOW_NS // MS - HOUR_MS}, [5] * 60, HOUR_MS, 100)
@example({5: NOW_NS // 10**9}, [5] * 60, 0, 600)
def test_odd_stamps_move_no_other_state(
    odd: dict[int, float], delays_ms: list[int], off_ms: int, every_ms: int
) -> None:
    """Good states are dated between their own time and their arrival, whatever is stamped on those between."""
    clock = ExporterClock()
    off_ms += NOW_NS // MS
    odd = {place: stamp for place, stamp in odd.items() if is_odd(stamp, off_ms + place * every_ms)}
    counted = 0
    for place, delay_ms in enumerate(delays_ms):
        true_ns = NOW_NS + place * every_ms * MS
        arrived_ns = true_ns + delay_ms * MS
        aligned = clock.align(odd.get(place, off_ms + place * every_ms), arrived_ns)
        counted += aligned.problem is not None
        if place in odd:
            assert aligned.t_ns == arrived_ns or aligned.problem is None
        else:
            assert true_ns <= aligned.t_ns <= arrived_ns
    if odd and min(odd) > 0:
        assert counted >= len(odd)


def test_a_clock_that_was_set_is_followed_after_two_seconds() -> None:
    clock = ExporterClock()
    told = []
    for step in range(80):
        t_ns = NOW_NS + step * 100 * MS
        # Midnight by the clock of a game; and the same moments in seconds with fractions.
        stamp = t_ns / MS if step < 30 else t_ns / MS - HOUR_MS if step < 55 else t_ns / 1e9
        aligned = clock.align(stamp, t_ns + 20 * MS)
        assert t_ns <= aligned.t_ns <= t_ns + 20 * MS
        told.append(aligned.problem)
    assert clock.times_set == 2
    assert clock.unit_ns == 1_000_000_000
    assert [problem for problem in told if problem] == ["stamp_is_behind"] * 40


def test_whole_seconds_are_coarser_than_arrivals() -> None:
    clock = ExporterClock()
    for step in range(50):
        arrived_ns = NOW_NS + step * 100 * MS + 7
        assert clock.align(arrived_ns // 10**9, arrived_ns).t_ns == arrived_ns
    assert clock.is_coarse


def run_reactions(delay_ms: list[float], *, seed: int = 0) -> list[bool]:
    """Clicks about one a second; what they change shows with the next tick after a delay, which may wander."""
    rng = np.random.default_rng(seed)
    check = ReactionCheck()
    told = []
    clicks_ms = np.cumsum(rng.uniform(700, 2000, len(delay_ms)))
    gold = 0
    events = [(float(t), "click", 0.0) for t in clicks_ms]
    events += [(float(t) + delay, "answer", 0.0) for t, delay in zip(clicks_ms, delay_ms, strict=True)]
    events += [(tick * 600.0, "tick", 0.0) for tick in range(int(clicks_ms[-1] // 600) + 4)]
    for t_ms, kind, _ in sorted(events):
        if kind == "click":
            check.add_click(round(t_ms * MS))
        else:
            gold += kind == "answer"
            state = {"tick": t_ms, "player": {"gold": gold}, "camera": {"yaw": t_ms % 7}}
            told.append(check.add_state(round(t_ms * MS), state))
    return told


def test_steady_answers_are_no_alarm() -> None:
    for seed in range(20):
        delays = np.random.default_rng(seed).uniform(0, 600, 120).tolist()
        assert not any(run_reactions(delays, seed=seed)), seed


def test_answers_that_come_later_and_later_are_told() -> None:
    delays = [50 + 6.0 * step for step in range(120)]
    assert any(run_reactions(delays))
    # As they come earlier: the exporter's clock runs away to the other side.
    assert any(run_reactions([600 - 4.0 * step for step in range(120)]))


def test_a_state_that_only_counts_tells_nothing() -> None:
    check = ReactionCheck()
    for tick in range(300):
        check.add_click(tick * 600 * MS - 5 * MS * tick)
        assert not check.add_state(tick * 600 * MS, {"tick": tick, "camera": {"x": tick % 3}})
    assert check.drift_ms is None


def test_an_answer_follows_its_click_or_comes_with_it() -> None:
    """The time from a click to its answer, as it is first learnt: of several clicks the last, none of the future."""
    check = ReactionCheck()
    for step in range(60):
        t_ns = (step + 1) * 4_000 * MS
        for away_ms in (700, 200, 0, -100):
            check.add_click(t_ns - away_ms * MS)
        # Something that seldom changes does, but for the states between.
        check.add_state(t_ns - 2_000 * MS, {"gold": step})
        check.add_state(t_ns - 1_999 * MS, {"gold": step})
        check.add_state(t_ns - 1_998 * MS, {"gold": step})
        check.add_state(t_ns, {"gold": step + 1})
    assert check.drift_ms is None or abs(check.drift_ms) < 1
    assert check._usual is not None
    assert check._usual[0] == pytest.approx(0)
