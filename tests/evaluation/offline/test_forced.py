"""What read-outs are worth, by hand; the file of them; and the same numbers whatever the order of windows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from vlm_agent.errors import DataError
from vlm_agent.evaluation.offline.forced import (
    ForcedEvaluation,
    bin_confidence,
    evaluate_readouts,
    group_spreads,
    likeliest,
    tally_readouts,
)
from vlm_agent.evaluation.offline.readouts import EventSlot, NumberSlot, Readout, ReadoutStore, read_readouts

MILLION = 1_000_000


def number(part="dt", truth=90, first=80, ppm=(250_000, 500_000, 250_000), *, action=0, step=10, unit=1.0):
    return NumberSlot(part, "CLICK", action, truth, first, ppm, step, unit)


def event(truth="CLICK", **ppm):
    return EventSlot(truth, ppm or {"CLICK": 800_000, "none": 200_000})


def readout(place=0, session="s0", **changes):
    given = {
        "bits": {"dt": 3.0, "event": 1.0, "structure": 0.5},
        "counts": {"dt": 2, "event": 2},
        "choices": 4,
        "off_grammar": 0.02,
        "events": (event(), event("none")),
        "numbers": (number(), number(truth=120)),
    }
    return Readout(f"{session}/{place}/short", session, **{**given, **changes})


def ratios(tallies):
    [tally] = tallies.values()
    return {metric: tally.sums[metric] / tally.counts[metric] for metric in tally.sums}


def test_one_window_by_hand():
    found = ratios(tally_readouts([readout()]))
    want = {
        "bits_dt": 1.5,
        "bits_event": 0.5,
        "bits_structure": 0.5,
        "bits_window": 4.5,
        "off_grammar": 0.005,
        # 80 % for a click each time: right where it comes, wrong where nothing more does.
        "event_right": 1.0,
        "stop_right": 0.0,
        "event_all": 0.5,
        # Sure of 80 %, right half the time.
        "event_ece": 0.3,
        # 80, 90, 100 with a quarter, a half, a quarter: the median is 90, q10 is 80 and q90 is 100 (ends cut off).
        "dt_error_ms": (0 + 30) / 2,
        "dt_pinball_50_ms": (0 + 15) / 2,
        "dt_pinball_10_ms": (0.1 * 10 + 0.1 * 40) / 2,
        "dt_pinball_90_ms": (0.1 * 10 + 0.9 * 20) / 2,
        "dt_inside": 0.5,
        # 90 takes the levels from 0.25 to 0.75; 120 lies beyond all.
        "dt_covered": 0.5,
        "dt_crps_ms": (1.25 + (30 - 3.75)) / 2,
    }
    assert found == pytest.approx(want)


def test_who_expects_nothing_is_right_where_nothing_comes_and_nowhere_else():
    idle = EventSlot("none", {"CLICK": 1, "none": MILLION - 1})
    acting = EventSlot("CLICK", {"CLICK": 1, "none": MILLION - 1})
    made = [readout(place, events=(idle,), numbers=()) for place in range(9)] + [readout(9, events=(acting, idle))]
    found = ratios(tally_readouts(made))
    assert (found["event_right"], found["stop_right"]) == (0, 1)
    assert found["event_all"] == pytest.approx(10 / 11)
    done = ratios(tally_readouts([readout(events=(EventSlot("done", {"done": 600_000, "none": 400_000}),))]))
    assert done["event_right"] == 1
    assert "stop_right" not in done


def test_clicks_are_measured_in_frame_pixels_from_both_medians():
    sure = (MILLION,)
    numbers = (
        number("x", 103, 100, sure, step=1, unit=2.0),
        number("y", 104, 100, sure, step=1, unit=1.0),
        number("x", 50, 50, sure, action=1, step=1, unit=2.0),
        number("y", 50, 50, sure, action=1, step=1, unit=1.0),
    )
    found = ratios(tally_readouts([readout(numbers=numbers)]))
    assert found["click_error_px"] == pytest.approx((np.hypot(6, 4) + 0) / 2)
    assert found["click_crps_px"] == pytest.approx((6 + 4) / 4)
    # Of who is sure and right, 80 % lie in the central 80 %.
    assert found["click_covered"] == pytest.approx((0 + 0 + 0.8 + 0.8) / 4)


def test_a_window_of_which_only_the_step_was_read_has_no_actions():
    one = readout(
        bits={"step": 2.0, "structure": 0.1},
        counts={"step": 1},
        events=(),
        numbers=(),
        has_actions=False,
        step_right=False,
    )
    found = ratios(tally_readouts([one]))
    assert found == pytest.approx({"bits_step": 2.0, "bits_structure": 0.1, "step_right": 0.0, "off_grammar": 0.005})


def test_the_likeliest_of_equals_is_the_first_by_name():
    assert likeliest(event(CLICK=500_000, KEY=500_000)) == ("CLICK", 0.5)


def test_confidence_is_binned_by_hand_and_its_error_is_the_weighted_gap():
    slots = [
        *[event("CLICK", CLICK=950_000, none=50_000)] * 3,
        event("none", CLICK=950_000, none=50_000),
        event("KEY", CLICK=550_000, KEY=450_000),
        event("CLICK", CLICK=MILLION),
    ]
    bins = bin_confidence(slots)
    assert [one.count for one in bins] == [1, 5]
    assert [one.right for one in bins] == pytest.approx([0, 0.8])
    assert [one.confidence for one in bins] == pytest.approx([0.55, 0.96])
    found = ratios(tally_readouts([readout(events=tuple(slots))]))
    assert found["event_ece"] == pytest.approx((1 * 0.55 + 5 * 0.16) / 6)


def test_the_error_of_confidence_over_sessions_is_that_over_all_places():
    rng = np.random.default_rng(2)
    readouts = []
    for place in range(60):
        p = int(rng.integers(500_000, MILLION))
        truth = "CLICK" if rng.random() < 0.7 else "none"
        readouts.append(readout(place, f"s{place % 7}", events=(event(truth, CLICK=p, none=MILLION - p),)))
    evaluation = evaluate_readouts({"tuned": readouts})
    [reader] = evaluation.readers
    bins = reader.confidence
    want = sum(one.count * abs(one.confidence - one.right) for one in bins) / 60
    assert reader.estimates["event_ece"].value == pytest.approx(want)
    assert reader.estimates["event_ece"].interval.low < want < reader.estimates["event_ece"].interval.high


def test_numbers_are_grouped_by_the_spread_expected_of_them():
    wide = (MILLION // 2, *[0] * 99, MILLION // 2)
    slots = [
        *[number("x", 110, 100, (MILLION // 2, *[0] * 19, MILLION // 2), step=1)] * 10,
        *[number("y", 100, 0, wide, step=1)] * 10,
    ]
    groups = group_spreads(slots)
    assert [group.count for group in groups] == [10, 10]
    assert [group.spread_px for group in groups] == pytest.approx([10, 50])
    assert [group.error_px for group in groups] == pytest.approx([9.5, 99.5])
    assert group_spreads(slots[:9]) == ()
    # Errors as the root of their mean square: 2 and 14 give 10.
    sure = [number("x", 100 + off, 100, (MILLION,), step=1) for off in (2, 14, -2, -14, 2) * 2]
    [group] = group_spreads(sure)
    assert (group.spread_px, group.error_px) == pytest.approx((0, np.sqrt((6 * 4 + 4 * 196) / 10)))


def test_contenders_are_compared_by_session_and_what_is_saved_is_the_same_again():
    some = [readout(place, f"s{place % 5}", bits={"dt": 2.0 + place % 3}) for place in range(20)]
    worse = [replace(one, bits={"dt": one.bits["dt"] + 1 + place % 5 / 7}) for place, one in enumerate(some)]
    evaluation = evaluate_readouts({"tuned": some, "base": worse, "nothing": []})
    assert [one.name for one in evaluation.readers] == ["tuned", "base"]
    gap = evaluation.readers[1].gaps["bits_dt"]
    assert gap.interval.high < 0
    assert gap.p <= gap.p_holm
    again = ForcedEvaluation.from_json(evaluation.to_json())
    assert again.to_json() == evaluation.to_json()
    assert evaluate_readouts({"nothing": []}) is None
    with pytest.raises(DataError, match="base and tuned were read at other moments \\(1 differ\\)"):
        evaluate_readouts({"tuned": some, "base": worse[:-1]})


def test_what_is_written_is_read_and_a_cut_line_is_written_anew(tmp_path):
    path = tmp_path / "readouts" / "tuned.jsonl"
    made = [readout(place, numbers=(number("x", unit=0.765),), step_right=True) for place in range(4)]
    store = ReadoutStore(path, {"name": "tuned"})
    for one in made:
        store.add(one)
    head, read = read_readouts(path)
    assert head["name"] == "tuned"
    assert read == made
    content = path.read_bytes()
    for size in (len(content) - 5, content.index(b"\n") // 2, 0):
        path.write_bytes(content[:size])
        store = ReadoutStore(path, {"name": "tuned"})
        for one in made:
            if one.window_id not in store.done:
                store.add(one)
        assert path.read_bytes() == content
    with pytest.raises(DataError, match="read-outs of something else"):
        ReadoutStore(path, {"name": "base"})
    path.write_text('{"format":1}\n{"window_id":"x"}\n')
    with pytest.raises(DataError, match="not a file of read-outs"):
        read_readouts(path)
    with pytest.raises(DataError, match="no read-outs to read"):
        read_readouts(tmp_path / "missing.jsonl")
