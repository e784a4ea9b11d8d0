"""What times count, and which can't be believed."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.importing.made_imports import EPOCH_MS, MS, import_one, row, write_log
from vlm_agent.actions.events import ButtonChanged, PointerMoved, WheelTurned
from vlm_agent.errors import DataError

UNITS = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}


def log_of(tmp_path, rows):
    report, reader = import_one(write_log(tmp_path / "tree", rows), tmp_path / "out")
    return report, list(reader.events())


def span_s(events):
    return (events[-1].t_ns - events[0].t_ns) / 1e9


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("start_s", [0.0, 3600.0, 900_000.0])
@pytest.mark.parametrize("kind", ["moves", "clicks", "keys"])
def test_any_unit_of_a_beginning_of_its_own(tmp_path, unit, start_s, kind):
    rows = []
    for n in range(60):
        at = start_s + {"moves": 0.011, "clicks": 1.7, "keys": 0.9}[kind] * n
        time, later = (round((at + wait) * UNITS[unit], 6 if unit == "s" else 0) for wait in (0, 0.085))
        if kind == "moves":
            rows.append(row(time, "move", n, 1))
        elif kind == "clicks":
            rows.append(row(time, "click", n, 1, btn="left"))
        else:
            rows += [row(time, "key_press", key="w"), row(later, "key_release", key="w")]
    _, events = log_of(tmp_path, rows)
    expected = {"moves": 0.649, "clicks": 100.3 + 0.08, "keys": 53.1 + 0.085}[kind]
    assert span_s(events) == pytest.approx(expected, abs=0.01)


@given(st.lists(st.floats(0.15, 8), min_size=12, max_size=40), st.sampled_from(["s", "ms"]))
@settings(max_examples=12, deadline=None)
def test_sparse_clicks_keep_their_times(tmp_path_factory, gaps_s, unit):
    times = [sum(gaps_s[: n + 1]) for n in range(len(gaps_s))]
    rows = [row(f"{time * UNITS[unit]:.3f}", "click", n, 1, btn="left") for n, time in enumerate(times)]
    _, events = log_of(tmp_path_factory.mktemp("log"), rows)
    presses = [event.t_ns / 1e9 for event in events if event.pressed]
    assert presses == pytest.approx(times, abs=0.002)


@pytest.mark.parametrize(
    "times",
    [
        ["1.72477E+12"] * 20,
        [f"{(EPOCH_MS + 200 * n):.6E}" for n in range(20)],
        [str(int(float(f"{EPOCH_MS + 90 * n:.8e}"))) for n in range(40)],
        [str(EPOCH_MS // 1000 + n // 12) for n in range(60)],
        [str(131072 * ((EPOCH_MS + 9000 * n) // 131072)) for n in range(60)],
    ],
    ids=["excel", "six digits", "nine digits", "whole seconds", "single precision"],
)
def test_times_that_fell_together_are_refused(tmp_path, times):
    rows = [row(time, "move", n, 1) for n, time in enumerate(times)]
    with pytest.raises(DataError, match="lost their last digits") as refused:
        log_of(tmp_path, rows)
    assert repr(times[0]) in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_a_coarse_timer_is_fine(tmp_path):
    rows = [row(EPOCH_MS + 16 * (n // 8), "move", n, 1) for n in range(80)]
    assert len(log_of(tmp_path, rows)[1]) == 80


def test_a_clock_that_was_set_back_is_refused_with_the_line(tmp_path):
    rows = [row(EPOCH_MS + 100 * n - (3_600_000 if n >= 30 else 0), "move", n, 1) for n in range(60)]
    with pytest.raises(DataError, match=r"step back by 3599\.900 s at line 32 .* head -n 31 .* tail -n \+32"):
        log_of(tmp_path, rows)


@pytest.mark.parametrize("back_ms", [1, 150, 700, 5000])
@pytest.mark.parametrize("kind", ["move", "key_press"])
def test_what_is_set_back_is_never_mixed(tmp_path, back_ms, kind):
    rows = [row(EPOCH_MS + 100 * n - (back_ms if n >= 30 else 0), kind, n, 1, key="w") for n in range(60)]
    if back_ms > 300:
        with pytest.raises(DataError, match="step back"):
            log_of(tmp_path, rows)
    else:  # no row comes before one that was written before it by more than a jitter
        log_of(tmp_path, rows)


def test_two_threads_and_a_row_that_is_late_are_put_in_order(tmp_path):
    moves = [row(EPOCH_MS + 10 * n, "move", n, 1) for n in range(300)]
    keys = [row(EPOCH_MS + 100 * n, "key_press" if n % 2 else "key_release", key="w") for n in range(30)]
    late = [*moves[:200], moves[3], *moves[200:]]
    report, events = log_of(tmp_path, [*late, *keys])
    assert [event.t_ns for event in events] == sorted(event.t_ns for event in events)
    assert report.repaired["put_in_order"] > 0


def test_parts_of_notches_add_up(tmp_path):
    turns = [120, 120, -120, 0.25, 0.25, 0.25, 0.25, *[15] * 8, -0.5]
    rows = [row(EPOCH_MS + 50 * n, "scroll", 1, 1, scroll_dy=turn) for n, turn in enumerate(turns)]
    report, events = log_of(tmp_path, rows)
    start_ns = EPOCH_MS * MS
    assert [(event.t_ns - start_ns) // (50 * MS) for event in events] == [0, 1, 2, 6, 14]
    assert [event.dy for event in events] == [1, 1, -1, 1, 1]
    assert isinstance(events[0], WheelTurned)
    assert report.left_out == {"wheel_turned_less_than_a_notch": 1}
    assert report.decided["wheel"] == "120 units a notch"


def test_a_clear_first_guess_stays(tmp_path):
    rows = [row(16_776 + 8 * n, "move", n, 1) for n in range(30)]
    _, events = log_of(tmp_path, [*rows, row(18_000, "click", 1, 1, btn="left")])
    assert events[0] == PointerMoved(16_776 * MS, 0, 1)
    assert isinstance(events[-1], ButtonChanged)


def test_a_counter_that_looks_like_a_date(tmp_path):
    rows = [row(1_500_000_000_000 + 9_000_000 * n, "move", n, 1) for n in range(40)]
    report, events = log_of(tmp_path, rows)
    assert span_s(events) == pytest.approx(0.351)
    assert report.decided["times"] == "ns since a beginning of its own"
