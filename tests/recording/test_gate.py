"""The gate: whatever devices tell, only what belongs to the window gets through, and nothing is left pressed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm_agent.actions.events import ButtonChanged, KeyChanged, PointerMoved, WheelTurned
from vlm_agent.actions.placement import Placement, Rect
from vlm_agent.recording.gate import Gate
from vlm_agent.recording.stream import (
    ButtonHeard,
    DeviceItem,
    FocusChanged,
    KeyHeard,
    WindowClosed,
    WindowMoved,
    WindowShown,
)
from vlm_agent.sessions.types import RawMotion

SECOND = 1_000_000_000
RECT = Rect(100, 50, 40, 30)
INSIDE, OUTSIDE = (110, 60), (10, 10)


def make_gate(**values: Any) -> Gate:
    return Gate(Placement.fit(RECT, 40, 30), **{"focus": "inside", "is_ours": lambda x, y: True, **values})


points = st.sampled_from([INSIDE, OUTSIDE, (100, 50), (139, 79), (140, 79), (99, 50)])
items = st.one_of(
    st.builds(lambda key, pressed: KeyChanged(0, key, pressed), st.sampled_from("ab"), st.booleans()),
    st.builds(
        lambda p, b, pressed: ButtonChanged(0, *p, b, pressed), points, st.sampled_from(["left", "x1"]), st.booleans()
    ),
    st.builds(lambda p: PointerMoved(0, *p), points),
    st.builds(lambda p: WheelTurned(0, *p, 0, 1), points),
    st.builds(lambda dx: RawMotion(0, dx, 0), st.integers(-9, 9)),
    st.builds(lambda focus: FocusChanged(0, focus), st.sampled_from(["inside", "outside", "pointer"])),
    st.builds(lambda shown: WindowShown(0, shown), st.booleans()),
    st.builds(lambda x: WindowMoved(0, Rect(x, 50, 40, 30)), st.sampled_from([100, 0, 500])),
)


def dated(stream: list[DeviceItem]) -> list[DeviceItem]:
    return [type(item)(**{**_fields(item), "t_ns": 1 + step}) for step, item in enumerate(stream)]


def _fields(item: DeviceItem) -> dict[str, Any]:
    return {name: getattr(item, name) for name in item.__dataclass_fields__}


def name_of(event: Any) -> str:
    return event.key if isinstance(event, KeyChanged) else event.button


class World:
    """What is the case, told another way: what may be recorded at each moment, and what is down in the recording."""

    def __init__(self) -> None:
        self.focus, self.is_visible, self.screen, self.pointer = "inside", True, RECT, (0, 0)
        self.down: set[str] = set()

    @property
    def is_inside(self) -> bool:
        return self.is_visible and self.screen.contains(*self.pointer)

    @property
    def has_keys(self) -> bool:
        return self.is_visible and (self.focus == "inside" or (self.focus == "pointer" and self.is_inside))

    def follow(self, item: DeviceItem) -> None:
        if isinstance(item, FocusChanged):
            self.focus = item.focus
        elif isinstance(item, WindowShown):
            self.is_visible = item.is_visible
        elif isinstance(item, WindowMoved):
            self.screen = item.rect
        elif isinstance(item, PointerMoved | ButtonChanged | WheelTurned):
            self.pointer = item.x, item.y

    def wants(self, item: DeviceItem) -> bool:
        """Whether an item is recorded: neither more nor less."""
        if isinstance(item, KeyChanged | ButtonChanged) and not item.pressed:
            return name_of(item) in self.down
        if isinstance(item, KeyChanged):
            return self.has_keys and item.key not in self.down
        if isinstance(item, ButtonChanged):
            return self.is_inside and item.button not in self.down
        if isinstance(item, PointerMoved):
            return self.is_inside or (self.is_visible and bool(self.down & {"left", "x1"}))
        if isinstance(item, WheelTurned):
            return self.is_inside
        return isinstance(item, RawMotion) and self.has_keys

    def check(self, event: Any) -> None:
        if isinstance(event, KeyChanged | ButtonChanged):
            name = name_of(event)
            assert event.pressed != (name in self.down)
            assert not event.pressed or (self.has_keys if isinstance(event, KeyChanged) else self.is_inside)
            (self.down.add if event.pressed else self.down.discard)(name)
        elif isinstance(event, RawMotion):
            assert self.has_keys
        elif isinstance(event, WheelTurned):
            assert self.is_inside
        if isinstance(event, ButtonChanged | PointerMoved | WheelTurned):
            assert (event.x + self.screen.x, event.y + self.screen.y) == self.pointer


@given(st.lists(items, max_size=60))
def test_what_belongs_to_the_window_and_nothing_else_and_nothing_left_pressed(stream: list[DeviceItem]) -> None:
    gate = make_gate()
    world = World()
    for item in dated(stream):
        world.follow(item)
        is_wanted = world.wants(item)
        kept = gate.feed(item)
        assert len(kept) == is_wanted
        for event in kept:
            assert event.t_ns == item.t_ns
            world.check(event)
        if isinstance(item, KeyChanged | ButtonChanged) and not item.pressed:
            assert name_of(item) not in world.down
    released = gate.shut(10**6)
    assert {name_of(event) for event in released} == world.down
    assert not any(event.pressed for event in released)
    assert gate.shut(10**6) == []


@pytest.mark.parametrize(
    ("focus", "pointer", "is_kept"),
    [
        ("inside", INSIDE, True),
        ("inside", OUTSIDE, True),
        ("pointer", INSIDE, True),
        ("pointer", OUTSIDE, False),
        ("pointer", (140, 60), False),
        ("outside", INSIDE, False),
        ("outside", OUTSIDE, False),
    ],
)
def test_keys_go_where_the_focus_is(focus: Any, pointer: tuple[int, int], is_kept: bool) -> None:
    key, motion = KeyChanged(3, "a", pressed=True), RawMotion(4, 5, 6)
    for teller in (PointerMoved(2, *pointer), WheelTurned(2, *pointer, 0, 1), ButtonChanged(2, *pointer, "x1", False)):
        gate = make_gate(focus=focus)
        gate.feed(teller)
        assert gate.feed(key) == ([key] if is_kept else [])
        assert gate.feed(motion) == ([motion] if is_kept else [])


def test_under_pointer_focus_a_window_above_gets_the_keys() -> None:
    gate = make_gate(focus="pointer", is_ours=lambda x, y: x < 120)
    gate.feed(PointerMoved(1, 130, 60))
    assert gate.feed(KeyChanged(2, "a", pressed=True)) == []
    gate.feed(PointerMoved(3, 110, 60))
    assert gate.feed(KeyChanged(4, "a", pressed=True)) != []


def test_a_release_is_kept_wherever_it_comes_and_a_shut_gate_keeps_nothing() -> None:
    gate = make_gate()
    press = KeyChanged(1, "a", pressed=True)
    assert gate.feed(press) == [press]
    gate.feed(FocusChanged(2, "outside"))
    assert gate.feed(KeyChanged(3, "a", pressed=False)) == [KeyChanged(3, "a", pressed=False)]
    gate.feed(FocusChanged(4, "inside"))
    gate.feed(press)
    gate.feed(ButtonChanged(5, 110, 60, "left", pressed=True))
    gate.feed(PointerMoved(6, 112, 65))
    assert gate.shut(9) == [
        KeyChanged(9, "a", pressed=False),
        ButtonChanged(9, 12, 15, "left", pressed=False),
    ]
    for item in (press, RawMotion(10, 1, 1), PointerMoved(10, *INSIDE), WheelTurned(10, *INSIDE, 0, 1)):
        assert gate.feed(item) == []
    gate.open()
    assert gate.feed(press) == [press]


def test_moves_are_asked_about_ten_times_a_second() -> None:
    asked: list[int] = []

    def is_ours(x: int, y: int) -> bool:
        asked.append(x)
        return True

    gate = make_gate(focus="outside", is_ours=is_ours)
    for t_ms in (0, 50, 99, 100, 199, 200):
        assert gate.feed(PointerMoved(t_ms * 1_000_000, 100 + t_ms // 10, 60)) != []
    assert asked == [100, 110, 120]
    # With the keyboard in the window nobody is asked, and a drag is followed wherever it goes.
    gate.feed(FocusChanged(201, "inside"))
    assert gate.feed(PointerMoved(900_000_000, 110, 60)) != []
    assert gate.feed(PointerMoved(900_000_001, *OUTSIDE)) == []
    gate.feed(ButtonChanged(900_000_002, 110, 60, "left", pressed=True))
    assert gate.feed(PointerMoved(900_000_003, *OUTSIDE)) != []
    assert asked == [100, 110, 120, 110]


def test_only_releases_of_the_last_ten_seconds_are_given_back() -> None:
    gate = make_gate()
    for key, press_s, release_s in (("a", 1, 4), ("b", 1, 5), ("c", 1, 15)):
        gate.feed(KeyChanged(press_s * SECOND, key, pressed=True))
        gate.feed(KeyChanged(release_s * SECOND, key, pressed=False))
    assert gate.discard(2 * SECOND, 16 * SECOND) == [
        KeyChanged(16 * SECOND, "b", pressed=False),
        KeyChanged(16 * SECOND, "c", pressed=False),
    ]


def test_a_discarded_span_is_half_open() -> None:
    gate = make_gate()
    for key, press_s, release_s in (("a", 1, 2), ("b", 1, 5), ("c", 2, 3)):
        gate.feed(KeyChanged(press_s * SECOND, key, pressed=True))
        gate.feed(KeyChanged(release_s * SECOND, key, pressed=False))
    gate.feed(KeyChanged(2 * SECOND, "d", pressed=True))
    # A release at its first moment is in it, one at its end is not; a press at its first moment is forgotten.
    assert gate.discard(2 * SECOND, 5 * SECOND) == [KeyChanged(5 * SECOND, "a", pressed=False)]
    assert gate.feed(KeyChanged(6 * SECOND, "d", pressed=False)) == []


def test_what_becomes_of_the_window_is_known() -> None:
    gate = make_gate()
    gate.feed(WindowShown(1, False))
    assert (gate.is_visible, gate.is_closed) == (False, False)
    assert gate.feed(PointerMoved(2, *INSIDE)) == []
    gate.feed(WindowShown(3, True))
    # A window that grew is shown smaller in the same frame.
    gate.feed(WindowMoved(4, Rect(0, 0, 80, 60)))
    assert gate.feed(PointerMoved(5, 40, 20)) == [PointerMoved(5, 20, 10)]
    gate.feed(WindowClosed(6))
    assert gate.is_closed


def test_a_window_above_keeps_its_clicks() -> None:
    gate = make_gate(is_ours=lambda x, y: x < 120, focus="outside")
    assert gate.feed(ButtonChanged(1, 130, 60, "left", pressed=True)) == []
    assert gate.feed(WheelTurned(2, 130, 60, 0, 1)) == []
    assert gate.feed(PointerMoved(3, 130, 60)) == []
    # Moves are asked about ten times a second, presses each time.
    assert gate.feed(PointerMoved(SECOND, 110, 60)) == [PointerMoved(SECOND, 10, 10)]
    assert gate.feed(ButtonChanged(SECOND, 110, 60, "left", pressed=True)) != []
    assert gate.feed(ButtonChanged(SECOND, 130, 60, "left", pressed=False)) != []


def test_a_part_of_the_screen_takes_every_key_but_only_its_own_clicks() -> None:
    gate = make_gate(has_window=False, focus="outside", is_ours=lambda x, y: False)
    assert gate.feed(KeyChanged(1, "a", pressed=True)) != []
    assert gate.feed(ButtonChanged(2, *INSIDE, "left", pressed=True)) != []
    assert gate.feed(ButtonChanged(3, *OUTSIDE, "right", pressed=True)) == []


def test_discarding_gives_back_the_releases_it_swallowed() -> None:
    gate = make_gate()
    for event in (
        KeyChanged(1 * SECOND, "w", pressed=True),
        ButtonChanged(2 * SECOND, *INSIDE, "left", pressed=True),
        KeyChanged(6 * SECOND, "w", pressed=False),
        KeyChanged(7 * SECOND, "e", pressed=True),
        KeyChanged(8 * SECOND, "e", pressed=False),
        KeyChanged(9 * SECOND, "q", pressed=True),
    ):
        assert gate.feed(event)
    assert gate.discard(5 * SECOND, 10 * SECOND) == [KeyChanged(10 * SECOND, "w", pressed=False)]
    # Pressed in the span: its release belongs to nothing any more. Pressed before it and still down: it does.
    assert gate.feed(KeyChanged(11 * SECOND, "q", pressed=False)) == []
    assert gate.feed(ButtonChanged(12 * SECOND, *OUTSIDE, "left", pressed=False)) != []
    assert gate.discard(5 * SECOND, 12 * SECOND) == []


NAMES = {50: "shift", 62: "shift", 37: "ctrl", 105: "ctrl", 38: "a", 24: "q"}
FRENCH = {**NAMES, 38: "q", 24: "a"}


@given(st.lists(st.tuples(st.sampled_from(sorted(NAMES)), st.booleans(), st.booleans()), max_size=40))
def test_a_name_is_down_as_long_as_any_key_is_that_was_pressed_under_it(
    stream: list[tuple[int, bool, bool]],
) -> None:
    gate = make_gate()
    held: dict[int, str] = {}
    down: set[str] = set()
    for t_ns, (code, pressed, is_french) in enumerate(stream, 1):
        name = (FRENCH if is_french else NAMES)[code]
        if pressed:
            held.setdefault(code, name)
        else:
            held.pop(code, None)
        for event in gate.feed(KeyHeard(t_ns, name, pressed, code)):
            assert type(event) is KeyChanged
            assert event.pressed != (event.key in down)
            (down.add if event.pressed else down.discard)(event.key)
        assert down == set(held.values())
    assert {name_of(event) for event in gate.shut(10**6)} == down


@given(st.lists(st.tuples(st.sampled_from([50, 62]), st.booleans()), max_size=12), st.integers(0, 12))
def test_what_is_taken_out_leaves_both_shifts_right(stream: list[tuple[int, bool]], start: int) -> None:
    gate = make_gate()
    kept: list[Any] = []
    stop = len(stream) + 1
    for t_ns, (code, pressed) in enumerate(stream, 1):
        kept += gate.feed(KeyHeard(t_ns, "shift", pressed, code))
    kept = [event for event in kept if event.t_ns < start] + gate.discard(start, stop)
    for code in (50, 62):
        kept += gate.feed(KeyHeard(stop + 1, "shift", False, code))
    kept += gate.feed(KeyHeard(stop + 2, "shift", True, 50)) + gate.shut(stop + 3)
    assert [event.pressed for event in kept] == [step % 2 == 0 for step in range(len(kept))]
    assert len(kept) % 2 == 0


def test_buttons_without_a_name_are_told_apart() -> None:
    gate = make_gate()
    heard = [
        ButtonHeard(1, *INSIDE, "unknown", pressed, code) for code, pressed in ((10, True), (11, True), (10, False))
    ]
    assert [len(gate.feed(item)) for item in heard] == [1, 0, 0]
    assert len(gate.feed(ButtonHeard(1, *INSIDE, "unknown", False, 11))) == 1
