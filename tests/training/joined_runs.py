"""Whole runs by several joined processes: `torchrun … -m tests.training.joined_runs MODEL DATASET OUT [NAME…]`."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import torch

from vlm_agent.models.loading import load_model
from vlm_agent.training.adapters import TrainResult, train_adapter
from vlm_agent.training.config import EvaluationSettings, LoraSettings, TrainConfig
from vlm_agent.training.processes import join_processes

PLAIN = TrainConfig(
    lora=LoraSettings(rank=4, dropout=0.1),
    evaluation=EvaluationSettings(every_steps=2),
    batch_windows=2,
    accumulation=3,
    learning_rate=1e-2,
    save_every_steps=2,
    max_steps=4,
    field_weights=("x=2",),
)
"""Three passes a step, so that one of two processes has one more."""
RUNS = {
    "packed": ("nf4", PLAIN),
    "whole": ("none", PLAIN),
    "full": ("none", replace(PLAIN, full=True, learning_rate=1e-3)),
    "vision": ("none", replace(PLAIN, lora=replace(PLAIN.lora, vision=True))),
}
"""Precision and settings."""


def train(name: str, model: Path, dataset: Path, out: Path, *, shard: bool = False) -> TrainResult:
    torch.set_num_threads(1)
    quantization, config = RUNS[name]
    loaded = load_model(model, quantization=quantization, device="cpu", in_float32=config.full)
    return train_adapter(dataset, loaded, replace(config, shard=shard), out)


if __name__ == "__main__":
    _, model, dataset, out, *names = sys.argv
    with join_processes("cpu"):
        for name in names:
            train(name.removesuffix("-shared"), Path(model), Path(dataset), Path(out) / name, shard="-shared" in name)
