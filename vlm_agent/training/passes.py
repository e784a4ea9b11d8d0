"""Forward and backward passes of one step or evaluation, side by side where that is quicker, with the same bits.

The matrices of a small model are too small to be shared by several cores, but the passes of a step don't depend on each
other: each runs in a thread of its own on one core. Losses and gradients are added up in the order of the passes, and
dropout is seeded for each, so the result does not depend on how many ran at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from vlm_agent.models.dropout import dropout_seed
from vlm_agent.models.encoding import IGNORED_LABEL
from vlm_agent.models.forward import apply_head, run_language
from vlm_agent.models.loading import LoadedModel
from vlm_agent.training.batches import collate_rows
from vlm_agent.training.features import FeatureCache
from vlm_agent.training.fields import FIELDS, FieldLoss, join_losses, sum_fields
from vlm_agent.training.number_losses import find_number_losses
from vlm_agent.training.processes import ALONE, Processes
from vlm_agent.training.rows import Row

SMALL_HIDDEN_SIZE = 1024
"""Models up to this width run one pass a core; wider ones share the cores within a pass."""

RunAll = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]
"""Like `map`: applies a function to all items and gives the results in their order."""


@contextmanager
def spread_over_cores(loaded: LoadedModel) -> Iterator[RunAll]:
    """Give a `map` for passes; within the context torch uses one core per pass if the model is small and on a CPU."""
    num_cores = torch.get_num_threads()
    is_small = loaded.model.config.text_config.hidden_size <= SMALL_HIDDEN_SIZE
    if num_cores == 1 or not is_small or loaded.device.type != "cpu":
        yield map
        return
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(num_cores, "pass", initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool.map
    finally:
        torch.set_num_threads(num_cores)


def add_gradients(
    loaded: LoadedModel,
    passes: Sequence[Sequence[Row]],
    features: FeatureCache,
    seed: int,
    run_all: RunAll = map,
    processes: Processes = ALONE,
) -> tuple[float, int]:
    """Add the gradients of a whole step to the trained weights; return (mean loss, target tokens).

    Args:
        loaded: a model with trainable weights, in training mode.
        passes: the rows of each pass, laid out.
        features: gives the pictures' features.
        seed: draws the dropout of the step; each pass gets its own.
        run_all: runs the passes, see `spread_over_cores`.
        processes: share the passes; all end with the same gradients.
    """
    trained = [parameter for parameter in loaded.model.parameters() if parameter.requires_grad]
    num_tokens = sum(row.num_target_tokens for rows in passes for row in rows)
    total_weight = sum(row.total_weight for rows in passes for row in rows)

    def differentiate(index: int) -> tuple[float, tuple[Tensor | None, ...]]:
        with dropout_seed(seed + index):
            loss = sum_losses(loaded, passes[index], features) / total_weight
            return loss.item(), torch.autograd.grad(loss, trained, allow_unused=loaded.sees_anew)

    own = processes.deal(range(len(passes)))
    total = 0.0
    if loaded.library == "unsloth" or loaded.runner is not None:
        total = _run_backwards(loaded, passes, features, seed, total_weight, processes)
    else:
        for loss, gradients in run_all(differentiate, own):
            total += loss
            for parameter, gradient in zip(trained, gradients, strict=True):
                if gradient is not None:  # of the vision tower, in a pass without pictures
                    parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)
    if processes.count > 1 and loaded.runner is None:
        processes.add_up([_gradient_of(parameter) for parameter in trained])
    return processes.sum(total, loaded.device), num_tokens


def _run_backwards(
    loaded: LoadedModel,
    passes: Sequence[Sequence[Row]],
    features: FeatureCache,
    seed: int,
    total_weight: float,
    processes: Processes,
) -> float:
    """Add gradients up in place, one pass after the other: where something else looks on while they come.

    Processes that share the weights must all do as many passes; who has none left does one that counts nothing.
    """
    total = 0.0
    for index, counts in processes.deal_evenly(len(passes)):
        with dropout_seed(seed + index):
            if loaded.library == "unsloth":
                torch.manual_seed(seed + index)  # its dropout is torch's own
            loss = sum_losses(loaded, passes[index], features) * (counts / total_weight)
            loss.backward()
        total += loss.item()
    return total


def _gradient_of(parameter: Tensor) -> Tensor:
    if parameter.grad is None:  # this process had no pass
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad


@dataclass(frozen=True)
class MeasuredLoss:
    """What rows cost a model."""

    mean: float
    """Nats per target token, as the rows weigh their tokens."""
    by_field: Mapping[str, FieldLoss]
    """By what tokens are about; here every token counts once."""


def measure_loss(
    loaded: LoadedModel,
    passes: Sequence[Sequence[Row]],
    features: FeatureCache,
    run_all: RunAll = map,
    processes: Processes = ALONE,
) -> MeasuredLoss:
    """Return the loss over the rows of passes, all of it and by field; dropout is off.

    It is the cross entropy of the true tokens, whatever numbers are trained for: so runs can be compared.
    """
    loaded.model.eval()

    def measure(index: int) -> tuple[float, dict[str, FieldLoss]]:
        rows = passes[index]
        with torch.no_grad():
            losses, weights = find_losses(loaded, rows, features, is_plain=True)
        fields = np.concatenate([row.target_fields for row in rows])
        return (losses * weights).sum().item(), sum_fields(losses.double().cpu().numpy(), fields)

    if loaded.runner is None:
        measured = list(run_all(measure, processes.deal(range(len(passes)))))
    else:
        measured = [
            found for index, counts in processes.deal_evenly(len(passes)) for found in [measure(index)] if counts
        ]
    total = processes.sum(sum(loss for loss, _ in measured), loaded.device)
    mean = total / sum(row.total_weight for rows in passes for row in rows)
    return MeasuredLoss(mean, _join_losses([by_field for _, by_field in measured], loaded, processes))


def _join_losses(
    parts: Sequence[Mapping[str, FieldLoss]], loaded: LoadedModel, processes: Processes
) -> dict[str, FieldLoss]:
    joined = join_losses(parts)
    if processes.count == 1:
        return joined
    # All fields, for another process may have what this one lacks.
    own = [joined.get(part, FieldLoss(0.0, 0)) for part in FIELDS]
    totals = torch.tensor([(loss.nats, loss.num_tokens) for loss in own], dtype=torch.float64, device=loaded.device)
    processes.add_up([totals])
    found = zip(FIELDS, totals.tolist(), strict=True)
    return {str(part): FieldLoss(nats, round(num_tokens)) for part, (nats, num_tokens) in found if num_tokens}


def sum_losses(loaded: LoadedModel, rows: Sequence[Row], features: FeatureCache) -> Tensor:
    """Return the weighted sum of losses over all target tokens of rows, a float32 scalar with gradients."""
    losses, weights = find_losses(loaded, rows, features)
    return (losses * weights).sum()


def find_losses(
    loaded: LoadedModel, rows: Sequence[Row], features: FeatureCache, *, is_plain: bool = False
) -> tuple[Tensor, Tensor]:
    """Return the loss of every target token of rows, row by row, and its weight, each float32 (tokens,).

    Args:
        loaded: the model.
        rows: of one pass.
        features: gives the pictures' features.
        is_plain: whether it is the cross entropy of the true token even where more is asked of a number (see
            `number_losses`).
    """
    find = partial(_find_losses, loaded, rows, features, is_plain=is_plain)
    if loaded.runner is not None:
        found: tuple[Tensor, Tensor] = loaded.runner(find)
        return found
    with torch.autocast(loaded.device.type, torch.bfloat16, enabled=loaded.mixes):
        return find()


def _find_losses(
    loaded: LoadedModel, rows: Sequence[Row], features: FeatureCache, *, is_plain: bool
) -> tuple[Tensor, Tensor]:
    pad_id = loaded.tokenizer.pad_token_id or 0
    batch = collate_rows(rows, pad_id, loaded.device)
    hidden = run_language(
        loaded.model,
        batch.ids,
        batch.positions,
        features.get(batch.image_keys),
        tree=batch.tree,
    )
    is_target = batch.targets != IGNORED_LABEL
    logits = apply_head(loaded.model, hidden[is_target])
    if batch.numbers is None or is_plain:
        losses = cross_entropy(logits, batch.targets[is_target], reduction="none")
    else:
        losses = find_number_losses(logits, batch.numbers)
    return losses, batch.weights[is_target]
