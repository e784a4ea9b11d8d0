"""Tune a vision-language model on a dataset of recorded play; writes a LoRA adapter.

    python train_vision_agent.py --dataset dataset --out runs/first
    python train_vision_agent.py --dataset dataset --out runs/big --model Qwen/Qwen3-VL-8B-Instruct

Stopped or killed, the same command goes on where it was.
"""

from vlm_agent.errors import run_program


def main() -> None:
    """Read the command line and train."""
    import tyro

    from vlm_agent.training.command import TrainArgs, run

    run(tyro.cli(TrainArgs, description=__doc__))


if __name__ == "__main__":
    run_program(main)
