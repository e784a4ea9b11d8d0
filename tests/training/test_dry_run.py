"""A dry run says who is there and what each would do, trains nothing, and names who sees something else."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.training.synthetic import write_dataset
from vlm_agent.errors import ConfigError
from vlm_agent.models.tiny import write_tiny_checkpoint
from vlm_agent.training.command import TrainArgs, run
from vlm_agent.training.config import TrainConfig
from vlm_agent.training.dry_run import describe, look
from vlm_agent.training.processes import Processes
from vlm_agent.training.trl_engine import can_run

pytestmark = pytest.mark.model

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "many-machines.md"


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("dry") / "tiny")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("dry-data") / "dataset", num_ticks=9)


def _lines_of_the_page() -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def _start(line: str, replaced: dict[str, str], dataset: Path, model: Path) -> subprocess.Popen[str]:
    """Start a line of the page as it stands, on this machine, with two processes for four."""
    for old, new in replaced.items():
        line = line.replace(old, new)
    program, *words = shlex.split(line)
    assert program == "torchrun"
    words[words.index("--dataset") + 1] = str(dataset)
    if "--model" in words:
        words[words.index("--model") + 1] = str(model)
    else:
        words += ["--model", str(model)]
    command = [sys.executable, "-m", "torch.distributed.run", *words, "--device", "cpu", "--dry-run"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def _find_free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_the_line_for_two_machines_as_it_is_written(model, dataset, tmp_path):
    out = tmp_path / "big"
    replaced = {"10.0.0.1": "127.0.0.1", "29400": str(_find_free_port()), "--nproc-per-node 4": "--nproc-per-node 1"}
    replaced["runs/big"] = str(out)
    lines = [line for line in _lines_of_the_page() if "--nnodes 2" in line]
    assert len(lines) == 2
    started = [_start(line, replaced, dataset, model) for line in lines]
    ended = [one.communicate(timeout=200) for one in started]
    assert [one.returncode for one in started] == [0, 0], ended
    shown = ended[0][0].splitlines()
    assert shown[0] == "2 processes on 1 machine, all see the same dataset and settings"
    assert re.fullmatch(r"process 1 on \S+, cpu: 1 to 2 of the passes of each of \d+ steps, 12 windows .*", shown[2])
    assert not ended[1][0]
    assert not out.exists()


def test_every_line_of_the_page_is_understood(monkeypatch):
    import tyro

    for line in _lines_of_the_page():
        words = shlex.split(line)
        args = tyro.cli(TrainArgs, args=words[words.index("train_vision_agent.py") + 1 :])
        assert args.train.shard == ("--train.shard" in words)
        assert args.train.full == ("--train.full" in words)


def test_one_process_alone(model, dataset, tmp_path, capsys):
    out = tmp_path / "run"
    run(TrainArgs(dataset, out, model=str(model), device="cpu", dry_run=True))
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].startswith("1 process on 1 machine, ")
    assert len(shown) == 2
    assert not out.exists()


def test_who_sees_something_else_is_named(model, dataset, tmp_path):
    args = TrainArgs(dataset, tmp_path / "run", model=str(model), device="cpu")
    first = look(args, Processes(0, 2), "cpu", "hf")
    assert describe([first, replace(first, host="other")])[0].startswith("2 processes on 2 machines")
    other = write_dataset(tmp_path / "other", num_ticks=6)
    changed = replace(args, dataset=other)
    faster = replace(args, train=replace(TrainConfig(), learning_rate=1e-3))
    for seen, told in ((changed, r"dataset, tokens"), (faster, r"train\.learning_rate")):
        second = replace(look(seen, Processes(1, 2), "cpu", "hf"), host="second")
        with pytest.raises(ConfigError, match=rf"process 1 on second sees something else.*\({told}\)") as caught:
            describe([first, second])
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("engine", "train", "message"),
    [
        ("hf", TrainConfig(full=True), "--train.full needs --quantization none"),
        (
            "trl",
            TrainConfig(layout="packed"),
            "--train.layout must be rows" if can_run(torch.device("cpu")) else "this TRL needs a CUDA card",
        ),
    ],
)
def test_what_could_not_be_trained_is_refused_by_the_dry_run_already(model, dataset, tmp_path, engine, train, message):
    args = TrainArgs(dataset=dataset, out=tmp_path / "run", model=str(model), quantization="nf4", train=train)
    with pytest.raises(ConfigError, match=message):
        look(args, Processes(), "cpu", engine)
