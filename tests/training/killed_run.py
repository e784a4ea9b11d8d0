"""A small training run shared by processes: `python -m tests.training.killed_run MODEL OUT NUM_PROCESSES`.

They are forks of one that has the libraries loaded, told who they are as torchrun tells it.
"""

from __future__ import annotations

import os
import socket
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


def share(model: Path, out: Path, num_processes: int) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ.update(WORLD_SIZE=str(num_processes), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    children = []
    for rank in range(num_processes):
        os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank))
        if child := os.fork():
            children.append(child)
            continue
        with join_processes("cpu"):
            run(model, out)
        os._exit(0)
    for child in children:
        if code := os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
            raise SystemExit(f"a process ended with {code}")


if __name__ == "__main__":
    share(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
