"""What lies beside the weights that a run leaves."""

from __future__ import annotations

import json

import pytest
import torch

from vlm_agent.models.adapters import RECIPE_FILE
from vlm_agent.training.checkpoints import RunState
from vlm_agent.training.loop import LoopResult
from vlm_agent.training.saving import _read_dtype, _write_recipe

pytestmark = pytest.mark.model


def test_a_recipe_tells_the_steps_that_were_done_and_the_best_loss(tmp_path):
    result = LoopResult(RunState(step=30, best_step=20, best_loss=0.5), num_steps=100, weights={}, last_loss=0.7)
    _write_recipe(tmp_path, {"recipe": {"codec": "json"}}, result)
    told = json.loads((tmp_path / RECIPE_FILE).read_text())
    assert told == {"recipe": {"codec": "json"}, "steps": 30, "best_loss": 0.5}


@pytest.mark.parametrize(
    ("config", "dtype"),
    [
        ({"dtype": "bfloat16"}, torch.bfloat16),
        ({"torch_dtype": "float16"}, torch.float16),
        ({"dtype": None, "torch_dtype": "bfloat16"}, torch.bfloat16),
        ({}, torch.float32),
        ({"dtype": "load"}, torch.float32),
    ],
)
def test_a_whole_checkpoint_is_in_the_precision_of_its_base(tmp_path, config, dtype):
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert _read_dtype(tmp_path) is dtype
