"""The training loop: gradient steps over rows, evaluation, checkpoints, early stopping.

The loss of a step is the mean of cross entropies over all its target tokens, weighed as its rows say, however the
tokens fall into passes. A run that was killed goes on from its last checkpoint with the bits it would have had.
This module does not know datasets, recipes or how progress is shown.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn, Protocol

import torch

from vlm_agent.errors import DataError, ModelError
from vlm_agent.models.loading import LoadedModel
from vlm_agent.training.batches import lay_out
from vlm_agent.training.checkpoints import (
    RunState,
    list_checkpoints,
    load_checkpoint,
    prune_checkpoints,
    save_checkpoint,
)
from vlm_agent.training.config import PassLayout, TrainConfig
from vlm_agent.training.curriculum import draw_epoch
from vlm_agent.training.features import FeatureCache
from vlm_agent.training.fields import describe_losses
from vlm_agent.training.metrics import METRICS_FILE, MetricsLog
from vlm_agent.training.optimizers import make_optimizer
from vlm_agent.training.order import count_steps, fill_passes, learning_rate
from vlm_agent.training.passes import MeasuredLoss, RunAll, add_gradients, measure_loss, spread_over_cores
from vlm_agent.training.processes import find_processes
from vlm_agent.training.rows import Row
from vlm_agent.training.trained import TrainedWeights, Weights, as_whole

_NO_MEMORY = ("not enough memory", "can't allocate memory", "out of memory")
"""How torch says on a CPU, in a plain RuntimeError, that memory ran out."""


class Watcher(Protocol):
    """Is told how a run goes on."""

    def on_begin(self, loaded: LoadedModel, material: Material, config: TrainConfig, done_steps: int) -> None:
        """A run begins, or goes on after steps that were done before; nothing of it may be changed."""

    def on_step(self, step: int, num_steps: int, loss: float) -> None:
        """A step is done; `loss` is in nats per target token."""

    def on_evaluation(self, step: int, loss: MeasuredLoss, *, is_best: bool) -> None:
        """The loss on unseen sessions was measured."""


Passes = list[list[Row]]
"""The rows of every pass of one step, as they look in its epoch."""


def look_alike(row: Row, epoch: int) -> Row:
    """Return a row as it looks in an epoch where it looks the same in all."""
    return row


@dataclass(frozen=True)
class Material:
    """What a run trains on."""

    train: Sequence[Row]
    """Rows to learn from."""
    validation: Sequence[Row]
    """Rows of other sessions; may be empty."""
    features: FeatureCache
    """Vision features of all their pictures."""
    layout: PassLayout = "shared"
    """How the rows of a pass are laid out."""
    look: Callable[[Row, int], Row] = look_alike
    """How a row to learn from looks in an epoch (see `augmentation`)."""


@dataclass(frozen=True)
class LoopResult:
    """How a run ended."""

    state: RunState
    """Where it stands."""
    num_steps: int
    """How many steps were planned."""
    weights: Weights
    """The trained ones of the lowest evaluation loss, or the last ones where nothing was measured."""
    last_loss: float
    """Training loss of the last step, nats per target token; NaN if no step was done."""


class TrainingLoop:
    """One run over one folder; see `run`."""

    def __init__(
        self,
        loaded: LoadedModel,
        material: Material,
        config: TrainConfig,
        folder: Path,
        watcher: Watcher,
        keep: Callable[[LoopResult], None] | None = None,
    ) -> None:
        """Take a model with trainable weights, what to train on, and where checkpoints and metrics go.

        `keep` is given the weights as they stand, every so many steps as the settings say, in all processes of a run.
        After a kill it may be given some again, with the same bits.
        """
        self._loaded = loaded
        self._material = material
        self._config = config
        self._folder = folder
        self._watcher = watcher
        self._keep = keep
        self._trained = TrainedWeights(loaded)
        self._optimizer = make_optimizer(config.optimizer, self._trained.parameters)
        self._metrics = MetricsLog(folder / METRICS_FILE)
        self._num_steps = count_steps(material.train, config)
        self._state = RunState()
        self._best: Weights | None = None
        self._last_loss = math.nan
        self._run_all: RunAll = map
        self._processes = find_processes()

    def run(self) -> LoopResult:
        """Train from the newest checkpoint in the folder, or from the start, to the end.

        Raises:
            ModelError: a loss is no longer a number; the last good weights are kept as a checkpoint, and it is named.
            ModelError: there is too little memory; the last good checkpoint is named.
            DataError: nothing more can be written; likewise.
            DataError: the newest checkpoint is damaged.
        """
        self._resume()
        with self._naming_lack_of_memory():
            if not self._state.has_stopped:
                self._watcher.on_begin(self._loaded, self._material, self._config, self._state.step)
            with spread_over_cores(self._loaded) as self._run_all:
                self._run_steps()
        weights = self._best if self._best is not None else self._trained.read()
        return self._result(weights)

    def _result(self, weights: Weights) -> LoopResult:
        return LoopResult(self._state, self._num_steps, weights, self._last_loss)

    def _run_steps(self) -> None:
        if self._state.step == 0:
            self._evaluate()
        for step, following in _look_ahead(self._remaining_steps()):
            self._expect_pictures(step, following)
            self._train_step(step)
            self._end_step()
            if self._state.has_stopped:
                break

    def _end_step(self) -> None:
        """Measure, keep and save what is due after a step of the optimizer."""
        self._state = replace(self._state, step=self._state.step + 1)
        is_last = self._state.step == self._num_steps
        if self._is_due(self._config.evaluation.every_steps) or (is_last and self._config.evaluation.every_steps):
            self._evaluate()
        if self._keep is not None and self._is_due(self._config.keep_adapters_every_steps or 0):
            with self._naming_full_disk():
                self._keep(self._result(self._trained.read()))
        if is_last or self._state.has_stopped or self._is_due(self._config.save_every_steps):
            self._save()

    def _resume(self) -> None:
        checkpoints = list_checkpoints(self._checkpoints)
        if checkpoints:
            self._state, self._best = load_checkpoint(checkpoints[-1], self._trained, self._optimizer)
        if self._processes.is_first:
            prune_checkpoints(self._checkpoints)
            self._metrics.rewind(self._state.step if checkpoints else -1)

    @property
    def _checkpoints(self) -> Path:
        return self._folder / "checkpoints"

    def _remaining_steps(self) -> Iterator[Passes]:
        done = 0
        for epoch in range(math.ceil(self._config.epochs)):
            if self._state.has_stopped or done >= self._num_steps:
                return
            for step in draw_epoch(self._material.train, self._config, epoch):
                if self._state.step <= done < self._num_steps:
                    yield [[self._material.look(self._material.train[i], epoch) for i in rows] for rows in step]
                done += 1

    def _expect_pictures(self, *steps: Passes) -> None:
        passes = (rows for step in steps for rows in self._processes.deal(step))
        self._material.features.expect(key for rows in passes for row in rows for key in row.image_keys)

    def _is_due(self, every: int) -> bool:
        return every > 0 and self._state.step % every == 0

    def _train_step(self, step: Passes) -> None:
        started = time.perf_counter()
        rate = learning_rate(self._state.step, self._num_steps, self._config)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._loaded.model.train()
        self._optimizer.zero_grad(set_to_none=True)
        passes = self._lay_out(step)
        loss, num_tokens = add_gradients(
            self._loaded, passes, self._material.features, self._dropout_seed(), self._run_all, self._processes
        )
        norm = float(as_whole(torch.nn.utils.clip_grad_norm_(self._trained.parameters, self._config.max_grad_norm)))
        self._check_finite(loss, norm)
        self._optimizer.step()
        self._last_loss = loss
        self._write_down(
            step=self._state.step + 1,
            loss=loss,
            grad_norm=norm,
            learning_rate=rate,
            target_tokens=num_tokens,
            windows=sum(row.num_windows for rows in passes for row in rows),
            seconds=round(time.perf_counter() - started, 4),
        )
        self._watcher.on_step(self._state.step + 1, self._num_steps, loss)

    def _check_finite(self, loss: float, norm: float) -> None:
        if not (math.isfinite(loss) and math.isfinite(norm)):
            self._give_up(
                self._state.step + 1, f"loss {loss}, gradient norm {norm}", is_good=self._trained.are_finite()
            )

    def _lay_out(self, passes: Passes) -> Passes:
        return [lay_out(rows, self._material.layout) for rows in passes]

    def _dropout_seed(self) -> int:
        # A function of seed and step alone: a resumed run needs no stored random state. Passes count up from it.
        return (self._config.seed * 1_000_003 + self._state.step) * self._config.accumulation

    @contextmanager
    def _naming_lack_of_memory(self) -> Iterator[None]:
        try:
            yield
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if type(error) is RuntimeError and not any(words in str(error) for words in _NO_MEMORY):
                raise
            raise ModelError(
                f"too little memory for step {self._state.step + 1}; {self._tell_kept(self._find_newest())};"
                " try --train.batch-windows 1 or fewer --recipe.image-max-tokens, with another --out;"
                " `vlm-agent plan` tells what each takes"
            ) from error

    def _find_newest(self) -> Path | None:
        return next(iter(list_checkpoints(self._checkpoints)[::-1]), None)

    def _tell_kept(self, place: Path | None) -> str:
        return "there is no good checkpoint yet" if place is None else f"the last good weights are in {place}"

    @contextmanager
    def _naming_full_disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DataError(
                f"{self._folder}: step {self._state.step} can't be written down ({error.strerror or error});"
                f" {self._tell_kept(self._find_newest())}; make room and give the same command to go on"
            ) from error

    def _give_up(self, step: int, found: str, *, is_good: bool) -> NoReturn:
        """Stop the run; weights that are still good are saved, others must not become the newest checkpoint."""
        kept = self._tell_kept(self._save() if is_good else self._find_newest())
        raise ModelError(
            f"training lost its footing at step {step} ({found}); {kept};"
            " try a lower --train.learning-rate, with another --out"
        )

    def _write_down(self, **values: Any) -> None:
        if self._processes.is_first:
            with self._naming_full_disk():
                self._metrics.append(**values)

    def _save(self) -> Path:
        with self._naming_full_disk():
            return save_checkpoint(
                self._checkpoints,
                self._state,
                self._trained,
                self._optimizer,
                self._best,
                is_writer=self._processes.is_first,
            )

    def _evaluate(self) -> None:
        settings = self._config.evaluation
        if not self._material.validation or not settings.every_steps:
            return
        rows = self._material.validation
        by_length = sorted(range(len(rows)), key=lambda index: len(rows[index].ids))
        filled = fill_passes(by_length, rows, self._config)
        passes = self._lay_out([[rows[index] for index in indices] for indices in filled])
        measured = measure_loss(self._loaded, passes, self._material.features, self._run_all, self._processes)
        loss, step, best = measured.mean, self._state.step, self._state.best_loss
        if not math.isfinite(loss):
            self._give_up(step, f"loss {loss} on unseen sessions", is_good=False)
        self._write_down(step=step, eval_loss=loss, eval_loss_by_field=describe_losses(measured.by_field))
        # The untrained start is measured to be compared with, never taken as the result.
        is_best = step > 0 and (best is None or loss < best)
        if is_best:
            self._best = self._trained.read()
            self._state = replace(self._state, best_step=step, best_loss=loss, evals_since_best=0)
        elif step > 0:
            waited = self._state.evals_since_best + 1
            has_stopped = 0 < settings.patience <= waited
            self._state = replace(self._state, evals_since_best=waited, has_stopped=has_stopped)
        self._watcher.on_evaluation(step, measured, is_best=is_best)


def _look_ahead(steps: Iterator[Passes]) -> Iterator[tuple[Passes, Passes]]:
    """Yield every step with the one that follows; nothing follows the last."""
    step = next(steps, None)
    while step is not None:
        following = next(steps, None)
        yield step, following or []
        step = following
