"""Train nano from nothing, in four stages, resumable and reproducible from a seed.

1. `dense`: the vision tower alone learns what is where (see `dense`).
2. `copy`: the language part learns to look a name up in a text and copy its place (see `copying`).
3. `look`: the whole model learns to find by the picture alone what it is asked for (see `looking`).
4. `follow`: the whole model learns to follow single-step instructions on random screens; the game-state text is dropped
   at random, so that it must look. It never sees the long goal or a player's recording.

Every sample is a pure function of (seed, index), so a run needs no data on disk and continues where it stopped.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional
from transformers import AutoTokenizer

from vlm_agent.errors import ModelError
from vlm_agent.files import write_file, write_folder
from vlm_agent.locks import only_writer
from vlm_agent.models.checkpoints import find_checkpoint
from vlm_agent.models.loading import pick_compute_dtype, read_tokenizer
from vlm_agent.terminal import LineColumn, PlainConsole, make_bars
from vlm_agent.training.nano import batches, dense, looking
from vlm_agent.training.nano.build import build_nano, export_nano, make_tokenizer
from vlm_agent.training.nano.clip_labels import ClipBatch
from vlm_agent.training.nano.config import PretrainConfig

log = logging.getLogger(__name__)

DIGIT_WEIGHT = 3.0
"""What a digit of an answer counts in the looking stage; its other tokens are soon known."""
CLIP_WEIGHT = 0.5
"""What naming clips counts beside following instructions; there are few tokens to it."""
ANSWER_WEIGHT, DENSE_WEIGHT = 2.0, 0.5
"""What the answers, and the vision tower's own loss, count there beside those of looking."""


SHOWN = ("loss", "class", "digits", "found")
"""Scores beside the bar: with all of them, 80 columns leave no room for the bar. The log has the others too."""


@dataclass
class Progressed:
    """Where a run stands; saved with every checkpoint."""

    stage: str = "dense"
    """`dense`, `copy`, `look`, `follow` or `finished`."""
    step: int = 0
    """Steps done in the stage."""
    seconds: float = 0.0
    """Wall time spent so far."""


class Run:
    """One pretraining run: model, head, optimizer and their checkpoint."""

    def __init__(self, config: PretrainConfig) -> None:
        torch.set_num_threads(config.threads)
        torch.manual_seed(config.seed)
        self.config = config
        self.progress = Progressed()
        start = None if config.start is None else find_checkpoint(config.start)[1]
        config.out.mkdir(parents=True, exist_ok=True)
        self.tokenizer = self._take_tokenizer(start)
        self.model = build_nano(config.seed, self.tokenizer)
        self.digit_ids = torch.tensor(self.tokenizer.convert_tokens_to_ids(list("0123456789")))
        self.names = batches.thing_names(config.seed)
        width, num_classes = self.model.config.text_config.hidden_size, len(self.names) + 1
        self.head = dense.DenseHead(width, num_classes)
        self.readers = looking.Readers(width, num_classes)
        if start is not None:
            self._take_weights(start)
        self.optimizer = self._make_optimizer()
        self._load()

    def _take_tokenizer(self, start: Path | None) -> Any:
        # Made once for each run: a change of prompts must not change the meaning of ids that are being learnt.
        folder = self.config.out / "tokenizer"
        if not folder.exists():
            made = make_tokenizer(self.config.seed) if start is None else read_tokenizer(start)
            write_folder(folder, made.save_pretrained)
        return AutoTokenizer.from_pretrained(folder)

    def _take_weights(self, start: Path) -> None:
        path, want = start / "model.safetensors", self.model.state_dict()
        if not path.is_file():
            raise ModelError(f"{start}: expected a finished nano, found no {path.name} in it")
        weights = load_file(path)
        wrong = [name for name, tensor in weights.items() if name not in want or want[name].shape != tensor.shape]
        wrong += sorted(want.keys() - weights.keys() - {"lm_head.weight"})
        if wrong:
            raise ModelError(f"{start}: expected the weights of a nano; {len(wrong)} don't fit, the first {wrong[0]}")
        self.model.load_state_dict(weights, strict=False)

    def _make_optimizer(self) -> torch.optim.AdamW:
        vision = list(self.model.model.visual.parameters())
        seen = {id(p) for p in vision}
        rest = [p for p in self.model.parameters() if id(p) not in seen]
        groups = [{"params": vision}, {"params": rest}, {"params": self._read_out()}]
        return torch.optim.AdamW(groups, lr=self.config.learning_rate, betas=(0.9, 0.98), weight_decay=0.01)

    def _read_out(self) -> list[nn.Parameter]:
        return [*self.head.parameters(), *self.readers.parameters()]

    def set_rates(self, step: int, steps: int, vision_factor: float) -> None:
        """Set the learning rates for a step: warm-up over 100 steps, then cosine to a tenth."""
        warm = min(1.0, (step + 1) / 100)
        cosine = 0.1 + 0.45 * (1 + torch.cos(torch.tensor(step / max(steps, 1) * torch.pi)).item())
        rate = self.config.learning_rate * warm * cosine
        for group, factor in zip(self.optimizer.param_groups, (vision_factor, 1.0, 1.0), strict=True):
            group["lr"] = rate * factor

    def update(self, loss: torch.Tensor) -> float:
        """Take one optimizer step; returns the gradient norm before clipping."""
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        parameters = [*self.model.parameters(), *self._read_out()]
        norm = nn.utils.clip_grad_norm_([p for p in parameters if p.grad is not None], 1.0)
        self.optimizer.step()
        return norm.item()

    def save(self) -> None:
        """Write the checkpoint beside the old one, then rename."""
        tensors = {
            f"model.{name}": tensor for name, tensor in self.model.state_dict().items() if name != "lm_head.weight"
        }
        tensors |= {f"head.{name}": tensor for name, tensor in self.head.state_dict().items()}
        tensors |= {f"readers.{name}": tensor for name, tensor in self.readers.state_dict().items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{key}": value for key, value in state.items()}
        tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
        told = {"progress": json.dumps(asdict(self.progress))}
        write_file(self.config.out / "checkpoint.safetensors", lambda beside: save_file(tensors, beside, metadata=told))

    def _load(self) -> None:
        path = self.config.out / "checkpoint.safetensors"
        if not path.exists():
            return
        tensors = load_file(path)
        self.model.load_state_dict(_part(tensors, "model."), strict=False)
        self.head.load_state_dict(_part(tensors, "head."))
        self.readers.load_state_dict(_part(tensors, "readers."))
        state: dict[int, dict[str, torch.Tensor]] = {}
        for name, tensor in _part(tensors, "optimizer.").items():
            index, key = name.split(".", 1)
            state.setdefault(int(index), {})[key] = tensor
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
        self.progress = Progressed(**_read_progress(path))
        log.info("goes on from %s step %d", self.progress.stage, self.progress.step)

    def write_log(self, **values: Any) -> None:
        """Append one line to log.jsonl."""
        line = {**asdict(self.progress), **{k: round(v, 5) if isinstance(v, float) else v for k, v in values.items()}}
        with (self.config.out / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def _part(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _read_progress(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
    return dict(json.loads(header["__metadata__"]["progress"]))


def run(config: PretrainConfig) -> Path:
    """Train nano and export it; returns the folder of the finished checkpoint.

    Raises:
        ModelError: what it starts from is no nano.
        BusyError: another process writes into `config.out`.
    """
    with only_writer(config.out):
        return _pretrain(config)


def _pretrain(config: PretrainConfig) -> Path:
    current = Run(config)
    with make_bars(
        LineColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        LineColumn("{task.fields[note]}"),
        console=PlainConsole(),
        transient=False,
    ) as bar:
        for stage, run_stage, following in STAGES:
            if current.progress.stage == stage:
                run_stage(current, bar)
                current.progress.stage, current.progress.step = following, 0
                current.save()
    return export_nano(current.model, current.tokenizer, config.out / "model")


def _run_dense(current: Run, bar: Progress) -> None:
    config = current.config
    task = bar.add_task("vision", total=config.dense_steps, completed=current.progress.step, note="")
    loader = batches.dense_batches(
        config.seed, current.progress.step, config.dense_steps, config.dense_batch, current.names
    )
    for batch in _timed(current, loader):
        current.set_rates(current.progress.step, config.dense_steps, 1.0)
        with _products():
            tokens = batches.vision_features(current.model, batch.frames).tokens.unflatten(0, (len(batch.frames), -1))
            loss, scores = dense.dense_loss(current.head, tokens, batch.classes, batch.digits)
        current.update(loss)
        _finish_step(current, bar, task, {"loss": loss.item(), **scores})


def _run_copy(current: Run, bar: Progress) -> None:
    config = current.config
    task = bar.add_task("copy", total=config.copy_steps, completed=current.progress.step, note="")
    loader = batches.copy_batches(
        config.seed, current.progress.step, config.copy_steps, config.copy_batch, current.tokenizer
    )
    for batch in _timed(current, loader):
        current.set_rates(current.progress.step, config.copy_steps, 0.0)
        with _products():
            answers = [batches.tree_logits(current.model, part) for part in (batch.echoes, batch.questions)]
        _finish_step(current, bar, task, _learn_answers(current, *answers))


def _run_look(current: Run, bar: Progress) -> None:
    config = current.config
    task = bar.add_task("look", total=config.look_steps, completed=current.progress.step, note="")
    loader = batches.look_batches(
        config.seed, current.progress.step, config.look_steps, config.look_batch, current.tokenizer, current.names
    )
    for batch in _timed(current, loader):
        current.set_rates(current.progress.step, config.look_steps, 1.0)
        with _products():
            loss, scores = _practise_looking(current, batch)
        current.update(loss)
        _finish_step(current, bar, task, {"loss": loss.item(), **scores})


def _practise_looking(current: Run, batch: batches.LookBatch) -> tuple[torch.Tensor, dict[str, float]]:
    """Return the loss of answers and of looking, and their scores."""
    features = batches.vision_features(current.model, batch.frames)
    with looking.watch_attention(current.model) as watched:
        logits, labels = batches.tree_logits(current.model, batch.seen.tree, [features])
    is_digit = torch.isin(labels, current.digit_ids)
    weights = torch.where(is_digit, DIGIT_WEIGHT, 1.0)
    answers = (functional.cross_entropy(logits, labels, reduction="none") * weights).sum() / weights.sum()
    looked, scores = looking.looking_loss(current.model, current.readers, watched, batch.seen)
    tokens = features.tokens.unflatten(0, (len(batch.frames), -1))
    seen, _ = dense.dense_loss(current.head, tokens, batch.seen.classes, batch.seen.digits)
    right = (logits.argmax(-1) == labels)[is_digit].float().sum().item() / max(int(is_digit.sum()), 1)
    return ANSWER_WEIGHT * answers + looked + DENSE_WEIGHT * seen, {"digits": right, **scores}


def _run_follow(current: Run, bar: Progress) -> None:
    config = current.config
    task = bar.add_task("follow", total=config.follow_steps, completed=current.progress.step, note="")
    loader = batches.follow_batches(config, current.progress.step, current.tokenizer, current.names)
    for batch in _timed(current, loader):
        current.set_rates(current.progress.step, config.follow_steps, config.vision_rate_factor)
        with _products():
            answers = [batches.tree_logits(current.model, drill) for drill in batch.drills]
            answers.append(batches.follow_logits(current.model, batch))
            named = _name_clips(current, batch.clips)
            looked, scores = (torch.zeros(()), {}) if batch.look is None else _practise_looking(current, batch.look)
        kept = {name: score for name, score in scores.items() if name in ("found", "placed", "told")}
        learnt = _learn_answers(current, *answers, beside=looked + CLIP_WEIGHT * named)
        _finish_step(current, bar, task, {**learnt, **kept, "clips": named.item()})


def _name_clips(current: Run, clips: ClipBatch | None) -> torch.Tensor:
    """Return the mean loss of a token of the clips' names; 0 of no clips."""
    if clips is None:
        return torch.zeros(())
    features = batches.vision_features(current.model, clips.sheets)
    logits, labels = batches.tree_logits(current.model, clips.tree, [features])
    return functional.cross_entropy(logits, labels)


def _learn_answers(
    current: Run, *answers: tuple[torch.Tensor, torch.Tensor], beside: torch.Tensor | float = 0.0
) -> dict[str, float]:
    """Take a step on (logits, labels) of answer tokens, each pair weighing the same, and on another loss beside them.

    Returns the loss, and the shares of all tokens and of the digits that were right in the last pair.
    """
    loss = torch.stack([functional.cross_entropy(logits, labels) for logits, labels in answers]).sum() + beside
    current.update(loss)
    logits, labels = answers[-1]
    right = (logits.argmax(-1) == labels).float()
    is_digit = torch.isin(labels, current.digit_ids)
    share = right[is_digit].sum().item() / max(int(is_digit.sum()), 1)
    return {"loss": loss.item(), "right": right.mean().item(), "digits": share}


def _products() -> AbstractContextManager[Any]:
    """Multiply in bfloat16 where the CPU is faster at it; to be entered for each step, for it keeps rounded weights."""
    return torch.autocast("cpu", torch.bfloat16, enabled=pick_compute_dtype(torch.device("cpu")) == torch.bfloat16)


def _timed(current: Run, loader: Iterator[Any]) -> Iterator[Any]:
    started = time.monotonic()
    for batch in loader:
        yield batch
        now = time.monotonic()
        current.progress.seconds += now - started
        started = now


def _finish_step(current: Run, bar: Progress, task: Any, scores: dict[str, float]) -> None:
    current.progress.step += 1
    note = " ".join(f"{name} {scores[name]:.2f}" for name in SHOWN if name in scores)
    bar.update(task, completed=current.progress.step, note=note)
    if current.progress.step % 20 == 0:
        current.write_log(**scores)
    if current.progress.step % current.config.save_every_steps == 0:
        current.save()


STAGES = (
    ("dense", _run_dense, "copy"),
    ("copy", _run_copy, "look"),
    ("look", _run_look, "follow"),
    ("follow", _run_follow, "finished"),
)
"""Each stage's name, what it does, and the name of the next."""
