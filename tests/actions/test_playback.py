"""Chunks as device events: on time, on the point, and nothing left pressed by accident."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import specs_with_chunks
from vlm_agent.actions import (
    ActionChunk,
    ButtonChanged,
    Click,
    InvalidActionError,
    Key,
    KeyChanged,
    Move,
    PointerMoved,
    Reason,
    Scroll,
    WheelTurned,
    expand,
)

MS = 1_000_000
START_NS = 7_000 * MS
absolute_chunks = specs_with_chunks(pointers=("absolute",))


def _expand(chunk: ActionChunk, spec, fraction: float = 0.5, **options):
    pointer = (int(fraction * (spec.extent_width - 1)), int(fraction * (spec.extent_height - 1)))
    return expand(chunk, start_t_ns=START_NS, pointer=pointer, horizon_ms=spec.horizon_ms, **options)


def _timed(chunk: ActionChunk):
    t_ns = START_NS
    for action in chunk.actions:
        t_ns += action.dt_ms * MS
        yield t_ns, action


@given(case=absolute_chunks, fraction=st.floats(0, 1), step_ms=st.integers(1, 50))
def test_events_are_in_order_and_the_pointer_stays_in_the_frame(case, fraction, step_ms):
    spec, (chunk,) = case
    events = _expand(chunk, spec, fraction, step_ms=step_ms)
    times = [event.t_ns for event in events]
    assert times == sorted(times)
    assert not events or times[0] >= START_NS
    for event in events:
        if not isinstance(event, KeyChanged):
            assert 0 <= event.x < spec.extent_width
            assert 0 <= event.y < spec.extent_height


@given(case=absolute_chunks, fraction=st.floats(0, 1))
def test_every_action_happens_at_its_time_and_point(case, fraction):
    spec, (chunk,) = case
    events = _expand(chunk, spec, fraction)
    for t_ns, action in _timed(chunk):
        if isinstance(action, Move):
            assert PointerMoved(t_ns, action.x, action.y) in events
        elif isinstance(action, Click):
            is_down = action.state != "up"
            assert ButtonChanged(t_ns, action.x, action.y, action.button, pressed=is_down) in events
        elif isinstance(action, Scroll):
            assert WheelTurned(t_ns, action.x, action.y, 0, action.dy) in events
        else:
            assert KeyChanged(t_ns, action.key, pressed=action.state != "up") in events
    num_presses = sum(1 if action.state else 2 for action in chunk.actions if isinstance(action, Click | Key))
    assert sum(isinstance(event, ButtonChanged | KeyChanged) for event in events) == num_presses


@given(case=absolute_chunks, fraction=st.floats(0, 1))
def test_buttons_and_wheel_act_where_the_pointer_is(case, fraction):
    """What a game that follows PointerMoved sees is what the events say of themselves."""
    spec, (chunk,) = case
    at = (int(fraction * (spec.extent_width - 1)), int(fraction * (spec.extent_height - 1)))
    for event in _expand(chunk, spec, fraction):
        if isinstance(event, PointerMoved):
            at = (event.x, event.y)
        elif not isinstance(event, KeyChanged):
            assert (event.x, event.y) == at


@given(case=absolute_chunks, hold_ms=st.integers(0, 200))
def test_full_presses_are_released_before_anything_else_is_done_with_them(case, hold_ms):
    """No press without its release, none twice, and no drag: the pointer rests while a button is held."""
    spec, (chunk,) = case
    full = tuple(
        dataclasses.replace(action, state=None) if isinstance(action, Click | Key) else action
        for action in chunk.actions
    )
    down: set[str] = set()
    for event in _expand(ActionChunk(full), spec, hold_ms=hold_ms):
        if isinstance(event, PointerMoved):
            assert not any(name.startswith("button") for name in down)
        elif isinstance(event, ButtonChanged | KeyChanged):
            name = f"button {event.button}" if isinstance(event, ButtonChanged) else f"key {event.key}"
            assert event.pressed != (name in down)
            down ^= {name}
    assert not down


@given(case=specs_with_chunks(pointers=("relative",)))
def test_a_relative_pointer_moves_by_offsets_and_presses_where_it_is(case):
    spec, (chunk,) = case
    events = expand(chunk, start_t_ns=START_NS, pointer=(50, 60), horizon_ms=spec.horizon_ms, relative=True)
    x, y = 50, 60
    for t_ns, action in _timed(chunk):
        if isinstance(action, Move):
            x, y = x + action.x, y + action.y
            assert PointerMoved(t_ns, x, y) in events
        elif isinstance(action, Click):
            assert ButtonChanged(t_ns, x, y, action.button, pressed=action.state != "up") in events


def test_the_path_speeds_up_and_slows_down():
    """Minimum jerk: half the way at half the time, a tenth of it after a quarter of the time."""
    events = expand(ActionChunk((Move(400, 1000, 0),)), start_t_ns=0, pointer=(0, 0), horizon_ms=600)
    at = {event.t_ns // MS: event.x for event in events}
    assert at[200] == 500
    assert at[100] == 104
    assert at[300] == 896
    assert list(at) == list(range(20, 401, 20))
    assert [event.x for event in events] == sorted(event.x for event in events)


def test_a_click_is_held_and_may_end_after_the_horizon():
    events = expand(ActionChunk((Click(590, 5, 5, "left"),)), start_t_ns=0, pointer=(5, 5), horizon_ms=600)
    assert events == [
        ButtonChanged(590 * MS, 5, 5, "left", pressed=True),
        ButtonChanged(650 * MS, 5, 5, "left", pressed=False),
    ]


def test_a_click_is_let_go_before_the_pointer_moves_on():
    chunk = ActionChunk((Click(0, 5, 5, "left"), Move(40, 100, 5)))
    events = expand(chunk, start_t_ns=0, pointer=(5, 5), horizon_ms=600, step_ms=5)
    release = events.index(ButtonChanged(20 * MS, 5, 5, "left", pressed=False))
    assert min(event.t_ns for event in events if isinstance(event, PointerMoved)) > 20 * MS
    assert release == 1


def test_a_drag_moves_with_the_button_down():
    chunk = ActionChunk((Click(0, 5, 5, "left", "down"), Click(200, 50, 5, "left", "up")))
    events = expand(chunk, start_t_ns=0, pointer=(5, 5), horizon_ms=600)
    assert events[0] == ButtonChanged(0, 5, 5, "left", pressed=True)
    assert events[-1] == ButtonChanged(200 * MS, 50, 5, "left", pressed=False)
    assert len(events) > 8


def test_a_chord_overlaps():
    chunk = ActionChunk((Key(0, "ctrl", "down"), Key(0, "c"), Key(100, "ctrl", "up")))
    events = expand(chunk, start_t_ns=0, pointer=(0, 0), horizon_ms=600)
    assert [(event.t_ns // MS, event.key, event.pressed) for event in events] == [
        (0, "ctrl", True),
        (0, "c", True),
        (60, "c", False),
        (100, "ctrl", False),
    ]


def test_a_chunk_longer_than_the_horizon_is_refused():
    with pytest.raises(InvalidActionError) as caught:
        expand(ActionChunk((Key(610, "a"),)), start_t_ns=0, pointer=(0, 0), horizon_ms=600)
    assert caught.value.reason is Reason.OVER_HORIZON
