"""Histories of pictures: the last frames of a window's own session, oldest first, and today's bytes without them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.training.synthetic import write_dataset
from vlm_agent.chat import Recipe
from vlm_agent.dataset.histories import Histories
from vlm_agent.dataset.store import open_dataset
from vlm_agent.errors import ConfigError
from vlm_agent.models.loading import load_model
from vlm_agent.models.tiny import write_tiny_checkpoint
from vlm_agent.training.adapters import train_adapter
from vlm_agent.training.config import EvaluationSettings, RecipeSettings, TrainConfig
from vlm_agent.training.layouts import build_rows
from vlm_agent.training.windows import choose_recipe, encode_windows

pytestmark = pytest.mark.model

CONFIG = TrainConfig(evaluation=EvaluationSettings(every_steps=0), max_steps=1)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return write_tiny_checkpoint(tmp_path_factory.mktemp("pictures") / "tiny")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures") / "dataset"
    return open_dataset(write_dataset(folder, num_ticks=6, with_validation=False))


def _encode(loaded, store, frames: int):
    recipe = choose_recipe(loaded, store, RecipeSettings(history_frames=frames))
    windows = list(store.windows("train"))
    return windows, encode_windows(loaded.encoder, windows, recipe, histories=Histories(windows, recipe))


@pytest.mark.parametrize("frames", [1, 2, 4])
def test_the_last_pictures_come_oldest_first(checkpoint, store, frames):
    loaded = load_model(checkpoint, device="cpu")
    windows, examples = _encode(loaded, store, frames)
    by_time = list(dict.fromkeys(window.frame_id for window in sorted(windows, key=lambda one: one.t_ns)))
    for window, example in zip(windows, examples, strict=True):
        tick = window.t_ns // 600_000_000
        assert example.image_keys == tuple(by_time[max(0, tick + 1 - frames) : tick + 1])
        assert len(example.encoded.image_grids) == len(example.image_keys)
    # Both goals of a moment share all its pictures.
    rows = build_rows(examples, loaded.encoder, "shared", replace(CONFIG, batch_windows=2))
    assert [row.num_windows for row in rows] == [2] * 6
    assert sum(len(row.image_keys) for row in rows) == sum(min(tick + 1, frames) for tick in range(6))


def test_no_history_is_what_it_was(checkpoint, store):
    loaded = load_model(checkpoint, device="cpu")
    windows, examples = _encode(loaded, store, 1)
    plain = choose_recipe(loaded, store, RecipeSettings())
    again = encode_windows(loaded.encoder, windows, plain)
    assert [(one.encoded, one.image_keys) for one in examples] == [(one.encoded, one.image_keys) for one in again]
    assert not {"history_frames", "conversation_turns"} & plain.to_json().keys()


def test_a_run_from_before_there_were_histories_goes_on(checkpoint, store, tmp_path):
    def train():
        return train_adapter(store.folder, load_model(checkpoint, device="cpu"), CONFIG, tmp_path / "run")

    result = train()
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["config"].pop("hide_answers") is None
    assert not {"history_frames", "conversation_turns"} & record["recipe"].keys()
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    assert train().num_steps == result.num_steps
    assert Recipe.from_json(record["recipe"]).history_frames == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"history_frames": 0}, "must be at least 1, got 0 and 1"),
        ({"conversation_turns": 0}, "must be at least 1, got 1 and 0"),
        ({"conversation_turns": 4, "history_frames": 2}, "goes with neither"),
        ({"conversation_turns": 4, "names_steps": True}, "goes with neither"),
    ],
)
def test_settings_that_cannot_be_meant(changes, message):
    with pytest.raises(ConfigError, match=message):
        RecipeSettings(**changes)
