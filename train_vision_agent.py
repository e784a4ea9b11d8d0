"""Tune a vision-language model on a dataset of recorded play; writes a LoRA adapter.

    python train_vision_agent.py --dataset dataset --out runs/first
    python train_vision_agent.py --dataset dataset --out runs/big --model Qwen/Qwen3-VL-8B-Instruct

Stopped or killed, the same command goes on where it was.
"""

import sys

import tyro

from vlm_agent.errors import run_guarded
from vlm_agent.training.command import TrainArgs, run

if __name__ == "__main__":
    args = tyro.cli(TrainArgs, description=__doc__)
    sys.exit(run_guarded(lambda: run(args)))
