"""Whose input it is, on what was sent and heard alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm_agent.actions.placement import Rect
from vlm_agent.actions.playback import NS_PER_MS
from vlm_agent.errors import ConfigError
from vlm_agent.executors.kill_switch import KillSwitch
from vlm_agent.executors.watching import PersonWatch, SentLog, Signal, read_hotkey

W = Signal("key", 25, True, name="w")
W_UP = Signal("key", 25, name="w")


def move(x: int, y: int) -> Signal:
    return Signal("move", point=(x, y))


def make_watch(**changes) -> tuple[PersonWatch, SentLog, KillSwitch]:
    sent, kill = SentLog(), KillSwitch()
    watch = PersonWatch(sent, kill, Rect(0, 0, 100, 80), **changes)
    watch.is_armed = lambda: True
    return watch, sent, kill


def reason(kill: KillSwitch) -> str | None:
    return None if kill.stop is None else str(kill.stop.reason)


def test_what_was_sent_is_ours_once():
    watch, sent, kill = make_watch()
    sent.note(W, 0)
    watch.hear(W, 1)
    assert kill.stop is None
    watch.hear(W, 2)  # the server repeats what we hold
    assert kill.stop is None
    sent.note(W_UP, 3)
    watch.hear(W_UP, 4)
    assert kill.stop is None
    watch.hear(W, 5)
    assert reason(kill) == "person"


@given(st.lists(st.sampled_from([W, W_UP, move(50, 50), move(60, 40), Signal("button", 1, True)]), max_size=30))
def test_own_input_never_counts_however_it_is_mixed(signals):
    watch, sent, kill = make_watch()
    for t_ns, signal in enumerate(signals):
        sent.note(signal, t_ns)
    for t_ns, signal in enumerate(signals):
        watch.hear(signal, t_ns)
    assert kill.stop is None


@given(st.integers(0, 9), st.sampled_from([Signal("key", 30, True, name="x"), move(20, 20), Signal("button", 3, True)]))
def test_a_persons_input_between_ours_always_counts(place, theirs):
    watch, sent, kill = make_watch()
    ours = [move(40 + step, 40) for step in range(10)]
    for signal in ours:
        sent.note(signal, 0)
    for index, signal in enumerate(ours):
        if index == place:
            watch.hear(theirs, 1)
        watch.hear(signal, 1)
    assert reason(kill) == "person"


def test_a_note_that_the_server_swallowed_hides_nobody_for_long():
    watch, sent, kill = make_watch()
    sent.note(Signal("key", 30, True), 0)
    watch.hear(Signal("key", 30, True, name="x"), 1001 * NS_PER_MS)
    assert reason(kill) == "person"


def test_a_nudge_is_forgiven_and_a_motion_is_not():
    watch, _, kill = make_watch()
    watch.hear(Signal("move", point=(50, 50), is_own=True), 0)
    for step in range(1, 5):
        watch.hear(move(50 + step, 50), step)
    assert kill.stop is None
    watch.hear(move(55, 50), 6)
    assert reason(kill) == "person"


def test_slow_drift_of_a_desk_is_forgiven():
    watch, _, kill = make_watch()
    watch.hear(Signal("move", point=(50, 50), is_own=True), 0)
    for step in range(1, 20):
        watch.hear(move(50 + step % 2, 50), step * 500 * NS_PER_MS)
    assert kill.stop is None


@pytest.mark.parametrize("point", [(0, 0), (99, 1), (0, 79), (98, 78)])
def test_a_corner_stops_even_where_a_persons_input_does_not(point):
    watch, sent, kill = make_watch(person_stops=False)
    watch.hear(move(50, 1), 0)
    watch.hear(W, 0)
    sent.note(move(*point), 1)
    watch.hear(move(*point), 2)  # the agent's own
    assert kill.stop is None
    watch.hear(move(*point), 3)
    assert reason(kill) == "corner"


@pytest.mark.parametrize(
    ("point", "is_corner"),
    [
        ((1280, -50), True),
        ((1281, -49), True),
        ((1379, 29), True),
        ((1378, 28), True),
        ((1280, 29), True),
        ((1282, -50), False),
        ((1280, -48), False),
        ((1377, 29), False),
        ((1330, -50), False),
        ((1280, 0), False),
    ],
)
def test_corners_are_those_of_the_screen_wherever_it_lies(point, is_corner):
    kill = KillSwitch()
    watch = PersonWatch(SentLog(), kill, Rect(1280, -50, 100, 80), person_stops=False)
    watch.hear(move(1330, 0), 0)
    watch.hear(move(*point), 1)
    assert reason(kill) == ("corner" if is_corner else None)


def test_what_was_forgiven_is_forgotten_after_a_second():
    watch, _, kill = make_watch()
    watch.hear(Signal("move", point=(50, 50), is_own=True), 0)
    watch.hear(move(54, 50), 1)
    watch.hear(move(50, 50), 1002 * NS_PER_MS)
    assert kill.stop is None
    watch.hear(move(51, 50), 1003 * NS_PER_MS)
    assert reason(kill) == "person"


def test_a_note_is_taken_by_its_own_kind_code_and_point():
    for noted, heard in (
        (W, W_UP),
        (W, Signal("key", 26, True, name="w")),
        (W, Signal("button", 25, True)),
        (move(30, 30), move(31, 30)),
    ):
        watch, sent, kill = make_watch(tolerance_px=0)
        watch.hear(Signal("move", point=(29, 30), is_own=True), 0)
        sent.note(noted, 0)
        watch.hear(heard, 1)
        assert reason(kill) == "person", (noted, heard)
    # A motion by an offset ends nobody knows where.
    sent = SentLog()
    sent.note(Signal("move"), 0)
    assert sent.take(move(77, 8), 1)
    assert not sent.take(move(77, 8), 1)


def test_hotkeys_work_unarmed_and_only_by_a_persons_hand():
    watch, sent, kill = make_watch()
    watch.is_armed = lambda: False
    watch.hear(W, 0)
    assert kill.stop is None
    assert watch.last_person_ns == 0
    keys = [Signal("key", code, True, name=name) for code, name in ((37, "ctrl"), (64, "alt"), (24, "q"))]
    for key in keys:
        sent.note(key, 1)
    for key in keys:
        watch.hear(key, 2)
    assert kill.stop is None
    assert watch.keys_down == {"w", "ctrl", "alt", "q"}
    watch.hear(Signal("key", 96, True, name="f12"), 3)
    assert reason(kill) == "hotkey"


def test_a_combination_stops_when_all_of_it_is_down_and_not_before():
    watch, _, kill = make_watch(person_stops=False, hotkeys=("ctrl+alt+q",))
    keys = {name: Signal("key", code, True, name=name) for code, name in ((37, "ctrl"), (64, "alt"), (24, "q"))}
    watch.hear(keys["q"], 0)
    watch.hear(Signal("key", 24, name="q"), 1)
    watch.hear(keys["ctrl"], 2)
    watch.hear(keys["q"], 3)
    assert kill.stop is None
    watch.hear(keys["alt"], 4)
    assert reason(kill) == "hotkey"


def test_a_modifier_is_down_until_both_sides_are_up():
    watch, _, _ = make_watch()
    for code in (37, 105):
        watch.hear(Signal("key", code, True, name="ctrl"), 0)
    watch.hear(Signal("key", 37, name="ctrl"), 0)
    assert watch.keys_down == {"ctrl"}
    watch.hear(Signal("key", 105, name="ctrl"), 0)
    assert watch.keys_down == frozenset()


@pytest.mark.parametrize("text", ["", "f12+", "ctrl+nokey"])
def test_a_hotkey_that_is_none_is_refused(text):
    with pytest.raises(ConfigError, match="--stop-keys"):
        read_hotkey(text)
    assert read_hotkey("LeftCtrl + minus") == {"ctrl", "minus"}


US = {50: "shift", 62: "shift", 37: "ctrl", 105: "ctrl", 64: "alt", 108: "alt", 24: "q", 38: "a"}
FRENCH = {**US, 24: "a", 38: "q"}


@given(st.lists(st.tuples(st.sampled_from(sorted(US)), st.booleans(), st.sampled_from([US, FRENCH])), max_size=40))
def test_a_combination_stops_exactly_when_all_its_keys_are_down_whatever_the_layout(strokes):
    watch, _, kill = make_watch(person_stops=False, hotkeys=("ctrl+alt+q",))
    held: dict[int, str] = {}
    for t_ns, (code, is_down, layout) in enumerate(strokes):
        name = layout[code]
        watch.hear(Signal("key", code, is_down, name=name), t_ns)
        if is_down:
            held[code] = name
        else:
            held.pop(code, None)
        assert watch.keys_down == set(held.values())
        completes = is_down and name in ("ctrl", "alt", "q") and {"ctrl", "alt", "q"} <= set(held.values())
        assert (kill.stop is not None) == completes
        kill.reset()


def test_a_hotkey_is_heard_under_any_name_of_its_key():
    watch, _, kill = make_watch(person_stops=False, hotkeys=("ctrl+q",))
    watch.hear(Signal("key", 37, True, name="ctrl"), 0)
    watch.hear(Signal("key", 24, True, name="semicolon", names=frozenset(("semicolon", "q"))), 1)
    assert reason(kill) == "hotkey"
    assert kill.stop.detail == "q"
