"""Several processes on one run: the passes of a step are dealt out to them, losses and gradients added up.

Every process plans every step (see `order`), so it knows what all of them weigh together without asking, and each of
its passes counts as much as it would in one process. Started by `torchrun`; without it there is one process.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, distributed

Item = TypeVar("Item")


@dataclass(frozen=True)
class Processes:
    """How many work on the run, and which of them this is."""

    rank: int = 0
    """Counted from 0; the first one writes."""
    count: int = 1
    """All of them."""

    @property
    def is_first(self) -> bool:
        """Whether this one writes files and shows progress."""
        return self.rank == 0

    def deal(self, items: Sequence[Item]) -> Sequence[Item]:
        """Return this process's share of items."""
        return items[self.rank :: self.count]

    def deal_evenly(self, count: int) -> list[tuple[int, int]]:
        """Return the numbers of this process's share of so many items, each with 1, or 0 where it only fills up.

        Every process gets as many, as it must where they work on each one together.
        """
        most = -(-count // self.count)
        numbers = [self.rank + self.count * turn for turn in range(most)]
        return [(number, 1) if number < count else (number % count, 0) for number in numbers]

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Put into tensors of one dtype and device, in place, the sums over all processes."""
        if self.count == 1:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        distributed.all_reduce(flat)
        for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))

    def sum(self, value: float, device: torch.device) -> float:
        """Return the sum of every process's value."""
        if self.count == 1:
            return value
        total = torch.tensor(value, dtype=torch.float64, device=device)
        distributed.all_reduce(total)
        return float(total)


ALONE = Processes()
"""One process."""


def find_processes() -> Processes:
    """Return what was joined (see `join_processes`), else the one process there is."""
    if not distributed.is_initialized():
        return ALONE
    return Processes(distributed.get_rank(), distributed.get_world_size())


@contextmanager
def join_processes(device: str) -> Iterator[tuple[Processes, str]]:
    """Join the processes that `torchrun` started, if it did; give them and this one's device.

    Args:
        device: as the user asked; `auto` and `cuda` become a card for each process.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield ALONE, device
        return
    on_cards = device in ("auto", "cuda") and torch.cuda.is_available()
    distributed.init_process_group("nccl" if on_cards else "gloo")
    try:
        yield find_processes(), f"cuda:{os.environ['LOCAL_RANK']}" if on_cards else device
    finally:
        distributed.destroy_process_group()
