"""Cutting: the clips of a session cover it once, on ticks, whatever the input."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlm_agent.clips import (
    CutConfig,
    count_drops,
    cut_session,
    find_pauses,
    goal_at,
    goal_changes,
    tick_times,
)
from vlm_agent.errors import ConfigError
from vlm_agent.sessions.types import Goal

MS = 1_000_000
times = st.integers(0, 90_000).map(lambda ms: ms * MS)
goals = st.builds(
    Goal,
    t_ns=times,
    text=st.sampled_from(["open the bank", "close the bank", "", "craft rings"]),
    level=st.sampled_from(["long", "short"]),
    source=st.just("game"),
)


@settings(deadline=None)
@given(
    start=st.integers(0, 5000).map(lambda ms: ms * MS),
    length=st.integers(1, 80_000 * MS),
    states=st.lists(times),
    goals=st.lists(goals, max_size=12),
    inputs=st.lists(times, max_size=40).map(sorted),
)
def test_clips_cover_the_session_exactly_once(start, length, states, goals, inputs):
    stop = start + length
    ticks = tick_times(states, start, stop, 600)
    clips = cut_session(start, stop, ticks_ns=ticks, goals=goals, input_times_ns=inputs)
    assert clips[0].start_ns == start
    assert clips[-1].stop_ns == stop
    assert all(one.stop_ns == after.start_ns for one, after in pairwise(clips))
    assert all(clip.start_ns < clip.stop_ns for clip in clips)
    assert [clip.index for clip in clips] == list(range(len(clips)))
    inner = {clip.start_ns for clip in clips[1:]}
    assert inner <= set(ticks)
    assert all(clip.stop_ns - clip.start_ns >= 600 * MS for clip in clips if clip.dropped is None)


@settings(deadline=None)
@given(states=st.lists(times), start=times, length=st.integers(0, 60_000 * MS))
def test_ticks_stay_inside_and_apart(states, start, length):
    ticks = tick_times(states, start, start + length, 600)
    assert all(start <= t < start + length for t in ticks)
    assert bool(ticks) == (length > 0)
    assert all(0.9 * 600 * MS <= after - t < 2 * 600 * MS for t, after in pairwise(ticks))
    if ticks:
        assert ticks[0] - start < 600 * MS
        assert start + length - ticks[-1] <= 600 * MS


def test_ticks_are_the_game_s_own_and_a_grid_without_one():
    assert tick_times([], 5 * MS, 2000 * MS, 600) == [5 * MS, 605 * MS, 1205 * MS, 1805 * MS]
    jittered = [t * MS for t in (100, 690, 1310, 1905)]
    assert tick_times(jittered, 0, 2000 * MS, 600) == jittered
    fast = [t * MS for t in range(0, 2000, 250)]
    assert tick_times(fast, 0, 2000 * MS, 600) == [t * MS for t in (0, 750, 1500)]
    hole = [0, 600 * MS, 3000 * MS]
    assert tick_times(hole, 0, 3200 * MS, 600) == [t * MS for t in (0, 600, 1200, 1800, 2400, 3000)]


def test_a_goal_begins_with_the_first_tick_that_can_show_why():
    changes = [goal(0, "a"), goal(800, "b"), goal(1290, "c"), goal(1310, "c"), goal(2550, "d"), goal(2750, "e")]
    clips = cut(6000, goals=changes)
    assert spans(clips) == [(0, 1200), (1200, 3000), (3000, 6000)]
    assert [goal_at(changes, clip.goal_ns, "short").text for clip in clips] == ["a", "c", "e"]


def test_a_goal_told_after_the_last_tick_cuts_nothing():
    assert spans(cut(1800, goals=[goal(0, "a"), goal(1500, "b")])) == [(0, 1800)]


def test_long_stretches_are_cut_into_equal_pieces():
    assert spans(cut(9600)) == [(0, 3000), (3000, 6600), (6600, 9600)]


def test_a_pause_is_one_dropped_clip_and_waiting_for_rings_is_not_a_pause():
    config = CutConfig(pause_ms=6000)
    clips = cut(18_000, inputs=[*range(0, 3000, 100), *range(12_000, 18_000, 100)], config=config)
    assert [(span, clip.dropped) for span, clip in zip(spans(clips), clips, strict=True)] == [
        ((0, 3000), None),
        ((3000, 12_000), "idle"),
        ((12_000, 15_000), None),
        ((15_000, 18_000), None),
    ]
    assert count_drops(clips) == {"idle": 1}
    assert count_drops(cut(24_000, inputs=[0])) == {}


def test_a_scrap_shorter_than_a_window_is_dropped():
    clips = cut_session(0, 500 * MS, ticks_ns=[0])
    assert [clip.dropped for clip in clips] == ["too_short"]
    assert cut_session(0, 0, ticks_ns=[]) == []


def test_pauses_reach_from_input_to_input():
    assert list(find_pauses(0, 100 * MS, [20 * MS, 30 * MS], 25)) == [(30 * MS, 100 * MS)]
    assert list(find_pauses(0, 100 * MS, [], 25)) == [(0, 100 * MS)]


def test_a_goal_holds_until_the_next_of_its_level():
    told = [goal(0, "rings", "long"), goal(0, "a"), goal(1000, "b"), goal(2000, "")]
    assert goal_at(told, 1500 * MS, "short").text == "b"
    assert goal_at(told, 1500 * MS, "long").text == "rings"
    assert goal_at(told, 2500 * MS, "short") is None
    assert goal_at(told, -1, "short") is None
    assert goal_changes(told) == [0, 0, 1000 * MS, 2000 * MS]


def test_config_refuses_what_can_t_be_meant():
    with pytest.raises(ConfigError, match="length_ms"):
        CutConfig(length_ms=500)
    with pytest.raises(ConfigError, match="horizon_ms"):
        CutConfig(horizon_ms=0)


def goal(t_ms, text, level="short"):
    return Goal(t_ms * MS, text, level, "game")


def cut(length_ms, *, goals=(), inputs=None, config=None):
    ticks = list(range(0, length_ms * MS, 600 * MS))
    inputs = range(0, length_ms, 100) if inputs is None else inputs
    return cut_session(
        0, length_ms * MS, ticks_ns=ticks, goals=goals, input_times_ns=[t * MS for t in inputs], config=config
    )


def spans(clips):
    return [(clip.start_ns // MS, clip.stop_ns // MS) for clip in clips]


def test_what_was_left_out_of_a_session_is_in_no_used_clip() -> None:
    ticks = list(range(0, 20_000 * MS, 600 * MS))
    holes = [(5_050 * MS, 7_000 * MS), (6_500 * MS, 9_000 * MS)]
    inputs = list(range(0, 20_000 * MS, 100 * MS))
    clips = cut_session(0, 20_000 * MS, ticks_ns=ticks, input_times_ns=inputs, excluded_ns=holes)
    assert [clip.start_ns for clip in clips[1:]] == [clip.stop_ns for clip in clips[:-1]]
    for clip in clips:
        overlaps = any(clip.start_ns < stop and start < clip.stop_ns for start, stop in holes)
        assert (clip.dropped == "excluded") == overlaps
    left_out = sum(clip.duration_s for clip in clips if clip.dropped == "excluded")
    # The holes' 3.95 s, widened to the ticks around them.
    assert 3.95 <= left_out <= 3.95 + 2 * 0.6


def test_a_clip_of_exactly_one_window_is_used_and_one_of_less_is_not() -> None:
    told = [goal(0, "a"), goal(600, "b"), goal(1200, "c")]
    clips = cut(1799, goals=told)
    assert [(span, clip.dropped) for span, clip in zip(spans(clips), clips, strict=True)] == [
        ((0, 600), None),
        ((600, 1200), None),
        ((1200, 1799), "too_short"),
    ]


@pytest.mark.parametrize(("late_ns", "first_tick_ms"), [(0, 600), (100 * MS, 600), (100 * MS + 1, 1200)])
def test_a_goal_told_up_to_100_ms_after_a_tick_holds_at_that_tick(late_ns, first_tick_ms) -> None:
    told = [goal(0, "a"), Goal(600 * MS + late_ns, "b", "short", "game")]
    clips = cut(1800, goals=told)
    assert spans(clips)[1][0] == first_tick_ms
    # The goal is read where it is known, and no other is read there.
    assert [goal_at(told, clip.goal_ns, "short").text for clip in clips] == ["a", "b"]


def test_a_goal_holds_from_its_very_moment_and_not_before() -> None:
    told = [goal(0, "a"), goal(1000, "b")]
    assert goal_at(told, 1000 * MS, "short").text == "b"
    assert goal_at(told, 1000 * MS - 1, "short").text == "a"
    assert goal_at([*told, goal(1000, "c")], 1000 * MS, "short").text == "b"
    assert goal_at([goal(0, " ")], 0, "short") is None


def test_goals_may_come_in_any_order() -> None:
    told = [goal(2000, "b"), goal(0, "a"), goal(1000, "b")]
    assert goal_changes(told) == [0, 1000 * MS]
    assert goal_at(told, 1500 * MS, "short").t_ns == 1000 * MS


def test_a_pause_is_longer_than_its_length() -> None:
    assert list(find_pauses(0, 50 * MS, [25 * MS], 25)) == []
    assert list(find_pauses(0, 50 * MS, [25 * MS - 1], 25)) == [(25 * MS - 1, 50 * MS)]
    # What was pressed outside the span is not in it.
    assert list(find_pauses(10 * MS, 50 * MS, [0, 9 * MS, 30 * MS, 50 * MS], 20)) == []
    assert list(find_pauses(10 * MS, 50 * MS, [0, 9 * MS, 31 * MS, 50 * MS], 20)) == [(10 * MS, 31 * MS)]


@pytest.mark.parametrize(
    ("states_ms", "ticks_ms"),
    [
        # 0.9 of a horizon after a tick is the next tick, a little less is not.
        ([0, 540], [0, 540, 1140]),
        ([0, 539], [0, 600, 1200]),
        # A hole of 1.9 horizons is filled, a smaller one is a late tick.
        ([0, 1140], [0, 600, 1140]),
        ([0, 1139], [0, 1139]),
        # The time before the first state has ticks of its own, a whole number of horizons before it.
        ([1300], [100, 700, 1300]),
        ([600], [0, 600, 1200]),
        # States before the beginning and from the end on are no ticks.
        ([-5, 700, 1700], [100, 700, 1300]),
    ],
)
def test_ticks_of_jittering_games(states_ms, ticks_ms) -> None:
    assert tick_times([t * MS for t in states_ms], 0, 1700 * MS, 600) == [t * MS for t in ticks_ms]


@pytest.mark.parametrize(
    ("hole_ms", "excluded_ms"),
    [
        ((700, 1100), [(600, 1200)]),
        ((600, 1200), [(600, 1200)]),
        ((601, 1201), [(600, 1800)]),
        # Before the first tick and after the last, up to the ends of the session.
        ((0, 100), [(0, 300)]),
        ((2800, 2900), [(2700, 3000)]),
        ((50, 2950), [(50, 3000)]),
    ],
)
def test_what_was_left_out_is_widened_to_the_ticks_around_it(hole_ms, excluded_ms) -> None:
    ticks = [t * MS for t in (300, 600, 1200, 1800, 2400, 2700)]
    clips = cut_session(
        0, 3000 * MS, ticks_ns=ticks, input_times_ns=ticks, excluded_ns=[tuple(t * MS for t in hole_ms)]
    )
    excluded = [clip for clip in clips if clip.dropped == "excluded"]
    assert spans(excluded) == excluded_ms


def test_left_out_goes_before_idle() -> None:
    clips = cut(9000, inputs=[0], config=CutConfig(pause_ms=600))
    assert [clip.dropped for clip in clips] == ["idle", None]
    ticks = [t * MS for t in range(0, 9000, 600)]
    config = CutConfig(pause_ms=600)
    left_out = cut_session(0, 9000 * MS, ticks_ns=ticks, excluded_ns=[(0, 9000 * MS)], config=config)
    assert {clip.dropped for clip in left_out} == {"excluded"}


def test_pieces_end_at_the_nearest_tick_and_none_is_empty() -> None:
    config = CutConfig(length_ms=600, pause_ms=600)
    ticks = [t * MS for t in (0, 1100, 2200)]
    clips = cut_session(
        0, 3300 * MS, ticks_ns=ticks, input_times_ns=[t * MS for t in range(0, 3300, 100)], config=config
    )
    assert spans(clips) == [(0, 1100), (1100, 2200), (2200, 3300)]


def test_the_lengths_are_those_told_and_may_be_one_window() -> None:
    assert CutConfig() == CutConfig(length_ms=4000, pause_ms=30_000, horizon_ms=600)
    assert CutConfig(1, 1, 1) == CutConfig(length_ms=1, pause_ms=1, horizon_ms=1)
    with pytest.raises(ConfigError, match="pause_ms"):
        CutConfig(pause_ms=599)
    assert spans(cut(4000)) == [(0, 4000)]
    assert len(cut(4200)) == 2
    [clip] = cut(4000)
    assert clip.duration_s == 4.0


def test_what_a_person_told_stands_before_what_the_game_tells() -> None:
    told = [Goal(0, "mine", "short", "human"), Goal(1000 * MS, "the game's", "short", "game")]
    assert goal_at(told, 2000 * MS, "short").text == "mine"
    assert goal_at(list(reversed(told)), 2000 * MS, "short").text == "mine"
    # Until it is taken back.
    taken_back = [*told, Goal(3000 * MS, "", "short", "human")]
    assert goal_at(taken_back, 3000 * MS, "short").text == "the game's"
    assert goal_at(taken_back, 3000 * MS - 1, "short").text == "mine"


def test_a_person_s_goal_begins_though_the_game_said_its_words_before() -> None:
    told = [
        Goal(0, "open the bank", "short", "human"),
        Goal(1200 * MS, "close the bank", "short", "game"),
        Goal(2400 * MS, "close the bank", "short", "human"),
    ]
    assert goal_changes(told) == [0, 1200 * MS, 2400 * MS]
    clips = cut(4800, goals=told)
    assert [goal_at(told, clip.goal_ns, "short").text for clip in clips if clip.start_ns >= 2400 * MS] == [
        "close the bank"
    ]
    assert {goal_at(told, clip.goal_ns, "short").text for clip in clips if clip.start_ns < 2400 * MS} == {
        "open the bank"
    }
    assert max(clip.stop_ns for clip in clips if clip.start_ns < 2400 * MS) == 2400 * MS
