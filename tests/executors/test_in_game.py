"""One horizon after another in an environment: its clock, where the pointer is, what is counted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vlm_agent.actions.events import KeyChanged, PointerMoved
from vlm_agent.actions.spec import ActionSpec
from vlm_agent.actions.types import ActionChunk, Click, Key, Move
from vlm_agent.executors.in_game import InGameExecutor

MS = 1_000_000
FRAME = np.zeros((3, 4, 3), np.uint8)


class ScriptedEnv:
    """Answers each step with what the test prepared."""

    def __init__(self, spec: ActionSpec, *answers: tuple[float, bool, bool, dict[str, Any]], begin: Any = None) -> None:
        self.spec_actions = spec
        self.asked: list[Any] = []
        self._answers = list(answers)
        self._begin = begin or {}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self.asked.append((seed, options))
        return FRAME, self._begin

    def step(self, action: ActionChunk) -> Any:
        self.asked.append(action)
        reward, terminated, truncated, info = self._answers.pop(0)
        return FRAME, reward, terminated, truncated, info

    def close(self) -> None:
        """Hold nothing."""


def make(*answers: Any, pointer: str = "absolute", begin: Any = None) -> tuple[InGameExecutor, ScriptedEnv]:
    env = ScriptedEnv(ActionSpec(100, 80, keys=("a",), pointer=pointer, horizon_ms=600), *answers, begin=begin)  # type: ignore[arg-type]
    return InGameExecutor(env), env


PLAIN = (0.0, False, False, {})


def test_the_scene_and_the_goal_are_asked_for_and_what_the_game_tells_is_passed_on() -> None:
    told = {"t_ns": 7, "score": 3, "is_success": 1, "num_presses": 4, "num_wasted_presses": 1, "disturbed_t_ns": 5}
    executor, env = make(begin={**told, "game_state": {"tick": 1}})
    begun = executor.begin(9, "walk")
    assert env.asked == [(9, {"goal": "walk"})]
    assert (begun.t_ns, begun.score, begun.is_success, begun.is_over, begun.events) == (7, 3.0, True, False, ())
    assert (begun.num_presses, begun.num_wasted_presses, begun.disturbed_t_ns) == (4, 1, 5)
    assert begun.game_state == {"tick": 1}


def test_without_a_clock_of_its_own_a_step_is_a_horizon_and_rewards_add_up() -> None:
    executor, _ = make((1.5, False, False, {}), (2.0, False, True, {}), (0.0, True, False, {}))
    assert executor.begin(0, "").t_ns == 0
    steps = [executor.execute(ActionChunk()) for _ in range(3)]
    assert [step.t_ns for step in steps] == [600 * MS, 1200 * MS, 1800 * MS]
    assert [step.score for step in steps] == [1.5, 3.5, 3.5]
    assert [step.is_over for step in steps] == [False, True, True]
    assert not any(step.is_success for step in steps)
    # Another episode begins anew.
    assert (executor.begin(1, "").t_ns, executor.begin(1, "").score) == (0, 0.0)


def test_paths_begin_where_the_pointer_is_and_count_on_the_games_clock() -> None:
    mouse = {"game_state": {"mouse": {"canvasX": 10, "canvasY": 70}}}
    executor, _ = make((0.0, False, False, {"t_ns": 5_000 * MS}), PLAIN, begin=mouse)
    executor.begin(0, "")
    first = executor.execute(ActionChunk((Move(100, 50, 20), Key(50, "a"))))
    moves = [event for event in first.events if isinstance(event, PointerMoved)]
    assert all(10 <= move.x <= 50 and 20 <= move.y <= 70 for move in moves)
    assert (moves[0].x < 20, moves[-1]) == (True, PointerMoved(100 * MS, 50, 20))
    assert [event.t_ns for event in first.events if isinstance(event, KeyChanged)] == [150 * MS, 210 * MS]
    # The next horizon begins at the time that the game told, with the pointer where it was brought.
    second = executor.execute(ActionChunk((Click(100, 50, 20),)))
    assert {type(event).__name__ for event in second.events} == {"ButtonChanged"}
    assert second.events[0].t_ns == 5_100 * MS
    assert second.t_ns == 5_600 * MS


def test_events_that_the_environment_tells_stand_in_place_of_the_chunks() -> None:
    played = [KeyChanged(3, "a", True)]
    executor, _ = make((0.0, False, False, {"events": played}))
    executor.begin(0, "")
    assert executor.execute(ActionChunk((Key(0, "a"),))).events == tuple(played)


def test_a_relative_pointer_moves_by_offsets() -> None:
    executor, _ = make(PLAIN, PLAIN, pointer="relative")
    executor.begin(0, "")
    executor.execute(ActionChunk((Move(20, 30, 0),)))
    moved = executor.execute(ActionChunk((Move(20, -10, 5),))).events
    assert moved[-1] == PointerMoved(620 * MS, 20, 5)


@pytest.mark.parametrize("state", [None, {}, {"mouse": None}, {"mouse": [1, 2]}, {"mouse": {}}])
def test_where_nothing_tells_of_the_pointer_it_is_at_the_corner(state: Any) -> None:
    executor, _ = make(PLAIN, begin={"game_state": state})
    executor.begin(0, "")
    [*_, last] = executor.execute(ActionChunk((Move(40, 0, 0),))).events
    assert last == PointerMoved(40 * MS, 0, 0)
