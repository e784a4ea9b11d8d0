from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from vlm_agent.actions.invalid import InvalidActionError
from vlm_agent.actions.types import ActionChunk, Click, Key, Move
from vlm_agent.errors import ConfigError
from vlm_agent.games.ringcraft.env import ACTION_SPEC, RingcraftEnv
from vlm_agent.games.ringcraft.goals import GOALS

WAIT = ActionChunk()


def _follow(env: RingcraftEnv) -> ActionChunk:
    """The chunk of a player who presses where the goal's target says."""
    target = env.game_goal.target(env.core.state)
    if target.kind == "click" and target.rect is not None:
        return ActionChunk((Click(300, *target.rect.centre, target.button),))
    return ActionChunk((Key(100, target.key),)) if target.kind == "key" else WAIT


def test_gymnasium_accepts_it():
    with warnings.catch_warnings():
        # The one warning: an environment that isn't registered has no other render modes to try.
        warnings.filterwarnings("ignore", message=".*alternative render modes.*")
        check_env(RingcraftEnv())


def test_samples_are_allowed_chunks_and_other_things_are_not():
    space = RingcraftEnv().action_space
    space.seed(1)
    samples = [space.sample() for _ in range(300)]
    assert all(space.contains(sample) for sample in samples)
    assert {type(action).__name__ for sample in samples for action in sample.actions} == {
        "Click",
        "Key",
        "Scroll",
        "Move",
    }
    assert any(not sample.actions for sample in samples)
    for wrong in (
        None,
        [],
        ActionChunk((Key(10, "f12"),)),
        ActionChunk((Move(0, 765, 0),)),
        ActionChunk((Move(5, 1, 1),)),
    ):
        assert not space.contains(wrong)
    json.dumps(space.to_jsonable(samples))


def test_same_seed_and_chunks_give_the_same_frames_bit_for_bit():
    def run() -> tuple[list[bytes], list[str]]:
        env = RingcraftEnv()
        env.action_space.seed(3)
        frame, _ = env.reset(seed=17)
        frames, hashes = [frame.tobytes()], []
        for _ in range(25):
            frame, *_ = env.step(env.action_space.sample())
            frames.append(frame.tobytes())
            hashes.append(env.core.hash())
        return frames, hashes

    frames, hashes = run()
    assert (frames, hashes) == run()
    assert len(set(frames)) > 10


def test_a_snapshot_brings_back_the_very_episode():
    env = RingcraftEnv()
    env.reset(seed=4, options={"goal": "open the bank"})
    env.step(_follow(env))
    snapshot = json.loads(json.dumps(env.snapshot()))
    frame = env.render()

    def play_on() -> list[tuple[bytes, float, bool]]:
        taken = []
        for _ in range(8):
            frame, reward, terminated, _, _ = env.step(_follow(env))
            taken.append((frame.tobytes(), reward, terminated))
        return taken

    first = play_on()
    env.reset(seed=99)
    restored = env.restore(snapshot)
    assert np.array_equal(restored, frame)
    assert env.goal == "open the bank"
    assert play_on() == first
    assert any(terminated for _, _, terminated in first)


def test_an_episode_can_begin_from_a_snapshot_of_the_game():
    env = RingcraftEnv()
    env.reset(seed=5)
    for _ in range(5):
        env.step(_follow(env))
    expected = env.core.hash()
    other = RingcraftEnv()
    other.reset(seed=6, options={"scene": env.core.snapshot()})
    assert other.core.hash() == expected


def test_an_episode_counts_from_its_own_beginning():
    env = RingcraftEnv(max_ticks=2)
    env.reset(seed=3)
    state = env.core.state
    state.tick, state.rings_made, state.num_presses, state.num_wasted_presses = 40, 7, 9, 5
    _, info = env.reset(seed=3, options={"scene": env.core.snapshot()})
    counted = ("score", "num_presses", "num_wasted_presses", "is_success")
    assert [info[name] for name in counted] == [0, 0, 0, False]
    _, reward, _, truncated, info = env.step(ActionChunk((Key(0, "left"),)))
    assert (reward, truncated, info["num_presses"], info["num_wasted_presses"]) == (0.0, False, 1, 0)
    env.core.state.rings_made += 2
    _, _, terminated, truncated, info = env.step(WAIT)
    # A ring ends nothing: the long goal is scored until time is over.
    assert (terminated, truncated, info["score"], info["is_success"]) == (False, True, 2, True)
    assert info["t_ns"] == 42 * 600_000_000


def test_a_short_goal_ends_the_episode_with_reward_one():
    env = RingcraftEnv()
    for goal in ("open the bank", "withdraw gold bars", "make sapphire rings", "open the stats tab"):
        _, info = env.reset(seed=8, options={"goal": goal})
        assert env.game_goal.applicable(env.core.state)
        assert not info["is_success"]
        total, terminated = 0.0, False
        for _ in range(30):
            _, reward, terminated, _, info = env.step(_follow(env))
            total += reward
            if terminated:
                break
        assert (terminated, total, info["is_success"]) == (True, 1.0, True), goal


def test_the_long_goal_pays_by_the_ring_and_ends_by_time():
    env = RingcraftEnv(max_ticks=90)
    env.reset(seed=9)
    total, truncated = 0.0, False
    while not truncated:
        _, reward, terminated, truncated, info = env.step(_follow(env))
        total += reward
        assert not terminated
    assert total == info["score"] >= 10
    assert info["game_state"]["sim"]["ringsMade"] == info["score"]
    assert info["t_ns"] == 90 * 600_000_000


def test_a_step_is_one_tick_and_presses_may_end_after_it():
    env = RingcraftEnv()
    _, info = env.reset(seed=10)
    tick = info["game_state"]["sim"]["tick"]
    _, _, _, _, info = env.step(ActionChunk((Key(600, "left"),)))
    assert info["game_state"]["sim"]["tick"] == tick + 1
    assert env.core.state.held_keys == ["left"]
    env.step(WAIT)
    assert env.core.state.held_keys == []


def test_goals_can_be_named_by_any_wording():
    env = RingcraftEnv(goal="Keep crafting sapphire rings")
    assert env.goal == "craft sapphire rings"
    env.reset(seed=1, options={"goal": "shut the bank"})
    assert env.goal == "close the bank"


def test_mistakes_are_named():
    with pytest.raises(ConfigError, match="unknown goal"):
        RingcraftEnv(goal="slay the dragon")
    with pytest.raises(ConfigError, match="render_mode"):
        RingcraftEnv(render_mode="ascii")
    with pytest.raises(ConfigError, match="max_ticks"):
        RingcraftEnv(max_ticks=0)
    env = RingcraftEnv()
    with pytest.raises(ConfigError, match="options"):
        env.reset(seed=0, options={"gaol": "open the bank"})
    env.reset(seed=0)
    before = env.core.hash()
    with pytest.raises(InvalidActionError):
        env.step(ActionChunk((Move(0, 9999, 0),)))
    assert env.core.hash() == before


def test_the_spec_covers_the_frame():
    env = RingcraftEnv()
    frame, _ = env.reset(seed=0)
    assert frame.shape == (ACTION_SPEC.extent_height, ACTION_SPEC.extent_width, 3) == (503, 765, 3)
    assert env.spec_actions.horizon_ms == 600
    assert len(GOALS) > 100
