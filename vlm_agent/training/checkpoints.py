"""What a run leaves on disk to go on from: trained weights, optimizer and a little JSON; whole or not there at all.

Order of data, learning rate and dropout are functions of seed and step (see `order`), so no random state is kept.
No pickle anywhere.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from vlm_agent.errors import DataError
from vlm_agent.files import PARTIAL_SUFFIX, write_folder
from vlm_agent.models.adapters import WEIGHTS_FILE
from vlm_agent.training.optimizers import flatten_state, restore_state
from vlm_agent.training.tensors import write_tensors
from vlm_agent.training.trained import TrainedWeights, Weights

BEST_FILE = "best.safetensors"
OPTIMIZER_FILE = "optimizer.safetensors"
STATE_FILE = "state.json"
KEPT_CHECKPOINTS = 2
"""Older ones are removed; the one before the newest stays, should the disk lose the newest."""

_NAME = re.compile(r"step-(\d+)")


@dataclass(frozen=True)
class RunState:
    """Where a run stands after a step."""

    step: int = 0
    """Optimizer steps done."""
    best_step: int | None = None
    """Step of the lowest evaluation loss so far."""
    best_loss: float | None = None
    """That loss, nats per target token."""
    evals_since_best: int = 0
    """Measurements since then."""
    has_stopped: bool = False
    """True once patience ran out."""


def save_checkpoint(
    folder: Path,
    state: RunState,
    trained: TrainedWeights,
    optimizer: torch.optim.Optimizer,
    best: Weights | None,
    *,
    is_writer: bool = True,
) -> Path:
    """Write a checkpoint into `folder` and remove those that are no longer needed; return its folder.

    All processes of a run call it, since each may hold a share of the weights; one is the writer.
    """
    place = folder / checkpoint_name(state)
    weights, moments = trained.read(), flatten_state(optimizer, trained.names)
    if not is_writer:
        return place

    def fill(beside: Path) -> None:
        if best is not None:
            write_tensors(beside / BEST_FILE, best)
        write_tensors(beside / WEIGHTS_FILE, weights)
        write_tensors(beside / OPTIMIZER_FILE, moments)
        (beside / STATE_FILE).write_text(json.dumps(asdict(state), indent=2) + "\n", encoding="utf-8")

    write_folder(place, fill)
    prune_checkpoints(folder)
    return place


def prune_checkpoints(folder: Path) -> None:
    """Remove those that are no longer needed, and what a kill left of such a one, or of one that was not finished."""
    for old in list_checkpoints(folder)[:-KEPT_CHECKPOINTS]:
        shutil.rmtree(old)
    for left in folder.glob(f"*{PARTIAL_SUFFIX}"):
        shutil.rmtree(left)


def checkpoint_name(state: RunState) -> str:
    """Return the name of the folder that holds a state."""
    return f"step-{state.step:06d}"


def list_checkpoints(folder: Path) -> list[Path]:
    """Return the complete checkpoints in `folder`, oldest first."""
    found = [path for path in folder.glob("step-*") if _NAME.fullmatch(path.name)]
    return sorted(found, key=lambda path: int(path.name.removeprefix("step-")))


def load_checkpoint(
    folder: Path, trained: TrainedWeights, optimizer: torch.optim.Optimizer
) -> tuple[RunState, Weights | None]:
    """Put a checkpoint's weights and optimizer state in place; return where the run stood, and its best weights.

    Raises:
        DataError: a file of the checkpoint is missing or damaged.
        ModelError: its weights don't fit the model.
    """
    state = read_state(folder)
    with _naming_damage(folder):
        weights = load_file(folder / WEIGHTS_FILE)
        moments = load_file(folder / OPTIMIZER_FILE)
        best = load_file(folder / BEST_FILE) if state.best_step is not None else None
    trained.write(weights, folder)
    restore_state(optimizer, trained.names, trained.parameters, moments, folder)
    return state, best


def read_state(folder: Path) -> RunState:
    """Return where a run stood.

    Raises:
        DataError: the checkpoint is damaged.
    """
    with _naming_damage(folder):
        return RunState(**json.loads((folder / STATE_FILE).read_text(encoding="utf-8")))


@contextmanager
def _naming_damage(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, TypeError, SafetensorError) as error:
        raise DataError(f"{folder}: damaged checkpoint ({error}); remove it to resume from the one before") from error
