"""Windows: inside their clip, tiled, with the history before them, and converted for a model."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded_play import click_events

from vlm_agent.actions.events import KeyChanged, PointerMoved
from vlm_agent.actions.playback import expand
from vlm_agent.actions.spec import ActionSpec
from vlm_agent.actions.types import ActionChunk, Click, Key, Move
from vlm_agent.actions.validation import check_chunk
from vlm_agent.chat import make_recipe, render_answer, render_prompt
from vlm_agent.clips import Clip, CutConfig, LabeledClip, cut_session, tick_times
from vlm_agent.dataset.events import read_timeline
from vlm_agent.dataset.windows import Window, WindowConfig, prompt_input, slide_windows, target_chunk
from vlm_agent.errors import ConfigError

MS = 1_000_000
SPEC = ActionSpec(765, 503, keys=("space", "left"))
TICKS = [t * MS for t in range(0, 6000, 600)]


def whole(stop_ms=6000, dropped=None):
    return [LabeledClip(Clip(0, 0, stop_ms * MS, dropped), dropped=dropped)]


def slide(events, clips=None, ticks=TICKS, spec=SPEC, config=None):
    return slide_windows(clips or whole(), read_timeline(events, spec), ticks, spec, config)


def test_actions_land_in_the_window_they_happen_in_with_times_from_its_start():
    moments, report = slide([*click_events(630, 50, 60), *click_events(1010, 70, 80)])
    assert [moment.target for moment in moments[:3]] == [
        ActionChunk(),
        ActionChunk((Click(50, 50, 60), Click(380, 70, 80))),
        ActionChunk(),
    ]
    assert len(moments) == 10
    assert report.drops == {}


def test_history_is_what_came_before_with_its_age():
    moments, _ = slide(
        [*click_events(630, 50, 60), KeyChanged(1300 * MS, "space", True), KeyChanged(1350 * MS, "space", False)]
    )
    assert moments[1].recent == ()
    assert moments[2].recent == ((550, Click(0, 50, 60)),)
    assert moments[3].recent == ((1150, Click(0, 50, 60)), (500, Key(0, "space")))
    short, _ = slide([*click_events(630, 50, 60)], config=WindowConfig(history_ticks=2))
    assert [len(moment.recent) for moment in short] == [0, 0, 1, 1, 0, 0, 0, 0, 0, 0]


def test_no_window_reaches_past_its_clip_and_dropped_clips_give_none():
    clips = [
        LabeledClip(Clip(0, 0, 1500 * MS)),
        LabeledClip(Clip(1, 1500 * MS, 3600 * MS, "idle"), dropped="idle"),
        LabeledClip(Clip(2, 3600 * MS, 6000 * MS)),
    ]
    moments, report = slide([], clips)
    assert [moment.t_ns // MS for moment in moments] == [0, 600, 3600, 4200, 4800, 5400]
    assert report.drops == {"past_clip_end": 1, "clip_dropped": 3}


def test_stride_counts_within_a_clip():
    clips = [LabeledClip(Clip(0, 0, 1800 * MS)), LabeledClip(Clip(1, 1800 * MS, 6000 * MS))]
    moments, _ = slide([], clips, config=WindowConfig(stride_ticks=3))
    assert [moment.t_ns // MS for moment in moments] == [0, 1800, 3600, 5400]
    clips = [LabeledClip(Clip(0, 0, 1200 * MS)), LabeledClip(Clip(1, 1200 * MS, 6000 * MS))]
    moments, _ = slide([], clips, config=WindowConfig(stride_ticks=3))
    assert [moment.t_ns // MS for moment in moments] == [0, 1200, 3000, 4800]


def test_an_early_tick_ends_the_window_before_it_and_a_late_one_leaves_a_hole():
    ticks = [0, 560 * MS, 1400 * MS]
    moments, report = slide([*click_events(550, 5, 5), *click_events(1180, 6, 6)], whole(2000), ticks)
    assert [len(moment.target.actions) for moment in moments] == [0, 1, 0]
    assert report.drops == {"action_between_ticks": 1}


def test_too_many_actions_are_cut_and_counted():
    spec = ActionSpec(765, 503, keys=("space",), max_actions=2)
    events = [KeyChanged((t + up) * MS, "space", not up) for t in (10, 100, 200, 300) for up in (0, 40)]
    moments, report = slide(events, spec=spec)
    assert moments[0].target == ActionChunk((Key(10, "space"), Key(90, "space")))
    assert report.drops == {"action_overflow": 2}


def test_moves_give_way_before_presses_do():
    spec = ActionSpec(765, 503, keys=("space",), max_actions=3)
    zigzag = [PointerMoved(t * MS, 700 * (t // 40 % 2), 400 * (t // 80 % 2)) for t in range(0, 600, 40)]
    presses = [KeyChanged((t + up) * MS, "space", not up) for t in (105, 305) for up in (0, 40)]
    moments, report = slide(sorted([*zigzag, *presses], key=lambda event: event.t_ns), spec=spec)
    kinds = [type(action) for action in moments[0].target.actions]
    assert kinds == [Key, Key, Move]
    assert report.drops == {}


def test_no_press_is_lost_for_a_path_of_several_strokes():
    spec = ActionSpec(765, 503, keys=("space",), max_actions=3)
    corners = [(0, 0), (700, 0), (700, 400), (0, 400)]
    path = [
        PointerMoved((180 * side + step) * MS, x + (to_x - x) * step // 180, y + (to_y - y) * step // 180)
        for side, ((x, y), (to_x, to_y)) in enumerate(pairwise(corners))
        for step in range(0, 180, 20)
    ]
    presses = [KeyChanged((t + up) * MS, "space", not up) for t in (505, 545) for up in (0, 30)]
    both = sorted([*path, *presses], key=lambda event: event.t_ns)
    moments, report = slide(both, spec=spec)
    assert [type(action) for action in moments[0].target.actions].count(Key) == 2
    assert report.drops == {}
    plenty, _ = slide(both, spec=replace(spec, max_actions=9))
    assert len(plenty[0].target.actions) >= 5


def test_times_are_rounded_to_the_grid_and_rounding_does_not_add_up():
    events = [KeyChanged((t + up) * MS, "space", not up) for t in (14, 28, 42, 56, 599) for up in (0, 1)]
    moments, _ = slide(events)
    assert [action.dt_ms for action in moments[0].target.actions] == [10, 10, 20, 10, 540]
    assert [age for age, _ in moments[1].recent] == [590, 580, 560, 550, 10]


def test_a_pointer_arrives_before_what_is_pressed_at_that_moment():
    events = [PointerMoved(0, 0, 0), PointerMoved(300 * MS, 300, 200)]
    presses = [KeyChanged((300 + up) * MS, "space", not up) for up in (0, 40)]
    moments, _ = slide([*events, *presses])
    assert moments[0].target.actions == (Move(300, 300, 200), Key(0, "space"))


def test_a_move_counts_from_where_the_pointer_was_before_the_window():
    moments, _ = slide([PointerMoved(100 * MS, 0, 0), PointerMoved(1000 * MS, 300, 200)])
    assert [moment.target.actions for moment in moments[:3]] == [(), (Move(400, 300, 200),), ()]


def test_a_relative_pointer_has_no_way_points_and_nothing_of_its_is_hurried():
    spec = ActionSpec(765, 503, keys=("space",), pointer="relative", max_offset=50)
    path = [PointerMoved(t * MS, t // 2, t // 3) for t in range(300, 820, 20)]
    press = [KeyChanged((t + up) * MS, "space", not up) for t in (100, 900) for up in (0, 40)]
    moments, report = slide(sorted([*path, *press], key=lambda event: event.t_ns), spec=spec)
    assert [moment.target.actions for moment in moments[:2]] == [(Key(100, "space"),), (Key(300, "space"),)]
    assert (report.hurried.strokes, report.thinning.points_in) == (0, 0)


def test_config_refuses_a_stride_of_none():
    with pytest.raises(ConfigError, match="stride"):
        WindowConfig(stride_ticks=0)


@settings(max_examples=50, deadline=None)
@given(
    clicks=st.lists(st.tuples(st.integers(0, 9000), st.integers(0, 764), st.integers(0, 502)), max_size=12),
    moves=st.lists(st.tuples(st.integers(0, 9000), st.integers(-50, 900), st.integers(-50, 600)), max_size=40),
    states=st.lists(st.integers(0, 9000 * MS), max_size=20),
    goals=st.lists(st.integers(0, 9000 * MS), max_size=4),
)
def test_whatever_was_played_targets_are_allowed_and_windows_lie_in_their_clips(clicks, moves, states, goals):
    from vlm_agent.sessions.types import Goal

    events = [event for t, x, y in clicks for event in click_events(t, x, y)]
    events += [PointerMoved(t * MS, x, y) for t, x, y in moves]
    events.sort(key=lambda event: event.t_ns)
    stop = 9_500 * MS
    ticks = tick_times(states, 0, stop, 600)
    told = [Goal(t, str(t), "short", "game") for t in goals]
    times = [event.t_ns for event in events]
    clips = [
        LabeledClip(clip, dropped=clip.dropped)
        for clip in cut_session(
            0, stop, ticks_ns=ticks, goals=told, input_times_ns=times, config=CutConfig(pause_ms=3000)
        )
    ]
    moments, report = slide(events, clips, ticks)
    for moment in moments:
        check_chunk(moment.target, SPEC)
        expand(moment.target, start_t_ns=0, pointer=(0, 0), horizon_ms=600)
        following = min((t for t in ticks if t > moment.t_ns), default=stop)
        assert moment.labeled.clip.start_ns <= moment.t_ns
        assert min(moment.t_ns + 600 * MS, following) <= moment.labeled.clip.stop_ns
        assert [age for age, _ in moment.recent] == sorted((age for age, _ in moment.recent), reverse=True)
        assert all(0 <= age <= 6000 and age % 10 == 0 for age, _ in moment.recent)
    lost = sum(report.drops[reason] for reason in ("clip_dropped", "past_clip_end", "press_pending"))
    assert len(moments) + lost == len(ticks)


def window(**changes):
    given = {
        "session": "s",
        "clip": 0,
        "t_ns": 600 * MS,
        "split": "train",
        "goal": "open the bank",
        "goal_level": "short",
        "goal_source": "game",
        "goal_confidence": 1.0,
        "frame_id": "ab",
        "frame_width_px": 765,
        "frame_height_px": 503,
        "target": ActionChunk((Click(50, 764, 502),)),
        "recent": ((420, Click(0, 382, 251)),),
        "state": {"player": {"animation": -1}},
    }
    return Window(**{**given, **changes})


def test_a_window_is_converted_for_a_model_only_when_it_is_shown():
    frame = np.zeros((503, 765, 3), np.uint8)
    thousand = make_recipe(SPEC, image_width_px=384, image_height_px=256)
    pixels = make_recipe(SPEC, image_width_px=384, image_height_px=256, coordinates="pixels")
    assert render_answer(target_chunk(window(), thousand), thousand).endswith('"x":999,"y":999,"button":"left"}]}')
    assert target_chunk(window(), pixels) == ActionChunk((Click(50, 383, 255),))
    shown = prompt_input(window(), thousand, frame)
    assert shown.recent == ((420, Click(0, 500, 500)),)
    text = render_prompt(shown, thousand)[1]["content"][-1]["text"]
    assert text == "now: idle\nRecent: -420 CLICK 500,500 left\nGoal: open the bank"
    assert prompt_input(window(state=None), thousand, frame).state_text == ""


def test_window_ids_tell_levels_apart():
    assert window().window_id == "s/600000000/short"
    assert window(goal_level="long").window_id != window().window_id
