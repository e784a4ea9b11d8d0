"""Sent events as sessions keep them, and waiting for the next tick."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from vlm_agent.actions.events import ButtonChanged, KeyChanged, PointerMoved, WheelTurned
from vlm_agent.rollouts import desktop
from vlm_agent.rollouts.desktop import DesktopEnvironment, read_event

MS = 1_000_000


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"kind": "move", "x": 3, "y": 4}, PointerMoved(1005, 3, 4)),
        ({"kind": "move", "offset": [1, 1]}, None),
        ({"kind": "key", "key": "a", "pressed": True}, KeyChanged(1005, "a", True)),
        (
            {"kind": "button", "x": 3, "y": 4, "button": "left", "pressed": True},
            ButtonChanged(1005, 3, 4, "left", True),
        ),
        ({"kind": "button", "button": "left", "pressed": False}, ButtonChanged(1005, 7, 8, "left", False)),
        ({"kind": "wheel", "x": 3, "y": 4, "dx": 1, "dy": -2}, WheelTurned(1005, 3, 4, 1, -2)),
    ],
)
def test_a_sent_event_is_kept_on_the_sessions_clock_where_the_pointer_is(told, expected):
    assert read_event({"t_ns": 5, **told}, (7, 8), 1000) == expected


def test_waiting_takes_as_long_as_is_left(monkeypatch):
    slept = []
    clock = SimpleNamespace(perf_counter_ns=lambda: 1_000 * MS, sleep=slept.append)
    monkeypatch.setattr(desktop, "time", clock)
    for due_ms in (1_250, 1_000, 400):
        desktop._sleep_until(due_ms * MS)
    assert slept == [0.25]


def find_tick(monkeypatch, age_ms: int | None) -> int:
    """When the tick was, ms before the picture; the picture was taken at 980 of 1000 ms."""
    monkeypatch.setattr(desktop, "time", SimpleNamespace(perf_counter_ns=lambda: 1_000 * MS))
    env = object.__new__(DesktopEnvironment)
    env._spec = SimpleNamespace(horizon_ms=600)
    env._captured_ns = 980 * MS
    env._view = SimpleNamespace(state_age_ns=lambda: None if age_ms is None else age_ms * MS)
    return (980 * MS - env._find_tick()) // MS


@pytest.mark.parametrize(("age_ms", "before_ms"), [(None, 0), (40, 20), (59, 39), (60, 0), (300, 0), (10, 0), (-5, 0)])
def test_a_fresh_state_dates_the_tick_and_an_old_one_does_not(monkeypatch, age_ms, before_ms):
    assert find_tick(monkeypatch, age_ms) == before_ms


class Waiting:
    """A clock that stands still but for sleeping, and what was waited for."""

    def __init__(self) -> None:
        self.now_ns, self.waited = 5_000 * MS, []

    def perf_counter_ns(self) -> int:
        return self.now_ns

    def sleep(self, seconds: float) -> None:
        self.now_ns += round(seconds * 1e9)

    def wait_for_news(self, seconds: float) -> bool:
        self.waited.append((self.now_ns // MS, round(seconds * 1000)))
        return False


def wait_for_tick(monkeypatch, *, with_states: bool) -> tuple[Waiting, DesktopEnvironment]:
    waiting = Waiting()
    monkeypatch.setattr(desktop, "time", waiting)
    env = object.__new__(DesktopEnvironment)
    env._spec = SimpleNamespace(horizon_ms=600)
    env._tick_ns = env._due_ns = 4_800 * MS
    env._view = SimpleNamespace(wait_for_news=waiting.wait_for_news if with_states else None)
    env._wait_for_tick()
    return waiting, env


def test_without_states_the_next_tick_is_a_horizon_after_the_one_before(monkeypatch):
    waiting, env = wait_for_tick(monkeypatch, with_states=False)
    assert waiting.now_ns == 5_400 * MS
    env._wait_for_tick()
    assert waiting.now_ns == 6_000 * MS


def test_a_state_counts_as_the_next_tick_from_a_little_before_it_is_due_to_a_little_after(monkeypatch):
    waiting, _ = wait_for_tick(monkeypatch, with_states=True)
    assert waiting.waited == [(5_340, 0), (5_340, 120)]
