"""Which state is the latest, how old it is, and when it is none any more."""

from __future__ import annotations

import threading
import time

import pytest

from vlm_agent.rollouts import live_states
from vlm_agent.rollouts.live_states import LiveState

MS = 1_000_000


class Source:
    """Tells one state each time it is asked, if it has one; then nothing new."""

    def __init__(self, clock) -> None:
        self.clock, self.waiting, self.lock = clock, [], threading.Lock()

    def poll(self):
        with self.lock:
            told, self.waiting = self.waiting, []
        return told

    def tell(self, state, late_ms: int = 0) -> None:
        with self.lock:
            self.waiting.append(live_states.Exported(state, self.clock.now_ns() - late_ms * MS, state))

    def close(self) -> None:
        pass


@pytest.fixture
def live(monkeypatch):
    monkeypatch.setattr(live_states, "open_source", lambda _, clock: Source(clock))
    state = LiveState("anywhere")
    yield state
    state.close()


def wait_for(condition) -> None:
    until = time.monotonic() + 20
    while not condition() and time.monotonic() < until:
        time.sleep(0.01)
    assert condition()


def test_before_the_first_answer_there_is_no_state(live):
    assert (live(), live.age_ns) == (None, None)


def test_the_latest_state_grows_old_from_when_it_came(live):
    live._source.tell({"tick": 1}, late_ms=5_000)
    live._source.tell({"tick": 2}, late_ms=3_000)
    wait_for(lambda: live() == {"tick": 2})
    assert 3_000 * MS <= live.age_ns < 30_000 * MS


def test_a_state_is_dated_by_its_own_stamp(live):
    """Stamps a tick apart, the last of which was held up for 300 ms: it is of when it was stamped."""
    first_ns = live._clock.now_ns() - 60_000 * MS
    for number in range(51):
        arrived_ns = first_ns + (600 * number + 300 * (number == 50)) * MS
        state = {"timestamp": 600 * number}
        live._take(live_states.Exported(state, arrived_ns, state))
    assert live._latest[1] == first_ns + 30_000 * MS


def test_a_state_without_a_stamp_is_of_when_it_came(live):
    live._take(live_states.Exported({"tick": 1}, 77, {"tick": 1}))
    assert live._latest == ({"tick": 1}, 77)


def test_an_exporter_that_stopped_answering_tells_nothing(live, monkeypatch):
    live._source.tell({"tick": 1})
    wait_for(lambda: live() == {"tick": 1})
    answered_s = live._answered_s
    live.close()
    for seconds, expected in ((4.9, {"tick": 1}), (5.1, None)):
        monkeypatch.setattr(live_states.time, "monotonic", lambda seconds=seconds: live._answered_s + seconds)
        assert live() == expected
    assert live._answered_s >= answered_s


def test_news_is_news_once(live):
    live._source.tell({"tick": 1})
    assert live.wait_for_news(20.0)
    assert not live.wait_for_news(0.0)
    live._source.tell({"tick": 2})
    assert live.wait_for_news(20.0)
