"""Movements and presses in the windows in which they begin."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm_agent.actions.events import ButtonChanged, InputEvent, KeyChanged, PointerMoved
from vlm_agent.actions.spec import ActionSpec
from vlm_agent.actions.types import ActionChunk, Click, Key, Move
from vlm_agent.clips import Clip, LabeledClip
from vlm_agent.dataset.events import Timeline, read_timeline
from vlm_agent.dataset.onsets import HurryCount, Onsets, date_by_onset
from vlm_agent.dataset.windows import WindowConfig, slide_windows

MS = 1_000_000
SPEC = ActionSpec(765, 503, keys=("space",))
TICKS = [t * MS for t in range(0, 6000, 600)]
SPANS = [(t, t + 600 * MS) for t in TICKS]


def stroke(start: tuple[int, int], end: tuple[int, int], begin_ms: int, end_ms: int) -> list[InputEvent]:
    times = np.arange(begin_ms, end_ms + 1, 20)
    share = (times - begin_ms) / (end_ms - begin_ms)
    points = np.round(np.asarray(start) + share[:, None] * np.subtract(end, start)).astype(int)
    return [PointerMoved(int(t) * MS, int(x), int(y)) for t, (x, y) in zip(times, points, strict=True)]


def press(t_ms: int, x: int, y: int) -> list[InputEvent]:
    return [ButtonChanged((t_ms + up) * MS, x, y, "left", pressed=not up) for up in (0, 80)]


def dated(events: list[InputEvent], limit_ms: int = 6000) -> Onsets:
    return date_by_onset(read_timeline(events, SPEC), SPANS, [limit_ms * MS] * len(SPANS))


def targets(events: list[InputEvent], **config: bool) -> list[tuple]:
    clips = [LabeledClip(Clip(0, 0, 6000 * MS))]
    moments, _ = slide_windows(clips, read_timeline(events, SPEC), TICKS, SPEC, WindowConfig(**config))
    return [moment.target.actions for moment in moments]


REACH = [*stroke((0, 0), (300, 200), 300, 820), *press(870, 300, 200)]


def test_a_press_is_said_in_the_window_in_which_the_hand_set_out():
    assert targets(REACH)[:3] == [(Click(580, 300, 200),), (), ()]
    cut = targets(REACH, by_onset=False)
    assert isinstance(cut[0][-1], Move)
    assert cut[1] == (Click(270, 300, 200),)


def test_the_history_of_the_next_window_agrees():
    moments, report = slide_windows(
        [LabeledClip(Clip(0, 0, 6000 * MS))], read_timeline(REACH, SPEC), TICKS, SPEC, WindowConfig()
    )
    assert moments[1].recent == ((620, Click(0, 300, 200)),)
    assert report.hurried.to_json() == {"strokes": 1, "presses": 1, "mean_shift_ms": 290.0}
    # A hurried stroke says nothing about thinning; what is left is the release of the press.
    assert (report.thinning.max_px, report.thinning.points_in) == (0, 1)


def test_nothing_is_learnt_from_a_world_that_a_press_has_not_reached():
    clips = [LabeledClip(Clip(0, 0, 6000 * MS))]
    moments, report = slide_windows(clips, read_timeline(REACH, SPEC), TICKS, SPEC, WindowConfig())
    assert [moment.t_ns for moment in moments] == [t for t in TICKS if t != 600 * MS]
    assert report.drops == {"press_pending": 1}
    onsets = dated(REACH)
    assert onsets.pending == ((580 * MS, 870 * MS),)
    times_ms = (579, 580, 869, 870)
    assert [onsets.is_pending(t * MS) for t in times_ms] == [False, True, True, False]
    as_it_was, report = slide_windows(clips, read_timeline(REACH, SPEC), TICKS, SPEC, WindowConfig(by_onset=False))
    assert len(as_it_was) == len(TICKS)
    assert not report.drops


def test_a_stroke_without_a_press_is_said_by_where_it_comes_to_rest():
    seen = PointerMoved(0, 0, 0)
    first, second, *_ = targets([seen, *stroke((0, 0), (300, 200), 300, 820)])
    assert first[-1] == Move(280, 300, 200)
    assert second == ()


def test_a_pause_divides_strokes():
    events = [*stroke((0, 0), (300, 200), 300, 560), *stroke((300, 200), (500, 50), 720, 900), *press(950, 500, 50)]
    said = targets(events)
    assert (said[0][-1].x, said[0][-1].y) == (300, 200)
    assert said[1] == (Click(350, 500, 50),)


def test_a_stroke_begins_after_the_press_before_it():
    events = [*press(500, 10, 10), *stroke((10, 10), (300, 200), 590, 800), *press(840, 300, 200)]
    assert targets(events)[:2] == [(Click(500, 10, 10), Click(80, 300, 200)), ()]


KEY_BETWEEN = [KeyChanged(700 * MS, "space", True), KeyChanged(750 * MS, "space", False)]


@pytest.mark.parametrize(
    ("why", "events", "limit_ms"),
    [
        ("the clip ends", REACH, 700),
        ("a key comes between", [*REACH, *KEY_BETWEEN], 6000),
        ("it takes too long", [*stroke((0, 0), (300, 200), 500, 3100), *press(3140, 300, 200)], 1900),
        ("nothing moves", press(870, 0, 0), 6000),
    ],
)
def test_it_is_left_where_it_was_when(why, events, limit_ms):
    events = sorted(events, key=lambda event: event.t_ns)
    before = read_timeline(events, SPEC)
    after = dated(events, limit_ms)
    assert after.timeline == before, why
    assert after.hurried_ns == frozenset()


REST, HALF = stroke((0, 0), (300, 200), 300, 820), stroke((0, 0), (90, 60), 300, 500)
"""A stroke that ends in no press, and one that ends before the window does."""


@pytest.mark.parametrize(
    ("why", "events", "limit_ms", "is_hurried"),
    [
        ("the clip ends with the press", REACH, 870, False),
        ("the clip ends behind the press", REACH, 871, True),
        ("it comes to rest two windows later", stroke((0, 0), (300, 200), 560, 1800), 6000, False),
        ("it comes to rest before that", stroke((0, 0), (300, 200), 560, 1780), 6000, True),
        ("a key comes before it rests", [*REST, *KEY_BETWEEN], 6000, False),
        ("a key comes behind its end", [*REST, KeyChanged(840 * MS, "space", True)], 6000, True),
        ("the hand pauses at the window's end", [*HALF, PointerMoved(621 * MS, 99, 66)], 6000, False),
        ("the hand hesitates at the window's end", [*HALF, PointerMoved(620 * MS, 99, 66)], 6000, True),
    ],
)
def test_what_is_hurried_and_what_is_not_by_a_hair(why, events, limit_ms, is_hurried):
    onsets = dated(sorted(events, key=lambda event: event.t_ns), limit_ms)
    assert (0 in onsets.hurried_ns) == is_hurried, why


def test_the_path_stays_in_order_where_a_stroke_sets_out_just_before_the_window_ends():
    events = [
        *(PointerMoved(t * MS, 0, 0) for t in (300, 590)),
        PointerMoved(598 * MS, 1, 0),
        *stroke((1, 0), (80, 60), 606, 700),
    ]
    onsets = dated(events)
    assert onsets.hurried_ns == {0}
    assert onsets.timeline.path_times_ns == [300 * MS, 590 * MS, 590 * MS]
    assert onsets.timeline.path[-1] == dated(events, 1).timeline.path[-1]


def test_counts_of_sessions_are_added_up():
    count = HurryCount(2, 1, 300.0)
    count.merge(HurryCount(3, 2, 150.0))
    assert count.to_json() == {"strokes": 5, "presses": 3, "mean_shift_ms": 150.0}
    assert HurryCount().to_json()["mean_shift_ms"] == 0


def test_the_given_timeline_is_not_changed():
    timeline = read_timeline(REACH, SPEC)
    date_by_onset(timeline, SPANS, [6000 * MS] * len(SPANS))
    assert timeline == read_timeline(REACH, SPEC)
    assert date_by_onset(Timeline(), SPANS, [6000 * MS] * len(SPANS)).timeline == Timeline()


_EVENTS = st.lists(
    st.tuples(st.integers(0, 290), st.integers(0, 764), st.integers(0, 502), st.sampled_from("mmmmmpk")), max_size=60
)


@given(_EVENTS)
def test_order_and_number_of_actions_stay_and_nothing_comes_later(drawn):
    events: list[InputEvent] = []
    for at, x, y, kind in sorted(drawn):
        t_ns = at * 20 * MS
        if kind == "k":
            events += [KeyChanged(t_ns, "space", True), KeyChanged(t_ns + MS, "space", False)]
        elif kind == "p":
            events += [ButtonChanged(t_ns + up * MS, x, y, "left", pressed=not up) for up in (0, 1)]
        else:
            events.append(PointerMoved(t_ns, x, y))
    events.sort(key=lambda event: event.t_ns)
    before, after = read_timeline(events, SPEC), dated(events).timeline
    assert after.actions == before.actions
    assert after.times_ns == sorted(after.times_ns)
    assert after.path_times_ns == sorted(after.path_times_ns)
    assert all(now <= then for now, then in zip(after.times_ns, before.times_ns, strict=True))
    assert all(isinstance(action, Click | Key) for action in after.actions)
    for moment in slide_windows([LabeledClip(Clip(0, 0, 6000 * MS))], before, TICKS, SPEC)[0]:
        assert isinstance(moment.target, ActionChunk)
        assert moment.target.duration_ms <= SPEC.horizon_ms
