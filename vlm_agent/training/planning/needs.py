"""What memory a run will need, from its model and its own rows; and whether layers must be run again to fit a card."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from vlm_agent.models.compat import enable_activation_checkpointing, is_recomputing
from vlm_agent.models.loading import LoadedModel
from vlm_agent.training.config import Recompute, TrainConfig
from vlm_agent.training.planning.memory import (
    CARD_SHARE,
    MemoryUse,
    Setting,
    cpu_setting,
    cuda_setting,
    describe_trained,
    estimate_training,
)
from vlm_agent.training.planning.probes import count_passes_at_once
from vlm_agent.training.planning.shapes import ModelShape, shape_of
from vlm_agent.training.planning.work import Work, count_kept_bytes, weigh_work
from vlm_agent.training.processes import find_processes

if TYPE_CHECKING:
    from vlm_agent.training.loop import Material


def find_setting(loaded: LoadedModel, shape: ModelShape) -> Setting:
    """Return how a model that is here runs, recomputing as it does now."""
    if loaded.device.type == "cpu":
        setting = cpu_setting(shape, loaded.quantization)
    else:
        setting = cuda_setting(2 if loaded.mixes else loaded.dtype.itemsize, loaded.quantization)
        setting = replace(setting, keeps_float=loaded.mixes)
    return replace(setting, recomputes=is_recomputing(loaded.model))


def estimate_run(
    loaded: LoadedModel, material: Material, config: TrainConfig, setting: Setting, shape: ModelShape, work: Work
) -> MemoryUse:
    """Return the memory of a run at its peak.

    Args:
        loaded: a model with trainable weights.
        material: what is trained on.
        config: how is trained.
        setting: how the model runs.
        shape: the model's.
        work: the run's.
    """
    count = sum(parameter.numel() for parameter in loaded.model.parameters() if parameter.requires_grad)
    rank = 0 if loaded.peft is None else loaded.peft.peft_config["default"].r
    processes = 1 if loaded.runner is None else find_processes().count
    trained = replace(describe_trained(shape, config, rank, processes), parameters=count)
    pictures = (int((row.ids == loaded.encoder.image_token_id).sum()) for row in material.train)
    kept_bytes = count_kept_bytes(
        work,
        shape,
        picture_tokens=max(pictures, default=0),
        value_bytes=setting.value_bytes,
        cache_bytes=material.features.limit_bytes,
        best=count if loaded.device.type == "cpu" else 0,
    )
    return estimate_training(shape, setting, trained, work.largest, kept_bytes=kept_bytes)


def settle_recomputing(loaded: LoadedModel, material: Material, config: TrainConfig) -> None:
    """Let layers be run again in the backward pass if the settings say so, or a card lacks memory otherwise."""
    # Unsloth was told when it put the adapter in.
    if loaded.library == "hf" and _is_needed(loaded, material, config):
        enable_activation_checkpointing(loaded.model)


def _is_needed(loaded: LoadedModel, material: Material, config: TrainConfig) -> bool:
    if config.recompute != "auto" or loaded.device.type != "cuda":
        return config.recompute == "on"
    shape = shape_of(loaded.family, loaded.model.config)
    at_once = count_passes_at_once(shape.hidden, loaded.device)
    work = weigh_work(material.train, material.validation, material.layout, config, at_once=at_once)
    keeps_all = replace(find_setting(loaded, shape), recomputes=False)
    need = estimate_run(loaded, material, config, keeps_all, shape, work)
    return must_recompute(config.recompute, need.total, _count_card_bytes(loaded.device))


def must_recompute(asked: Recompute, needed_bytes: int, there_bytes: int) -> bool:
    """Tell whether layers are run again, by what a run needs if they are not and what there is on a card."""
    return asked == "on" or (asked == "auto" and needed_bytes > there_bytes)


def _count_card_bytes(device: torch.device) -> int:
    return round(CARD_SHARE * torch.cuda.get_device_properties(device).total_memory)
