"""A small training run in processes of its own, to be killed: `python -m tests.training.killed_run MODEL OUT`."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from tests.training.synthetic import load_with_lora, make_material
from vlm_agent.training.config import EvaluationSettings, LoraSettings, TrainConfig
from vlm_agent.training.loop import LoopResult, TrainingLoop, Watcher
from vlm_agent.training.processes import join_processes
from vlm_agent.training.progress import SilentWatcher

CONFIG = TrainConfig(
    lora=LoraSettings(rank=4, dropout=0.1),
    evaluation=EvaluationSettings(every_steps=4, patience=0),
    accumulation=2,
    learning_rate=2e-2,
    epochs=4,
    save_every_steps=3,
)
"""24 steps, with dropout and evaluations, and checkpoints that fall beside the evaluations."""


def run(
    model: Path, out: Path, config: TrainConfig = CONFIG, watcher: Watcher | None = None, num_cores: int = 1
) -> LoopResult:
    before = torch.get_num_threads()
    torch.set_num_threads(num_cores)
    try:
        loaded = load_with_lora(model, config)
        out.mkdir(exist_ok=True)
        return TrainingLoop(loaded, make_material(loaded), config, out, watcher or SilentWatcher()).run()
    finally:
        torch.set_num_threads(before)


if __name__ == "__main__":
    with join_processes("cpu"):
        run(Path(sys.argv[1]), Path(sys.argv[2]))
