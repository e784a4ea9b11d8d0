"""A start by many processes, tried without training: who is there, what each would do, and whether all see the same."""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any

import torch
from torch import distributed

from vlm_agent.dataset.store import open_dataset
from vlm_agent.errors import ConfigError
from vlm_agent.training.command import TrainArgs
from vlm_agent.training.config import EngineName
from vlm_agent.training.differences import find_differences
from vlm_agent.training.flops import count_training
from vlm_agent.training.material import check_context, choose_material, prepare_rows
from vlm_agent.training.order import count_steps, plan_epoch
from vlm_agent.training.planning.candidates import read_candidate
from vlm_agent.training.processes import Processes
from vlm_agent.training.runs import read_versions
from vlm_agent.training.trl_engine import check_settings
from vlm_agent.training.windows import settle_recipe


@dataclass(frozen=True)
class Seen:
    """What one process sees; what `must_agree` holds has to be the same for all."""

    host: str
    """Its machine."""
    device: str
    """Where it would run."""
    must_agree: dict[str, Any]
    """Dataset, model, settings and versions."""
    work: str
    """What it would do, in words."""


def look(args: TrainArgs, processes: Processes, device: str, engine: EngineName) -> Seen:
    """Return what this process sees; reads the dataset and the model's description, and no weights.

    Raises:
        DataError: there is no usable dataset, or it is of another action spec than the model.
        ModelError: there is no such model.
        ConfigError: the settings don't go together or don't suit the model, the tokenizer merges digits, or a window is
            too long for a pass.
    """
    store = open_dataset(args.dataset)
    candidate = read_candidate(args.model, args.quantization)
    if engine == "trl":
        check_settings(args.train, torch.device(device), candidate.encoder.template)
    args.train.check_base(candidate.quantization, has_adapter=candidate.rank is not None)
    recipe = settle_recipe(candidate.recipe, candidate, store, args.recipe)
    chosen = choose_material(store, recipe, args.train)
    flops = count_training(candidate.shape, candidate.rank or args.train.lora.rank, full=args.train.full)
    prepared = prepare_rows(candidate.encoder, chosen, recipe, args.train, flops)
    check_context(prepared, candidate.shape.context_tokens)
    passes = [len(processes.deal(step)) for step in plan_epoch(prepared.train, args.train, 0)]
    windows = sum(row.num_windows for row in prepared.train)
    work = (
        f"{min(passes)} to {max(passes)} of the passes of each of {count_steps(prepared.train, args.train)} steps,"
        f" {windows} windows an epoch among all, layout {prepared.layout}, engine {engine}"
    )
    tokens = sha256(b"".join(row.ids.tobytes() for row in (*prepared.train, *prepared.validation)))
    agreed = {
        "dataset": store.manifest.sha256,
        "tokens": tokens.hexdigest(),
        "model": args.model,
        "quantization": args.quantization,
        "engine": engine,
        "recipe": recipe.to_json(),
        "train": asdict(args.train),
        "out": str(args.out.resolve()),
        "versions": read_versions(),
    }
    return Seen(socket.gethostname(), device, json.loads(json.dumps(agreed)), work)


def gather(seen: Seen, processes: Processes) -> list[Seen]:
    """Return what every process sees, by rank."""
    if processes.count == 1:
        return [seen]
    found: list[Any] = [None] * processes.count
    distributed.all_gather_object(found, seen)
    return found


def describe(found: Sequence[Seen]) -> list[str]:
    """Return the dry run in lines.

    Raises:
        ConfigError: a process sees something else than the first; it and what differs are named.
    """
    for rank, seen in enumerate(found):
        differing = find_differences(found[0].must_agree, seen.must_agree)
        if differing:
            raise ConfigError(
                f"process {rank} on {seen.host} sees something else than process 0 on {found[0].host}"
                f" ({', '.join(differing)}); give all the same dataset, model, settings and versions"
            )
    hosts = len({seen.host for seen in found})
    there = f"{len(found)} process{'es' * (len(found) > 1)} on {hosts} machine{'s' * (hosts > 1)}"
    head = f"{there}, all see the same dataset and settings"
    return [head, *(f"process {rank} on {seen.host}, {seen.device}: {seen.work}" for rank, seen in enumerate(found))]
