"""Two processes, sharing passes or the weights too, learn what one learns, and leave the same folder."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.training.joined_runs import RUNS, train
from tests.training.synthetic import write_dataset
from vlm_agent.errors import ConfigError
from vlm_agent.models.loading import load_model
from vlm_agent.models.tiny import write_tiny_checkpoint
from vlm_agent.training.checkpoints import list_checkpoints
from vlm_agent.training.metrics import METRICS_FILE, MetricsLog

pytestmark = pytest.mark.model

JOINED = ["packed", "whole-shared", "full-shared", "vision-shared"]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("joined") / "tiny")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("joined-data") / "dataset", num_ticks=9)


@pytest.fixture(scope="module")
def joined(model, dataset, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("joined-runs")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launcher, "-m", "tests.training.joined_runs", str(model), str(dataset), str(out), *JOINED]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return out


@pytest.fixture(scope="module")
def alone(model, dataset, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("alone")
    for name in RUNS:
        train(name, model, dataset, out / name)
    return out


def _measured(run: Path) -> list[dict]:
    return [{k: v for k, v in line.items() if k != "seconds"} for line in MetricsLog(run / METRICS_FILE).read()]


@pytest.mark.parametrize("name", JOINED)
def test_two_processes_have_the_curve_of_one(joined, alone, name):
    lines, wanted = _measured(joined / name), _measured(alone / name.removesuffix("-shared"))
    assert [line["step"] for line in lines] == [line["step"] for line in wanted] == [0, 1, 2, 2, 3, 4, 4]
    for line, want in zip(lines, wanted, strict=True):
        fields, wanted_fields = line.pop("eval_loss_by_field", {}), want.pop("eval_loss_by_field", {})
        assert line == pytest.approx(want, rel=1e-3)
        assert fields.keys() == wanted_fields.keys()
        for part, loss in fields.items():
            assert loss == pytest.approx(wanted_fields[part], rel=2e-3)
    assert len(wanted_fields) >= 6  # the last line is an evaluation
    assert lines[-1]["eval_loss"] < lines[0]["eval_loss"]


@pytest.mark.parametrize("name", JOINED)
def test_the_folder_is_that_of_one_process(joined, alone, name):
    left, right = joined / name, alone / name.removesuffix("-shared")
    files = [{str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()} for run in (left, right)]
    assert files[0] == files[1]
    for path in sorted(name for name in files[0] if name.endswith(".safetensors")):
        ours, theirs = load_file(left / path), load_file(right / path)
        assert {key: (value.shape, value.dtype) for key, value in ours.items()} == {
            key: (value.shape, value.dtype) for key, value in theirs.items()
        }
        if "optimizer" not in path:
            for key, value in ours.items():
                torch.testing.assert_close(value, theirs[key], rtol=0.05, atol=3e-3)
    records = [json.loads((run / "run.json").read_text()) for run in (left, right)]
    assert records[0]["config"] | {"shard": False} == records[1]["config"]


def test_a_shared_run_goes_on_alone(joined, model, dataset, alone):
    """What one process writes down another can go on from, sharing or not: here from before the last two steps."""
    run = joined / "whole-shared"
    newest = list_checkpoints(run / "checkpoints")[-1]
    for path in newest.iterdir():
        path.unlink()
    newest.rmdir()
    train("whole", model, dataset, run)
    for line, want in zip(_measured(run), _measured(alone / "whole"), strict=True):
        line.pop("eval_loss_by_field", None), want.pop("eval_loss_by_field", None)
        assert line == pytest.approx(want, rel=1e-3)


def test_one_process_has_nobody_to_share_with(model, dataset, tmp_path):
    with pytest.raises(ConfigError, match=r"--train\.shard parts weights among processes; start them: torchrun"):
        train("whole", model, dataset, tmp_path / "run", shard=True)
    with pytest.raises(ConfigError, match=r"--train\.shard needs --quantization none"):
        train("packed", model, dataset, tmp_path / "run", shard=True)
    assert not (tmp_path / "run").exists()


def test_a_tuned_checkpoint_is_a_base(alone, model):
    assert load_model(alone / "full", device="cpu").source == str((alone / "full" / "model").resolve())
    assert load_model(alone / "full", device="cpu").fingerprint != load_model(model, device="cpu").fingerprint
