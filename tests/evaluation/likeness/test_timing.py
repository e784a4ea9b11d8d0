"""Pauses, reactions and sequences, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tests.evaluation.likeness.players import MS
from vlm_agent.evaluation.likeness.movements import Movement
from vlm_agent.evaluation.likeness.streams import InputStream, Press, Scene
from vlm_agent.evaluation.likeness.timing import (
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

ONE_PIECE = Pieces(((0, 10_000 * MS),))
TWO_PIECES = Pieces(((0, 5_000 * MS), (5_000 * MS, 10_000 * MS)))


def press(t_ms: float, hold_ms: float | None = 80.0, name: str = "left") -> Press:
    return Press(round(t_ms * MS), hold_ms, name, (10, 10) if name in ("left", "right") else None)


def move(start_ms: float, stop_ms: float) -> Movement:
    return Movement(round(start_ms * MS), round(stop_ms * MS), (0, 0), (100, 0), 500.0, None)


def act(start_ms: float, stop_ms: float, kind: str = "move") -> Act:
    return Act(round(start_ms * MS), round(stop_ms * MS), kind)


def stream(*, presses=(), keys=(), wheel_ms=(), scenes=()) -> InputStream:
    empty = np.array([], dtype=np.int64)
    wheel_ns = np.array(wheel_ms, dtype=np.int64) * MS
    points = np.empty((0, 2))
    return InputStream(
        "s", None, None, ((0, 10_000 * MS),), empty, points, tuple(presses), tuple(keys), wheel_ns, tuple(scenes), None
    )


def scene(t_ms: float, situation: str) -> Scene:
    return Scene(round(t_ms * MS), situation, np.empty((0, 4), np.int32))


def test_pieces_are_equal_and_nearest_to_the_length() -> None:
    pieces = cut_pieces([(0, 10_000 * MS), (20_000 * MS, 23_000 * MS)], 4_000)
    assert [(start // MS, stop // MS) for start, stop in pieces.edges_ns] == [
        *((0, 5_000), (5_000, 10_000)),  # two of 5 s are nearer to 4 s than three of 3.3 s
        (20_000, 23_000),
    ]
    assert pieces.find(1_000 * MS, 4_999 * MS) == 0
    assert pieces.find(4_000 * MS, 5_000 * MS) is None
    assert pieces.find(12_000 * MS, 12_001 * MS) is None


def test_time_between_clicks_is_told_within_pieces_only() -> None:
    presses = [press(1_000), press(1_700, name="right"), press(4_800), press(5_100)]
    assert list_click_intervals(presses, ONE_PIECE) == [700.0, 3100.0, 300.0]
    assert list_click_intervals(presses, TWO_PIECES) == [700.0, 3100.0]


def test_the_rest_before_a_press_counts_from_the_end_of_the_movement_that_led_there() -> None:
    movements = [move(0, 400), move(1_000, 1_500), move(3_000, 3_200)]
    presses = [press(450), press(1_500), press(2_500), press(3_100)]
    # 2,500 is long after any movement; at 3,100 the movement is still on its way.
    assert [(rest, one.t_ns // MS) for rest, one in list_rests(presses, movements, ONE_PIECE)] == [
        *((50.0, 450), (0.0, 1_500), (0.0, 3_100)),
    ]


def test_acts_are_in_order_and_a_burst_of_notches_is_one_turn() -> None:
    acts = list_acts(
        stream(presses=[press(900)], keys=[press(100, 50, "a")], wheel_ms=[2_000, 2_150, 2_300, 2_600]),
        [move(500, 880)],
    )
    assert [(one.kind, one.start_ns // MS) for one in acts] == [
        *(("key", 100), ("move", 500), ("left click", 900), ("scroll", 2_000), ("scroll", 2_600)),
    ]


def test_reactions_by_hand() -> None:
    scenes = [scene(t, s) for t, s in ((0, "a"), (600, "b"), (1_200, "b"), (1_800, "c"), (2_400, "d"), (3_000, "e"))]
    acts = [act(840, 1_000), act(2_390, 2_450), act(3_400, 3_500), act(3_520, 3_600, "left click")]
    # b at 600: 240 ms to the movement at 840. c at 1,800: 590 ms to the one at 2,390. d at 2,400: the hand was busy.
    # e at 3,000: 400 ms.
    assert list_reactions(stream(scenes=scenes), acts, ONE_PIECE) == [240.0, 590.0, 400.0]


@pytest.mark.parametrize(
    ("acts", "why"),
    [
        ([act(4_000, 4_100)], "too late to be a reaction"),
        ([act(500, 550), act(800, 900)], "not at rest for long enough before"),
        ([act(1_300, 1_400)], "something else changed in between: that was reacted to"),
        ([], "nothing was done"),
    ],
)
def test_no_reaction(acts, why) -> None:
    scenes = [scene(0, "a"), scene(600, "b"), *([scene(1_200, "c")] if "in between" in why else [])]
    found = list_reactions(stream(scenes=scenes), acts, ONE_PIECE)
    assert found == ([100.0] if "in between" in why else [])


def test_idle_spans_lie_between_acts_of_one_piece() -> None:
    acts = [act(1_000, 1_500), act(1_200, 1_300, "key"), act(1_600, 1_700), act(2_200, 2_300), act(6_000, 6_100)]
    # 100 ms is part of acting; before the first and after the last act nobody knows how long it would have been.
    assert list_idle_spans(acts, ONE_PIECE) == [500.0, 3_700.0]
    assert list_idle_spans(acts, TWO_PIECES) == [500.0]


def test_transitions_rates_and_shares_by_hand() -> None:
    acts = [act(1_000, 1_500), act(1_600, 1_700, "left click"), act(1_650, 2_000), act(6_000, 6_500, "key")]
    assert list_transitions(acts, TWO_PIECES) == [("move", "left click"), ("left click", "move")]
    rates = count_per_minute(acts, TWO_PIECES)
    assert rates["move"] == [24.0, 0.0]
    assert rates["key"] == [0.0, 12.0]
    assert list_busy_shares(acts, TWO_PIECES) == pytest.approx([18.0, 10.0])  # 500 + 400 ms, and 500 ms, of 5 s


def test_the_pause_before_an_act_counts_from_the_end_of_all_before_it() -> None:
    acts = [act(1_000, 3_000, "key"), act(1_200, 1_300), act(1_800, 2_000), act(3_400, 3_500), act(6_000, 6_100)]
    found = [find_pause_before(acts, one.start_ns, TWO_PIECES) for one in acts]
    assert found == [None, 0.0, 0.0, 400.0, None]  # the key is held until 3,000; the last is in another piece
