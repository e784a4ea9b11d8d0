"""Short measurements with the real model: the time of training steps, and memory. They change no weight and no file."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from vlm_agent.models.dropout import dropout_seed
from vlm_agent.models.loading import LoadedModel
from vlm_agent.training.batches import count_tokens, lay_out
from vlm_agent.training.config import TrainConfig
from vlm_agent.training.features import FeatureCache
from vlm_agent.training.loop import Material
from vlm_agent.training.order import plan_epoch
from vlm_agent.training.passes import SMALL_HIDDEN_SIZE, add_gradients, spread_over_cores
from vlm_agent.training.rows import Row

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_CLEAR_PEAK = "5"


@dataclass(frozen=True)
class StepTiming:
    """What training takes here."""

    num_steps: int
    """Steps that were timed, or parts of steps."""
    token_s: float
    """Seconds for each padded token of a pass, its picture not counted."""
    picture_s: float
    """Seconds for the features of one picture."""


def count_passes_at_once(hidden: int, device: torch.device) -> int:
    """Return how many passes of a step of a model of that width run side by side (see `passes.spread_over_cores`)."""
    return torch.get_num_threads() if hidden <= SMALL_HIDDEN_SIZE and device.type == "cpu" else 1


def time_steps(
    loaded: LoadedModel,
    material: Material,
    config: TrainConfig,
    *,
    most_steps: int,
    most_s: float,
    passes_a_step: int | None = None,
) -> StepTiming:
    """Do training steps without changing a weight, the one with the largest pass first, and return what they take.

    The first is done twice: once to warm up, which is not counted.

    Args:
        loaded: a model with a trainable adapter.
        material: what is trained on; features that are computed stay in it.
        config: gives batches and their order.
        most_steps: stop after so many.
        most_s: or after so many seconds.
        passes_a_step: do only the first passes of each step; none does all.
    """
    trained = [parameter for parameter in loaded.model.parameters() if parameter.requires_grad]
    # A rate of 0: the optimizer does all its work and moves nothing.
    optimizer = torch.optim.AdamW(trained, lr=0.0, weight_decay=0.0)
    loaded.model.train()
    rows, features = material.train, material.features
    tokens = pictures = 0
    token_s = picture_s = 0.0
    began = time.perf_counter()
    num_steps = 0
    with spread_over_cores(loaded) as run_all:
        for step in _largest_first(rows, config)[: most_steps + 1]:
            passes = [lay_out([rows[index] for index in indices], material.layout) for indices in step[:passes_a_step]]
            keys = sorted({key for in_pass in passes for row in in_pass for key in row.image_keys})
            started = _now(loaded)
            list(run_all(partial(_look, features), keys))
            seen = _now(loaded)
            add_gradients(loaded, passes, features, 0, run_all)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if num_steps:
                token_s, picture_s = token_s + _now(loaded) - seen, picture_s + seen - started
                tokens += sum(map(count_tokens, passes))
                pictures += len(keys)
            num_steps += 1
            if num_steps > 1 and time.perf_counter() - began > most_s:
                break
    return StepTiming(num_steps - 1, token_s / tokens, picture_s / pictures if pictures else 0.0)


def _look(features: FeatureCache, key: str) -> None:
    with dropout_seed(0):  # a tower that is trained drops values
        features.get([key])


def _largest_first(rows: Sequence[Row], config: TrainConfig) -> list[list[list[int]]]:
    steps = plan_epoch(rows, config, 0)

    def size(step: list[list[int]]) -> int:
        return max(count_tokens([rows[index] for index in indices]) for indices in step)

    largest = max(range(len(steps)), key=lambda index: size(steps[index]))
    others = [step for index, step in enumerate(steps) if index != largest]
    return [steps[largest], steps[largest], *others]


def _now(loaded: LoadedModel) -> float:
    if loaded.device.type == "cuda":
        torch.cuda.synchronize(loaded.device)
    return time.perf_counter()


class PeakMemory:
    """How much more memory is taken at the peak than when it was made; of a card, or of this process."""

    def __init__(self, device: torch.device) -> None:
        """Begin to watch."""
        self._device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            self._before = torch.cuda.memory_allocated(device)
            return
        with suppress(OSError):
            _CLEAR.write_text(_CLEAR_PEAK)
        self._before = _read_status("VmRSS")

    @property
    def grown_bytes(self) -> int | None:
        """So much at the peak since then; none where the system does not tell."""
        if self._device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self._device) - self._before)
        peak = _read_status("VmHWM")
        return peak - self._before if peak else None


def count_machine_bytes() -> int:
    """Return the memory of this machine, or what a container may use of it."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for place in (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")):
        with suppress(OSError):
            text = place.read_text().strip()
            total = min(total, int(text)) if text.isdigit() else total
    return total


def _read_status(name: str) -> int:
    with suppress(OSError):
        for line in _STATUS.read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    return 0
