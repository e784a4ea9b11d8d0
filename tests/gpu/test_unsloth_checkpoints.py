"""What the real Unsloth trains on a published 4-bit checkpoint, transformers loads and plays; needs a card and Unsloth.

    pytest -n 0 -m gpu tests/gpu

Unsloth replaces parts of transformers when it is imported, so training runs in a process of its own.
"""

from __future__ import annotations

import importlib.util
import json
import math

import pytest

from tests.line_support import type_in_shell
from vlm_agent.models.loading import load_model

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.model,
    pytest.mark.skipif(importlib.util.find_spec("unsloth") is None, reason="Unsloth is not installed"),
]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    root = tmp_path_factory.mktemp("play")
    for words in (
        ("vlm-agent", "record-demo", "--out", root / "sessions", "--num-sessions", 2, "--minutes", 0.2),
        ("label_segments.py", "--sessions", root / "sessions", "--out", root / "labeled", "--labeler", "game"),
    ):
        ended = type_in_shell(*words)
        assert ended.code == 0, ended.err
    return root / "labeled"


@pytest.mark.parametrize(
    "name",
    [
        "unsloth-Qwen3-VL-2B-unsloth-bnb-4bit",
        "unsloth-Qwen3-VL-8B-unsloth-bnb-4bit",
        "unsloth-Qwen2.5-VL-3B-unsloth-bnb-4bit",
        "unsloth-Qwen2.5-VL-7B-bnb-4bit",
    ],
)
def test_what_unsloth_trains_transformers_plays(published, dataset, tmp_path, name):
    run = tmp_path / "run"
    small = ("--recipe.image-max-tokens", 48, "--train.max-steps", 2, "--train.batch-windows", 2)
    ended = type_in_shell(
        *("train_vision_agent.py", "--dataset", dataset, "--out", run, "--model", published(name)),
        *("--train.engine", "unsloth", *small),
    )
    assert ended.code == 0, ended.err
    losses = [entry["loss"] for entry in map(json.loads, (run / "metrics.jsonl").open()) if "loss" in entry]
    assert len(losses) == 2
    assert all(map(math.isfinite, losses))
    loaded = load_model(run, device="cuda")
    assert loaded.library == "hf"
    assert loaded.adapter == (run / "adapter").resolve()
    ended = type_in_shell(
        "agent.py", "--goal", "open the bank", "--model", run, "--max-ticks", 2, "--out", tmp_path / "played"
    )
    assert ended.code == 0, ended.err
