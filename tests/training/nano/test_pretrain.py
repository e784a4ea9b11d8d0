"""Pretraining goes on where it was killed, and ends in a checkpoint like any other."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from vlm_agent.errors import ConfigError, ModelError
from vlm_agent.training.nano import batches, build, pretrain
from vlm_agent.training.nano.config import PretrainConfig

pytestmark = pytest.mark.model


@pytest.fixture(scope="module", autouse=True)
def _small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "CORPUS_SAMPLES", 12)
        patch.setattr(batches, "NAME_SCAN", 6)
        patch.setattr(batches, "TREE_TOKENS_MAX", 600)
        patch.setattr(batches, "DRILL_ROWS", 1)
        batches.thing_names.cache_clear()
        yield
    batches.thing_names.cache_clear()


def config_in(folder: Path) -> PretrainConfig:
    return PretrainConfig(
        out=folder,
        dense_steps=1,
        dense_batch=2,
        copy_steps=1,
        copy_batch=1,
        look_steps=2,
        look_batch=1,
        look_kept=1,
        clip_batch=1,
        follow_steps=2,
        follow_batch=1,
        save_every_steps=1,
        threads=1,
    )


@pytest.fixture(scope="module")
def whole(_small: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run that ended, with what was in it at step 1 of the stages `look` and `follow` beside."""
    out = tmp_path_factory.mktemp("nano") / "whole"
    save = pretrain.Run.save

    def save_and_keep(self: pretrain.Run) -> None:
        save(self)
        if self.progress.step == 1:
            shutil.copytree(out, out.with_name(self.progress.stage))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pretrain.Run, "save", save_and_keep)
        pretrain.run(config_in(out))
    return out


@pytest.mark.parametrize("stage", ["look", "follow"])
def test_a_stopped_run_goes_on_to_the_same_weights(whole: Path, stage: str) -> None:
    stopped = whole.with_name(stage)
    assert not (stopped / "model").exists()
    resumed = pretrain.run(config_in(stopped))
    one, other = (load_file(folder / "model.safetensors") for folder in (whole / "model", resumed))
    assert one.keys() == other.keys()
    assert all((one[name] == other[name]).all() for name in one)


def test_the_finished_folder_is_a_checkpoint(whole: Path) -> None:
    folder = whole / "model"
    config = json.loads((folder / "config.json").read_text())
    assert config["model_type"] == "qwen3_vl"
    assert (folder / "model.safetensors").stat().st_size < 16_000_000
    assert (folder / "preprocessor_config.json").exists()
    assert not list(whole.glob("*.tmp"))


def test_looking_can_be_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(batches, "make_look")
    config = replace(config_in(tmp_path), dense_steps=0, copy_steps=0, look_steps=0, look_kept=0, follow_steps=1)
    assert pretrain.run(config).is_dir()


def test_a_finished_nano_is_taken_further(whole: Path, tmp_path: Path) -> None:
    first = whole / "model"
    config = replace(config_in(tmp_path), start=str(first), learning_rate=1e-3, copy_steps=0, follow_steps=0)
    further = pretrain.run(config)
    assert (further / "tokenizer.json").read_bytes() == (first / "tokenizer.json").read_bytes()
    one, other = (load_file(folder / "model.safetensors") for folder in (first, further))
    changes = [float((one[name].float() - other[name].float()).abs().max()) for name in one]
    assert 0 < max(changes) < 0.01  # taken further, not begun anew


@pytest.mark.parametrize("broken", ["nowhere", "empty", "shape"])
def test_what_is_no_nano_is_not_taken_further(whole: Path, tmp_path: Path, broken: str) -> None:
    first = shutil.copytree(whole / "model", tmp_path / "first")
    weights = load_file(first / "model.safetensors")
    save_file({name: tensor[:-1] for name, tensor in weights.items()}, first / "model.safetensors")
    (tmp_path / "empty").mkdir()
    shutil.copy(first / "tokenizer.json", tmp_path / "empty")
    shutil.copy(first / "tokenizer_config.json", tmp_path / "empty")
    start = {"nowhere": tmp_path / "nowhere", "empty": tmp_path / "empty", "shape": first}[broken]
    message = {"nowhere": "no such model folder", "empty": "no model.safetensors", "shape": "don't fit"}[broken]
    with pytest.raises(ModelError, match=message):
        pretrain.run(replace(config_in(tmp_path / "further"), start=str(start)))
    assert (tmp_path / "further").exists() == (broken != "nowhere")


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        PretrainConfig(follow_batch=0)
    with pytest.raises(ConfigError, match="steps, look_kept and clip_batch must be at least 0"):
        PretrainConfig(look_kept=-1)
