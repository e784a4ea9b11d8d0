"""Two recordings of the same play, held against each other."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vlm_agent.actions.events import ButtonChanged, KeyChanged
from vlm_agent.actions.types import Action, ActionChunk, Click, Key, Move
from vlm_agent.dataset.windows import Window
from vlm_agent.errors import DataError
from vlm_agent.evaluation.agreement import NS_PER_MS, Agreement, Spread, measure_agreement, measure_presses

TICK_NS = 600 * NS_PER_MS
AHEAD_NS = 1_764_000_000_123_456_789


def make_window(t_ns: int, *actions: Action) -> Window:
    return Window(
        session="s", clip=0, t_ns=t_ns, split="train", goal="g", goal_level="long", goal_source="human",
        goal_confidence=1.0, frame_id="f", frame_width_px=765, frame_height_px=503, target=ActionChunk(actions),
    )  # fmt: skip


def play(count: int = 12) -> list[Window]:
    """Windows with a way-point and a press each, at times that do not repeat."""
    presses = [Click(70 + 20 * (i % 7), 10 * i, 5 * i, "left") if i % 3 else Key(130, "space") for i in range(count)]
    return [make_window(i * TICK_NS, Move(50 + 10 * i, 3 * i, 4 * i), press) for i, press in enumerate(presses)]


def shift(windows: list[Window], by_ns: int) -> list[Window]:
    return [replace(window, t_ns=window.t_ns + by_ns) for window in windows]


def test_the_same_play_on_another_clock_agrees_in_all() -> None:
    found = measure_agreement(play(), shift(play(), AHEAD_NS))
    zero = Spread(0.0, 0.0, 0.0)
    assert found == Agreement(12, 12, 12, 12, 0, 12, 12, zero, zero, zero, zero)


def test_differences_are_counted_and_measured() -> None:
    other = shift(play(), AHEAD_NS)
    lost, moved = other[1], other[2]
    other[1] = replace(lost, target=ActionChunk(lost.target.actions[:1]))
    (way_point, click) = moved.target.actions
    assert isinstance(way_point, Move)
    assert isinstance(click, Click)
    other[2] = replace(
        moved, target=ActionChunk((replace(way_point, x=way_point.x + 7), replace(click, dt_ms=click.dt_ms + 20, y=0)))
    )
    other[4] = replace(other[4], target=ActionChunk((*other[4].target.actions, Key(10, "escape"))))
    found = measure_agreement(play(), other)
    assert (found.num_presses, found.num_same_presses, found.num_extra_presses) == (12, 11, 1)
    assert found.press_ms == Spread(0.0, pytest.approx(10.0), 20.0)
    assert found.press_px is not None
    assert found.press_px.largest == click.y
    assert found.move_px is not None
    assert found.move_px.largest == 7
    assert found.to_json()["press_ms"]["largest"] == 20.0


def test_an_action_is_held_against_the_nearest_of_its_kind() -> None:
    one, two = play(), shift(play(), AHEAD_NS)
    # 130 ms into the window here; 60 and 130 ms into it there.
    one[7] = replace(one[7], target=ActionChunk((Key(130, "b"),)))
    two[7] = replace(two[7], target=ActionChunk((Key(60, "b"), Key(70, "b"))))
    found = measure_agreement(one, two)
    assert found.press_ms is not None
    assert found.press_ms.largest == 0
    assert found.num_extra_presses == 1


def test_only_what_both_recordings_hold_is_compared() -> None:
    found = measure_agreement(play(), shift(play()[3:10], AHEAD_NS))
    assert found.num_windows == found.num_paired == 7


def test_windows_of_another_tick_are_not_paired() -> None:
    late = [replace(window, t_ns=window.t_ns + (300 * NS_PER_MS if i == 5 else 0)) for i, window in enumerate(play())]
    found = measure_agreement(play(), late)
    assert (found.num_windows, found.num_paired) == (12, 11)


def test_what_can_not_be_laid_over_each_other_is_refused() -> None:
    with pytest.raises(DataError, match="it takes 5 presses"):
        measure_agreement(play(3), play(3))
    others = [make_window(i * TICK_NS, Key(100, "escape")) for i in range(12)]
    with pytest.raises(DataError, match="no press in common"):
        measure_agreement(play(), others)


def press(t_ms: int, x: int = 10, *, ahead_ns: int = 0) -> ButtonChanged:
    return ButtonChanged(t_ms * NS_PER_MS + ahead_ns, x, 5, "left", True)


def test_presses_as_devices_gave_them_are_matched_in_time() -> None:
    one = [press(t_ms) for t_ms in (0, 700, 1900, 2500, 4000, 5100)] + [KeyChanged(5500 * NS_PER_MS, "space", True)]
    two = [press(t_ms + late, 12, ahead_ns=AHEAD_NS) for t_ms, late in ((700, 0), (1900, 4), (2500, 0), (4000, 10))]
    two += [KeyChanged(5500 * NS_PER_MS + AHEAD_NS, "space", True), press(5900, ahead_ns=AHEAD_NS)]
    found = measure_presses([*one, ButtonChanged(5600 * NS_PER_MS, 1, 1, "left", False)], two)
    # The first lies before the other recording began; the one at 5100 is missing there, and that at 5900 here.
    assert (found.num_presses, found.num_same, found.num_extra) == (6, 5, 1)
    assert found.ms is not None
    assert found.ms.largest == 10
    assert found.px == Spread(2.0, 2.0, 2.0)
    assert found.to_json()["num_same"] == 5
    with pytest.raises(DataError, match="it takes 5 presses"):
        measure_presses(one, two[:2])
