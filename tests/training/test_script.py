"""`train_vision_agent.py`: what a user sees when it works, and the one line and exit code 2 when it can't."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.line_support import small_disk
from tests.training.synthetic import SPEC, write_dataset
from vlm_agent.errors import EXIT_USER_ERROR, run_guarded
from vlm_agent.models.tiny import write_tiny_checkpoint
from vlm_agent.training.command import TrainArgs, run
from vlm_agent.training.config import EvaluationSettings, LoraSettings, TrainConfig

pytestmark = pytest.mark.model

ROOT = Path(__file__).parents[2]
CONFIG = TrainConfig(evaluation=EvaluationSettings(every_steps=1), max_steps=1)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("script") / "tiny")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("script-data") / "dataset", num_ticks=6)


def _run(capfd, **changes) -> str:
    args = TrainArgs(**{"train": CONFIG, "device": "cpu", **changes})
    assert run_guarded(lambda: run(args)) == EXIT_USER_ERROR
    errors = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    return errors[0]


def test_it_trains_from_the_command_line(model, dataset, tmp_path):
    command = [sys.executable, "train_vision_agent.py", "--dataset", dataset, "--out", tmp_path / "run"]
    options = ["--model", model, "--device", "cpu", "--train.max-steps", "2", "--train.evaluation.every-steps", "1"]
    done = subprocess.run([*map(str, command + options)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "2 steps, loss" in done.stdout
    assert "step 2/2 loss" in done.stderr
    assert json.loads((tmp_path / "run" / "run.json").read_text())["config"]["max_steps"] == 2
    assert (tmp_path / "run" / "adapter" / "adapter_model.safetensors").is_file()


def test_wrong_paths(model, dataset, tmp_path, capfd):
    (tmp_path / "empty").mkdir()
    out = tmp_path / "run"
    assert "not a folder" in _run(capfd, dataset=tmp_path / "nothing", out=out, model=str(model))
    assert "dataset" in _run(capfd, dataset=tmp_path / "empty", out=out, model=str(model))
    assert "no such model" in _run(capfd, dataset=dataset, out=out, model=str(tmp_path / "nothing"))
    assert "not a model folder" in _run(capfd, dataset=dataset, out=out, model=str(tmp_path / "empty"))
    assert not out.exists()
    assert "holds no run" in _run(capfd, dataset=dataset, out=dataset, model=str(model))


def test_a_budget_smaller_than_a_window_leaves_no_run_behind(model, dataset, tmp_path, capfd):
    out = tmp_path / "run"
    line = _run(capfd, dataset=dataset, out=out, model=str(model), train=replace(CONFIG, batch_tokens=50))
    assert "--train.batch-tokens 50: the longest window takes" in line
    assert not out.exists()


def test_layouts_chosen_by_name_learn_the_same(model, dataset, tmp_path, capfd):
    still = replace(CONFIG, lora=LoraSettings(dropout=0.0), batch_windows=3, accumulation=100, max_steps=1)
    losses = {}
    for layout in ("rows", "packed", "shared", "auto"):
        out = tmp_path / layout
        run(TrainArgs(dataset=dataset, out=out, model=str(model), device="cpu", train=replace(still, layout=layout)))
        named = "shared" if layout == "auto" else layout
        assert f"; engine hf, layout {named}\n" in capfd.readouterr().out
        lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        losses[layout] = [line.get("loss", line.get("eval_loss")) for line in lines]
    assert len(losses["rows"]) == 3
    assert len(set(losses["rows"])) == 3
    for layout in ("packed", "shared", "auto"):
        assert losses[layout] == pytest.approx(losses["rows"], rel=1e-5)


def test_a_dataset_of_another_spec_than_the_adapter(model, dataset, tmp_path, capfd):
    run(TrainArgs(dataset=dataset, out=tmp_path / "run", model=str(model), train=CONFIG, device="cpu"))
    other = write_dataset(tmp_path / "other", replace(SPEC, keys=("a", "space", "w")), 3)
    line = _run(capfd, dataset=other, out=tmp_path / "next", model=str(tmp_path / "run"))
    assert "another action spec" in line
    assert not (tmp_path / "next").exists()


def test_a_run_that_has_no_adapter_yet(model, dataset, tmp_path, capfd):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    assert "no adapter yet" in _run(capfd, dataset=dataset, out=tmp_path / "next", model=str(tmp_path / "run"))


def test_a_damaged_picture(model, tmp_path, capfd):
    dataset = write_dataset(tmp_path / "dataset", num_ticks=3)
    for picture in (dataset / "frames").rglob("*.jpg"):
        picture.write_bytes(picture.read_bytes()[:40])
    assert ".jpg" in _run(capfd, dataset=dataset, out=tmp_path / "run", model=str(model))


@pytest.mark.parametrize("size_kb", [0, 200])
def test_a_full_disk(model, dataset, tmp_path, capfd, size_kb):
    disk = tmp_path / "disk"
    disk.mkdir()
    size = max(size_kb, 4)
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", disk], capture_output=True, check=False
    )
    if mount.returncode:
        pytest.skip("mounting a small tmpfs is not allowed here")
    try:
        if not size_kb:
            (disk / "ballast").write_bytes(b"0" * 4096)
        line = _run(capfd, dataset=dataset, out=disk / "run", model=str(model))
        assert "No space left on device" in line
        assert not list(disk.rglob("*.partial"))
        assert not (disk / "run" / "adapter").exists()
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_disk_that_fills_up_leaves_a_checkpoint_to_go_on_from(model, dataset, tmp_path, capfd):
    often = replace(CONFIG, max_steps=6, epochs=6, save_every_steps=1, evaluation=EvaluationSettings(every_steps=0))
    run(TrainArgs(dataset=dataset, out=tmp_path / "whole", model=str(model), device="cpu", train=often))
    [one, _] = sorted((tmp_path / "whole" / "checkpoints").iterdir())
    checkpoint_kb = sum(path.stat().st_size for path in one.iterdir()) // 1024
    # Two checkpoints stay; there is no room to write a third beside them.
    with small_disk(tmp_path / "disk", round(2.6 * checkpoint_kb)) as disk:
        if not disk.is_mount():
            pytest.skip("mounting a small tmpfs is not allowed here")
        line = _run(capfd, dataset=dataset, out=disk / "run", model=str(model), train=often)
        assert "step 3 can't be written down (No space left on device)" in line
        assert "the last good weights are in" in line
        assert "step-000002; make room" in line
        assert not list(disk.rglob("*.partial"))
        shutil.copytree(disk / "run", tmp_path / "run")
    run(TrainArgs(dataset=dataset, out=tmp_path / "run", model=str(model), device="cpu", train=often))
    weights = [(tmp_path / name / "adapter" / "adapter_model.safetensors").read_bytes() for name in ("run", "whole")]
    assert weights[0] == weights[1]


@pytest.mark.parametrize(
    ("make", "flag"),
    [
        (lambda: TrainConfig(batch_windows=0), "--train.batch-windows"),
        (lambda: TrainConfig(learning_rate=0.0), "--train.learning-rate"),
        (lambda: TrainConfig(epochs=-1), "--train.epochs"),
        (lambda: TrainConfig(warmup_fraction=1.0), "--train.warmup-fraction"),
        (lambda: TrainConfig(max_steps=0), "--train.max-steps"),
        (lambda: TrainConfig(feature_cache_mb=-1), "--train.feature-cache-mb"),
        (lambda: TrainConfig(layout="columns"), r"--train\.layout must be rows or packed or shared.*got columns"),
        (lambda: TrainConfig(engine="jax"), r"--train\.engine must be hf or unsloth or trl or auto, got jax"),
        (lambda: TrainConfig(optimizer="sgd"), "--train.optimizer"),
        (lambda: TrainConfig(recompute="never"), "--train.recompute"),
        (lambda: LoraSettings(rank=0), "--train.lora.rank"),
        (lambda: LoraSettings(dropout=1.0), "--train.lora.dropout"),
        (lambda: EvaluationSettings(patience=-1), "--train.evaluation"),
    ],
)
def test_settings_out_of_range_name_their_flag(make, flag):
    from vlm_agent.errors import ConfigError

    with pytest.raises(ConfigError, match=flag):
        make()
