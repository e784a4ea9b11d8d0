"""Which windows are drawn when, and how much each counts: by hand, and as pure functions of seed and step."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import tyro
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.killed_run import CONFIG
from tests.training.synthetic import load_with_lora, make_examples, make_features, make_rows, write_dataset
from tests.training.test_loop import StopAt, _measured, _same_weights
from vlm_agent.actions import ActionChunk, Click, Key, Move, Scroll
from vlm_agent.dataset.store import open_dataset
from vlm_agent.errors import ConfigError
from vlm_agent.models.tiny import write_tiny_checkpoint
from vlm_agent.models.token_trees import NO_PARENT, TokenTree
from vlm_agent.training.command import TrainArgs
from vlm_agent.training.config import RecipeSettings, TrainConfig
from vlm_agent.training.curriculum import draw_epoch, stage_of
from vlm_agent.training.layouts import build_rows
from vlm_agent.training.loop import Material, TrainingLoop
from vlm_agent.training.moments import find_steps, weigh_window
from vlm_agent.training.order import count_steps, plan_epoch
from vlm_agent.training.planning.work import weigh_work
from vlm_agent.training.progress import SilentWatcher
from vlm_agent.training.rows import Row, WindowNote
from vlm_agent.training.windows import choose_recipe, encode_windows

pytestmark = pytest.mark.model

MOVE, CLICK, KEY = Move(10, 1, 1), Click(10, 1, 1, "left"), Key(10, "a")


@pytest.fixture(scope="module")
def windows(tmp_path_factory):
    folder = write_dataset(tmp_path_factory.mktemp("kinds") / "dataset", num_ticks=8, with_validation=False)
    return folder, list(open_dataset(folder).windows("train"))


@pytest.mark.parametrize(
    ("chunk", "weight", "stage"),
    [
        (ActionChunk(), 0.25, 0),
        (ActionChunk(done=True), 1.0, 2),
        (ActionChunk((MOVE,)), 0.5, 0),
        (ActionChunk((MOVE, MOVE, CLICK)), 0.5, 1),
        (ActionChunk((MOVE, CLICK)), 1.0, 1),
        (ActionChunk((KEY,)), 1.0, 2),
        (ActionChunk((MOVE, MOVE, KEY)), 0.5, 2),
        (ActionChunk((CLICK, Scroll(0, 1, 1, 1))), 1.0, 2),
    ],
)
def test_kinds_of_windows_by_hand(windows, chunk, weight, stage):
    window = replace(windows[1][0], target=chunk)
    assert weigh_window(window, {"idle": 0.25, "moves": 0.5}) == weight
    assert weigh_window(window, {}) == 1.0
    assert stage_of(window) == stage


def test_windows_are_weighed_beside_everything_else(windows, tmp_path):
    folder, some = windows
    loaded = load_with_lora(write_tiny_checkpoint(tmp_path / "tiny"), CONFIG)
    recipe = choose_recipe(loaded, open_dataset(folder), RecipeSettings(names_steps=True))
    steps = find_steps(some, recipe)

    def encode(**changes):
        return encode_windows(loaded.encoder, some, recipe, steps, TrainConfig(**changes))

    plain, weighed = encode(), encode(window_weights=("idle=0.25",))
    for window, before, after in zip(some, plain, weighed, strict=True):
        is_weighed = not before.is_step and not window.target.actions
        assert after.weight == (0.25 if is_weighed else 1.0)
    assert {one.weight for one in weighed} == {0.25, 1.0}
    for one, same in zip(encode(window_weights=("idle=0.25",), weigh="windows"), weighed, strict=True):
        assert one.weight == same.weight / one.encoded.num_target_tokens
    # Without a curriculum windows share rows whatever they are; with one those drawn at other times don't.
    assert {one.stage for one in plain} == {0}
    staged = encode(curriculum=("moves=0.3",))
    assert {(one.is_step, one.stage) for one in staged} == {(True, 2), (False, 0), (False, 2)}
    rows = build_rows(staged, loaded.encoder, "shared", TrainConfig(batch_windows=2))
    assert all(len({note.stage for note in row.notes}) == 1 for row in rows)
    assert sorted(note.source for row in rows for note in row.notes) == list(range(len(some)))
    assert [row.split()[0].notes[0] for row in rows] == [row.notes[0] for row in rows]


def _rows(lengths, stages):
    rows = []
    for length, stage in zip(lengths, stages, strict=True):
        nothing = np.zeros(length, np.int32)
        tree, note = TokenTree((0, length), (NO_PARENT,)), WindowNote(stage=stage)
        positions = np.zeros((3, length), np.int32)
        fields = nothing.astype(np.int8)
        weights = nothing.astype(np.float32)
        rows.append(Row(nothing, nothing, weights, positions, nothing.astype(np.int16), (), fields, tree, (note,)))
    return rows


@settings(deadline=None)
@given(
    sizes=st.lists(st.tuples(st.integers(4, 40), st.integers(0, 2)), min_size=1, max_size=40),
    until=st.tuples(st.floats(0.05, 0.6), st.floats(0.0, 0.4)),
    epochs=st.sampled_from((0.5, 1.0, 2.5)),
    batch_tokens=st.sampled_from((None, 60)),
    max_steps=st.sampled_from((None, 5)),
)
def test_a_curriculum_keeps_every_step_and_draws_what_its_stage_allows(sizes, until, epochs, batch_tokens, max_steps):
    rows = _rows(*zip(*sizes, strict=True))
    moves, clicks = until[0], until[0] + until[1]
    config = TrainConfig(
        curriculum=(f"moves={moves}", f"clicks={clicks}"), epochs=epochs, batch_tokens=batch_tokens, accumulation=2,
        max_steps=max_steps,
    )  # fmt: skip
    plain = replace(config, curriculum=None)
    num_steps = count_steps(rows, config)
    assert num_steps == count_steps(rows, plain)
    assert weigh_work(rows, [], "rows", config, at_once=1) == weigh_work(rows, [], "rows", plain, at_once=1)
    lowest = min(row.stage for row in rows)
    at = 0
    for epoch in range(3):
        drawn, plan = draw_epoch(rows, config, epoch), plan_epoch(rows, plain, epoch)
        assert drawn == draw_epoch(rows, config, epoch)
        assert [len(step) for step in drawn] == [len(step) for step in plan]
        for step, same in zip(drawn, plan, strict=True):
            stage = max((at >= moves * num_steps) + (at >= clicks * num_steps), lowest)
            assert all(rows[index].stage <= stage for indices in step for index in indices)
            if stage == 2:
                assert step == same
            at += 1


def test_easy_windows_come_again_and_again_each_as_often():
    rows = _rows([10] * 40, [0] * 4 + [2] * 36)
    config = TrainConfig(curriculum=("moves=1",), epochs=1.0)
    drawn = [index for step in draw_epoch(rows, config, 0) for indices in step for index in indices]
    assert sorted(drawn) == sorted(list(range(4)) * 10)
    assert len({tuple(drawn[start : start + 4]) for start in range(0, 40, 4)}) > 4
    assert drawn != [index for step in draw_epoch(rows, config, 1) for indices in step for index in indices]
    assert draw_epoch(rows, replace(config, curriculum=None), 0) == plan_epoch(rows, config, 0)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with a curriculum over rows of all three stages."""
    model = write_tiny_checkpoint(tmp_path_factory.mktemp("stages") / "tiny")
    config = replace(CONFIG, curriculum=("moves=0.3", "clicks=0.55"))

    def go(out, watcher=None):
        loaded = load_with_lora(model, config)
        examples = [replace(one, stage=index // 2 % 3) for index, one in enumerate(make_examples(loaded, 12))]
        material = Material(make_rows(loaded, examples), [], make_features(loaded))
        seen = []
        material = replace(material, look=lambda row, epoch: (seen.append((epoch, row.stage)), row)[1])
        return TrainingLoop(loaded, material, config, out, watcher or SilentWatcher()).run(), seen

    return go


def test_a_run_with_a_curriculum_that_was_stopped_goes_on_with_the_same_bits(run, tmp_path):
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    whole, seen = run(tmp_path / "whole")
    assert whole.num_steps == 24
    stages = [stage for _, stage in seen]
    # Two passes of one row a step: 24 steps, of which 8 and then 6 are easy.
    assert max(stages[:16]) == 0
    assert set(stages[16:28]) == {0, 1}
    assert set(stages[28:]) == {0, 1, 2}
    for step in (5, 10, 17):
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "parts", StopAt(step))
    again, _ = run(tmp_path / "parts")
    assert _measured(tmp_path / "parts") == _measured(tmp_path / "whole")
    assert _same_weights(again.weights, whole.weights)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"window_weights": ("busy=2",)}, "--train.window-weights: expected idle=2"),
        ({"window_weights": ("idle=0",)}, "--train.window-weights must be above 0 for idle"),
        ({"curriculum": ("keys=0.5",)}, "--train.curriculum: expected moves=2"),
        ({"curriculum": ("moves=0.5", "clicks=0.3")}, "--train.curriculum must be shares up to 1, moves before clicks"),
        ({"curriculum": ("clicks=1.5",)}, "--train.curriculum must be shares up to 1"),
    ],
)
def test_settings_that_cannot_be_meant(changes, told):
    with pytest.raises(ConfigError, match=told) as caught:
        TrainConfig(**changes)
    assert "\n" not in str(caught.value)


def test_shares_of_the_run_by_hand():
    shares = [
        TrainConfig(curriculum=written).read_curriculum()
        for written in (None, ("moves=0.2",), ("clicks=0.4",), ("moves=0.2", "clicks=0.5"))
    ]
    assert shares == [(0.0, 0.0), (0.2, 0.2), (0.0, 0.4), (0.2, 0.5)]


def test_everything_is_given_on_the_command_line():
    line = ["--dataset", "d", "--out", "o"]
    given = {
        "soft-points": ["4"], "soft-dt-ms": ["20"], "pinball-weight": ["0.5"], "gaussian-weight": ["0.1"],
        "window-weights": ["idle=0.3", "moves=0.5"], "curriculum": ["moves=0.2"], "jitter": ["contrast=0.2"],
        "crop": ["0.04"],
    }  # fmt: skip
    more = itertools.chain.from_iterable([f"--train.{name}", *values] for name, values in given.items())
    config = tyro.cli(TrainArgs, args=[*line, *more]).train
    assert (config.soft_points, config.soft_dt_ms, config.pinball_weight, config.gaussian_weight) == (4, 20, 0.5, 0.1)
    assert config.read_window_weights() == {"idle": 0.3, "moves": 0.5}
    assert config.read_jitter() == {"contrast": 0.2}
    assert (config.crop, config.curriculum) == (0.04, ("moves=0.2",))
