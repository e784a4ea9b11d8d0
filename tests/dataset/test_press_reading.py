"""Raw events as actions: presses joined, repeats removed, what the spec can't say counted."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlm_agent.actions.events import ButtonChanged, KeyChanged, PointerMoved, WheelTurned
from vlm_agent.actions.spec import ActionSpec
from vlm_agent.actions.types import Click, Key, Scroll
from vlm_agent.actions.validation import check_action
from vlm_agent.dataset.events import read_timeline

MS = 1_000_000
SPEC = ActionSpec(100, 80, keys=("a", "shift", "rightctrl", "left"), buttons=("left", "right"))
NO_HOLDS = ActionSpec(100, 80, keys=("a", "shift", "rightctrl", "left"), buttons=("left", "right"), holds=False)


def key(t, name, pressed):
    return KeyChanged(t * MS, name, pressed)


def button(t, x, y, pressed, name="left"):
    return ButtonChanged(t * MS, x, y, name, pressed)


def wheel(t, dy, x=5):
    return WheelTurned(t * MS, x, 5, 0, dy)


CASES = {
    "a short press in place is one click": (
        [button(10, 5, 6, True), button(90, 7, 6, False)],
        [(10, Click(0, 5, 6))],
        {},
    ),
    "a drag is its two halves": (
        [button(10, 5, 6, True), button(90, 50, 6, False)],
        [(10, Click(0, 5, 6, "left", "down")), (90, Click(0, 50, 6, "left", "up"))],
        {},
    ),
    "a long press is its two halves": (
        [button(10, 5, 6, True, "right"), button(900, 5, 6, False, "right")],
        [(10, Click(0, 5, 6, "right", "down")), (900, Click(0, 5, 6, "right", "up"))],
        {},
    ),
    "a press is full up to its longest time and its farthest way": (
        [button(10, 5, 6, True), button(410, 13, 0, False), key(1000, "a", True), key(1400, "a", False)],
        [(10, Click(0, 5, 6)), (1000, Key(0, "a"))],
        {},
    ),
    "a millisecond or a pixel more is a hold or a drag": (
        [button(10, 5, 6, True), button(20, 14, 6, False), key(1000, "a", True), key(1401, "a", False)],
        [
            (10, Click(0, 5, 6, "left", "down")),
            (20, Click(0, 14, 6, "left", "up")),
            (1000, Key(0, "a", "down")),
            (1401, Key(0, "a", "up")),
        ],
        {},
    ),
    "a modifier alone is pressed like any key": (
        [key(0, "shift", True), key(60, "shift", False)],
        [(0, Key(0, "shift"))],
        {},
    ),
    "a short key press": ([key(10, "a", True), key(80, "a", False)], [(10, Key(0, "a"))], {}),
    "repeats of a held key are removed": (
        [key(0, "left", True), key(500, "left", True), key(530, "left", True), key(900, "left", False)],
        [(0, Key(0, "left", "down")), (900, Key(0, "left", "up"))],
        {"key_repeat": 2},
    ),
    "a chord keeps its modifier down, however short": (
        [key(0, "shift", True), button(50, 5, 5, True), button(90, 5, 5, False), key(150, "shift", False)],
        [(0, Key(0, "shift", "down")), (50, Click(0, 5, 5)), (150, Key(0, "shift", "up"))],
        {},
    ),
    "so does one on the right": (
        [key(0, "rightctrl", True), key(50, "a", True), key(90, "a", False), key(150, "rightctrl", False)],
        [(0, Key(0, "rightctrl", "down")), (50, Key(0, "a")), (150, Key(0, "rightctrl", "up"))],
        {},
    ),
    "keys that overlap while typing are full presses": (
        [key(0, "a", True), key(50, "left", True), key(80, "a", False), key(120, "left", False)],
        [(0, Key(0, "a")), (50, Key(0, "left"))],
        {},
    ),
    "a press without its release is a down": ([key(0, "a", True)], [(0, Key(0, "a", "down"))], {}),
    "a release whose press came before": ([key(0, "a", False)], [], {"release_alone": 1}),
    "a key that the spec does not know": ([key(0, "q", True), key(9, "q", False)], [], {"key_not_in_spec": 1}),
    "a button that the spec does not know": (
        [button(0, 5, 5, True, "x1"), button(9, 5, 5, False, "x1")],
        [],
        {"button_not_in_spec": 1},
    ),
    "a press beyond the frame": (
        [button(0, 100, 5, True), button(9, 100, 5, False)],
        [],
        {"outside_frame": 1, "release_alone": 1},
    ),
    "a drag that ends beyond the frame ends at its edge": (
        [button(0, 90, 5, True), button(500, 130, -3, False)],
        [(0, Click(0, 90, 5, "left", "down")), (500, Click(0, 99, 0, "left", "up"))],
        {},
    ),
    "notches close together are one scroll": (
        [wheel(0, 1), wheel(40, 2), wheel(300, 1)],
        [(0, Scroll(0, 5, 5, 3)), (300, Scroll(0, 5, 5, 1))],
        {},
    ),
    "notches the other way are another": (
        [wheel(0, 1), wheel(40, -1)],
        [(0, Scroll(0, 5, 5, 1)), (40, Scroll(0, 5, 5, -1))],
        {},
    ),
    "notches are gathered up to a distance": (
        [wheel(0, -1), wheel(150, -1), wheel(301, -1)],
        [(0, Scroll(0, 5, 5, -2)), (301, Scroll(0, 5, 5, -1))],
        {},
    ),
    "downwards a scroll never exceeds the spec's either": (
        [wheel(0, -4), wheel(40, -4), wheel(500, -9)],
        [(0, Scroll(0, 5, 5, -4)), (40, Scroll(0, 5, 5, -4)), (500, Scroll(0, 5, 5, -5))],
        {},
    ),
    "a turn beyond the frame": (
        [wheel(0, 1, x=100), wheel(9, 1, x=99)],
        [(9, Scroll(0, 99, 5, 1))],
        {"outside_frame": 1},
    ),
    "a button that is down already": (
        [button(0, 5, 5, True), button(50, 5, 5, True), button(90, 5, 5, False)],
        [(0, Click(0, 5, 5))],
        {"button_repeat": 1},
    ),
    "a scroll never exceeds the spec's": (
        [wheel(0, 4), wheel(40, 4), wheel(500, 9)],
        [(0, Scroll(0, 5, 5, 4)), (40, Scroll(0, 5, 5, 4)), (500, Scroll(0, 5, 5, 5))],
        {},
    ),
    "turning sideways is not in the spec": ([WheelTurned(0, 5, 5, 1, 0)], [], {"scroll_not_in_spec": 1}),
}


@pytest.mark.parametrize("case", CASES)
def test_presses(case):
    events, actions, drops = CASES[case]
    timeline = read_timeline(events, SPEC)
    assert [(t // MS, action) for t, action in zip(timeline.times_ns, timeline.actions, strict=True)] == actions
    assert timeline.drops == drops


def test_without_holds_every_press_is_full_and_counted():
    events = [key(0, "left", True), key(900, "left", False), key(1000, "a", True)]
    timeline = read_timeline(events, NO_HOLDS)
    assert timeline.actions == [Key(0, "left"), Key(0, "a")]
    assert timeline.drops == {"hold_shortened": 1}


def test_the_path_is_clamped_into_the_frame_and_spans_are_half_open():
    timeline = read_timeline([PointerMoved(0, -5, 90), PointerMoved(10, 20, 30), PointerMoved(20, 40, 30)], SPEC)
    assert timeline.path == [(0, 79), (20, 30), (40, 30)]
    assert timeline.path_span(0, 20) == [(0, 0, 79), (10, 20, 30)]
    assert timeline.pointer_at(20) == (20, 30)
    assert timeline.pointer_at(0) is None


any_event = st.one_of(
    st.builds(PointerMoved, st.integers(0, 3000), st.integers(-20, 140), st.integers(-20, 140)),
    st.builds(
        ButtonChanged,
        st.integers(0, 3000),
        st.integers(-20, 140),
        st.integers(-20, 140),
        st.sampled_from(["left", "right", "x1"]),
        st.booleans(),
    ),
    st.builds(
        WheelTurned, st.integers(0, 3000), st.integers(-9, 140), st.integers(-9, 99), st.just(0), st.integers(-9, 9)
    ),
    st.builds(KeyChanged, st.integers(0, 3000), st.sampled_from(["a", "shift", "left", "q"]), st.booleans()),
)


@settings(deadline=None)
@given(events=st.lists(any_event), holds=st.booleans())
def test_whatever_the_events_every_action_is_allowed(events, holds):
    spec = SPEC if holds else NO_HOLDS
    events = sorted(events, key=lambda event: event.t_ns)
    timeline = read_timeline(events, spec)
    for action in timeline.actions:
        check_action(action, spec)
    assert timeline.times_ns == sorted(timeline.times_ns)
