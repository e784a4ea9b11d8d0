"""What a run leaves to be used: an adapter in plain peft layout, or a whole checkpoint; with its recipe beside it."""

from __future__ import annotations

import errno
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors import SafetensorError

from vlm_agent.files import write_folder
from vlm_agent.models.adapters import RECIPE_FILE, WEIGHTS_FILE
from vlm_agent.models.chat_templates import write_chat_template
from vlm_agent.models.checkpoints import find_checkpoint
from vlm_agent.models.loading import LoadedModel
from vlm_agent.training.loop import LoopResult
from vlm_agent.training.tensors import write_tensors
from vlm_agent.training.trained import Weights, copy_whole

_PRECISION_FIELDS = ("dtype", "torch_dtype")
"""Under which of these a config.json tells the precision of the weights."""


def save_adapter(
    folder: Path, loaded: LoadedModel, record: dict[str, Any], result: LoopResult, *, is_writer: bool = True
) -> Path:
    """Write an adapter in plain peft layout with its recipe beside it; of several processes one is the writer."""
    if not is_writer:
        return folder
    wrapped: PeftModel = loaded.peft
    lora = replace(wrapped.peft_config["default"], inference_mode=True, base_model_name_or_path=loaded.source)

    def fill(beside: Path) -> None:
        lora.save_pretrained(beside)
        write_tensors(beside / WEIGHTS_FILE, result.weights)
        _write_recipe(beside, record, result)

    return write_folder(folder, fill)


def save_model(
    folder: Path, loaded: LoadedModel, record: dict[str, Any], result: LoopResult, *, is_writer: bool = True
) -> Path:
    """Write a whole checkpoint: the base's folder with the trained weights in their place, in the base's precision.

    All processes of a run call it, since each may hold a share of the weights; one is the writer.
    """
    _, base = find_checkpoint(loaded.source)
    dtype = _read_dtype(base)
    weights = {
        name: value.to(dtype) if value.is_floating_point() else value
        for name, value in {**_read_whole(loaded), **result.weights}.items()
    }
    if not is_writer:
        return folder

    def fill(beside: Path) -> None:
        try:
            # Under the names of the family's published checkpoints, which are not always those in memory.
            loaded.model.save_pretrained(beside, state_dict=weights)
        except SafetensorError as error:  # a full disk is an OSError everywhere else
            raise OSError(errno.EIO, str(error), str(beside)) from error
        for path in base.iterdir():
            if path.is_file() and ".safetensors" not in path.name and path.name != RECIPE_FILE:
                shutil.copyfile(path, beside / path.name)
        # The one it was trained by, a thought closed in it: whoever serves the folder asks alike.
        write_chat_template(beside, loaded.encoder.template)
        _write_recipe(beside, record, result)

    return write_folder(folder, fill)


def _read_whole(loaded: LoadedModel) -> Weights:
    """Return all weights of a model; one that two modules share is there once, under the name it is trained under."""
    own = {name for name, _ in loaded.model.named_parameters()}
    doubled = {name for name, _ in loaded.model.named_parameters(remove_duplicate=False)} - own
    return {name: copy_whole(value) for name, value in loaded.model.state_dict().items() if name not in doubled}


def _read_dtype(base: Path) -> torch.dtype:
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    named = [config[field] for field in _PRECISION_FIELDS if config.get(field)]
    dtype = getattr(torch, str(named[0]), None) if named else None
    return dtype if isinstance(dtype, torch.dtype) else torch.float32


def _write_recipe(folder: Path, record: dict[str, Any], result: LoopResult) -> None:
    recipe = {**record, "steps": result.state.step, "best_loss": result.state.best_loss}
    (folder / RECIPE_FILE).write_text(json.dumps(recipe, indent=2) + "\n", encoding="utf-8")
