"""What a run leaves on disk to go on from: adapter, optimizer and a little JSON; whole or not there at all.

Order of data, learning rate and dropout are functions of seed and step (see `order`), so no random state is kept.
No pickle anywhere.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from peft import PeftModel
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from vlm_agent.errors import DataError
from vlm_agent.models.adapters import WEIGHTS_FILE, read_adapter_weights, write_adapter_weights
from vlm_agent.training.files import write_folder, write_tensors

Weights = dict[str, Tensor]
"""Adapter weights under peft's saved names."""

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
    folder: Path, state: RunState, wrapped: PeftModel, optimizer: torch.optim.Optimizer, best: Weights | None
) -> Path:
    """Write a checkpoint into `folder` and remove those that are no longer needed; return its folder."""

    def fill(beside: Path) -> None:
        if best is not None:
            write_tensors(beside / BEST_FILE, best)
        write_tensors(beside / WEIGHTS_FILE, read_adapter_weights(wrapped))
        write_tensors(beside / OPTIMIZER_FILE, _flatten_optimizer(optimizer, _trained_names(wrapped)))
        (beside / STATE_FILE).write_text(json.dumps(asdict(state), indent=2) + "\n", encoding="utf-8")

    place = write_folder(folder / checkpoint_name(state), fill)
    for old in list_checkpoints(folder)[:-KEPT_CHECKPOINTS]:
        shutil.rmtree(old)
    return place


def checkpoint_name(state: RunState) -> str:
    """Return the name of the folder that holds a state."""
    return f"step-{state.step:06d}"


def list_checkpoints(folder: Path) -> list[Path]:
    """Return the complete checkpoints in `folder`, oldest first."""
    found = [path for path in folder.glob("step-*") if _NAME.fullmatch(path.name)]
    return sorted(found, key=lambda path: int(path.name.removeprefix("step-")))


def load_checkpoint(
    folder: Path, wrapped: PeftModel, optimizer: torch.optim.Optimizer
) -> tuple[RunState, Weights | None]:
    """Put a checkpoint's weights and optimizer state in place; return where the run stood, and its best weights.

    Raises:
        DataError: a file of the checkpoint is missing or damaged.
        ModelError: its weights don't fit the model.
    """
    try:
        state = RunState(**json.loads((folder / STATE_FILE).read_text(encoding="utf-8")))
        weights = load_file(folder / WEIGHTS_FILE)
        moments = load_file(folder / OPTIMIZER_FILE)
        best = load_file(folder / BEST_FILE) if state.best_step is not None else None
    except (OSError, ValueError, TypeError, SafetensorError) as error:
        raise DataError(f"{folder}: damaged checkpoint ({error}); remove it to resume from the one before") from error
    write_adapter_weights(wrapped, weights, folder)
    _restore_optimizer(optimizer, _trained_names(wrapped), moments, folder)
    return state, best


def _trained_names(wrapped: PeftModel) -> list[str]:
    return [name for name, parameter in wrapped.named_parameters() if parameter.requires_grad]


def _flatten_optimizer(optimizer: torch.optim.Optimizer, names: list[str]) -> dict[str, Tensor]:
    moments = {}
    for index, values in optimizer.state_dict()["state"].items():
        for kind, value in values.items():
            moments[f"{names[index]}/{kind}"] = value.detach().to("cpu", copy=True).contiguous()
    return moments


def _restore_optimizer(
    optimizer: torch.optim.Optimizer, names: list[str], moments: dict[str, Tensor], folder: Path
) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    numbers = {name: index for index, name in enumerate(names)}
    for key, value in moments.items():
        name, kind = key.rsplit("/", 1)
        if name not in numbers:
            raise DataError(f"{folder}: optimizer state of an unknown weight {name}")
        state.setdefault(numbers[name], {})[kind] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
