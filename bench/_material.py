"""What the training and decoding benchmarks run on: a model of nano's size, and windows of recorded play."""

from __future__ import annotations

from pathlib import Path

from labeling.stage import LabelArgs, label_and_build
from vlm_agent.dataset.store import Dataset, open_dataset
from vlm_agent.models.checkpoints import BUNDLED_FOLDER
from vlm_agent.models.loading import LoadedModel, load_model
from vlm_agent.rollouts.recording import DemonstrationConfig, record_demonstrations

_SEEDS = (3, 4)
_CORPUS_SAMPLES = 60


def load_bench_model(name: str, folder: Path) -> tuple[LoadedModel, str]:
    """Load the model to measure in 4 bits, and return it with its description.

    Args:
        name: what `load_model` takes; `nano` becomes a random model of nano's shape where its weights are missing.
        folder: where to write such a model.
    """
    if name == "nano" and not (BUNDLED_FOLDER / "model.safetensors").is_file():
        return load_model(_write_random_nano(folder / "nano")), "nano's shape, random weights"
    return load_model(name), name


def build_play(folder: Path, seconds: int) -> Dataset:
    """Record two sessions of the demonstrator and return their dataset."""
    record_demonstrations(folder / "sessions", _SEEDS, DemonstrationConfig(minutes=seconds / 60))
    label_and_build(LabelArgs(sessions=folder / "sessions", out=folder / "labeled", labeler="game"))
    return open_dataset(folder / "labeled")


def _write_random_nano(folder: Path) -> Path:
    from vlm_agent.models.nano_config import train_tokenizer
    from vlm_agent.training.nano.build import build_nano, corpus, export_nano

    tokenizer = train_tokenizer(corpus(0, _CORPUS_SAMPLES))
    return export_nano(build_nano(0, tokenizer), tokenizer, folder)
