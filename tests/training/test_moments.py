"""Which moments are learnt from, and how often."""

from collections import Counter
from dataclasses import replace

import pytest

from tests.training.synthetic import write_dataset
from vlm_agent.actions.types import ActionChunk, Key, Move
from vlm_agent.chat import make_recipe
from vlm_agent.dataset.store import open_dataset
from vlm_agent.training.config import TrainConfig
from vlm_agent.training.moments import (
    MOST_REPEATS,
    balance_steps,
    choose_windows,
    find_steps,
    hide_recent,
    is_idle,
    moment_of,
    thin_idle,
)

PRESS = ActionChunk((Key(10, "space"),))


def test_idle_moments_are_thinned_as_asked_and_pairs_stay_together(tmp_path):
    dataset = open_dataset(write_dataset(tmp_path / "dataset", num_ticks=4))
    one = next(iter(dataset.windows("train")))
    nothing, drift = ActionChunk(), ActionChunk((Move(100, 5, 5),))
    idle = [
        replace(one, t_ns=t, goal_level=level, target=drift if t % 2 else nothing)
        for t in range(400)
        for level in ("long", "short")
    ]
    busy = [replace(one, t_ns=1000 + t, target=ActionChunk((Key(10, "space"),))) for t in range(20)]
    kept = thin_idle([*idle, *busy], 0.25, seed=3)
    assert kept[-len(busy) :] == busy
    moments = [window.t_ns for window in kept[: -len(busy)]]
    assert 0.18 < len(moments) / len(idle) < 0.32
    assert all(moments.count(t) == 2 for t in set(moments))
    assert thin_idle(idle, 1.0, seed=3) == idle
    assert thin_idle(idle, 0.0, seed=3) == []


@pytest.fixture
def play(tmp_path):
    """40 moments of waiting, 8 of walking, 2 of opening; each asked with the long goal and with its step."""
    dataset = open_dataset(write_dataset(tmp_path / "dataset", num_ticks=4))
    one = next(iter(dataset.windows("train")))
    steps = ["wait"] * 40 + ["walk"] * 8 + ["open"] * 2
    windows = [
        replace(one, t_ns=t, goal=goal, goal_level=level, target=PRESS if step == "open" else ActionChunk())
        for t, step in enumerate(steps)
        for level, goal in (("long", "win"), ("short", step))
    ]
    recipe = make_recipe(dataset.spec, image_width_px=64, image_height_px=64)
    return windows, replace(recipe, long_goals=("win",), steps=("open", "wait", "walk"))


@pytest.mark.parametrize(
    ("balance", "counts"),
    [
        (0.0, {"wait": 24, "walk": 5, "open": 1}),
        (0.5, {"wait": 18, "walk": 8, "open": 4}),
        (1.0, {"wait": 10, "walk": 10, "open": MOST_REPEATS * 2}),
    ],
)
def test_rare_steps_catch_up_as_far_as_asked(play, balance, counts):
    windows, recipe = play
    steps = find_steps(windows, recipe)
    asked = [window for window in windows if window.goal == "win"]
    drawn = balance_steps(asked, steps, balance, 30, seed=1)
    assert Counter(steps[moment_of(window)] for window in drawn) == counts
    seen = Counter(moment_of(window) for window in drawn)
    assert all(times <= MOST_REPEATS for times in seen.values())
    # Nobody is shown twice while another of the same step waits for its turn.
    for step in counts:
        times = [seen[moment] for moment, name in steps.items() if name == step]
        assert max(times) - min(times) <= 1
    assert balance_steps(asked, steps, balance, 30, seed=1) == drawn


def test_moments_of_a_press_are_drawn_apart_from_those_without(play):
    windows, _ = play
    walking = [replace(window, goal="win") for window in windows if window.goal == "wait"]
    setting_out = [replace(window, target=PRESS) for window in walking[:5]]
    steps = {moment_of(window): "walk" for window in walking}
    drawn = balance_steps([*setting_out, *walking[5:]], steps, 1.0, 20, seed=1)
    assert Counter(is_idle(window) for window in drawn) == {True: 10, False: 10}


def test_a_moment_drawn_gives_its_step_and_its_actions(play):
    windows, recipe = play
    steps = find_steps(windows, recipe)
    stepless = replace(windows[0], t_ns=99)
    chosen = choose_windows([*windows, stepless], steps, recipe, TrainConfig(keep_idle=0.5, balance_steps=1.0))
    asked_at = Counter(moment_of(window) for window in chosen if window.goal_level == "long")
    acting_at = Counter(moment_of(window) for window in chosen if window.goal_level == "short")
    assert acting_at == asked_at
    more = choose_windows(windows, steps, recipe, TrainConfig(keep_idle=0.5, balance_steps=1.0, step_draws=2.0))
    assert [window for window in more if window.goal_level == "short"] == [
        window for window in chosen if window.goal_level == "short"
    ]
    assert sum(window.goal_level == "long" for window in more) > 1.5 * sum(asked_at.values())
    asked = Counter(steps[moment_of(window)] for window in chosen if window.goal_level == "long")
    assert asked["open"] > 2 * 2
    assert asked["walk"] >= 7
    assert asked["wait"] < 12
    assert stepless not in chosen


def test_without_steps_both_goals_are_thinned_alike(play):
    windows, recipe = play
    plain = replace(recipe, long_goals=(), steps=())
    assert choose_windows(windows, {}, plain, TrainConfig(keep_idle=0.5)) == thin_idle(windows, 0.5, 0)


def test_recent_actions_are_hidden_as_asked_and_alike_for_both_goals(tmp_path):
    dataset = open_dataset(write_dataset(tmp_path / "dataset", num_ticks=4))
    one = replace(next(iter(dataset.windows("train"))), recent=((100, Key(0, "space")),))
    windows = [replace(one, t_ns=t, goal_level=level) for t in range(400) for level in ("long", "short")]
    shown = hide_recent(windows, 0.25, seed=3)
    hidden = [window.t_ns for window in shown if not window.recent]
    assert 0.18 < len(hidden) / len(windows) < 0.32
    assert all(hidden.count(t) == 2 for t in set(hidden))
    assert [replace(window, recent=one.recent) for window in shown] == windows
    assert hide_recent(windows, 0.0, seed=3) == windows
