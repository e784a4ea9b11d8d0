"""Clocks of exporters are found whatever they count in, and their drift is told; clicks check it from another side."""

from __future__ import annotations

import numpy as np
import pytest

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
        t_ns = clock.align(stamp, arrived_ns)
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
        assert clock.align(tick, NOW_NS + tick * 600 * MS) == NOW_NS + tick * 600 * MS
    assert clock.unit_ns is None


@pytest.mark.parametrize(("parts_per_million", "is_told"), [(0, False), (100, False), (3_000, True), (-3_000, True)])
def test_a_clock_that_runs_away_is_told_and_followed(parts_per_million: int, is_told: bool) -> None:
    rng = np.random.default_rng(3)
    clock = ExporterClock()
    for tick in range(200):
        true_ns = tick * 600 * MS
        arrived_ns = NOW_NS + true_ns + round(rng.uniform(2, 40)) * MS
        stamp_ms = 5_000 + true_ns / MS * (1 + parts_per_million / 1e6)
        t_ns = clock.align(stamp_ms, arrived_ns)
    assert (abs(clock.drift_ms) > 100) == is_told
    if is_told:
        # 3000 ppm over two minutes are 360 ms; a window of half a minute lags 90 ms behind a clock that falls back.
        assert abs((t_ns - NOW_NS - true_ns) / MS) < 130


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
