"""TRL's SFTTrainer over what the benchmark trains on, through the engine of that name (see `training.trl_engine`).

Quicker than it would be alone: the model comes loaded, pictures come decoded and at the right size.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import trl
from _measuring import PeakMemory, Stopwatch
from _shared_windows import Asked

from vlm_agent.chat import Message, Recipe
from vlm_agent.dataset.store import Dataset
from vlm_agent.dataset.windows import Window
from vlm_agent.models.dropout import leave_dropout_to_torch
from vlm_agent.models.loading import LoadedModel
from vlm_agent.training.config import TrainConfig
from vlm_agent.training.optimizers import make_optimizer
from vlm_agent.training.trained import TrainedWeights
from vlm_agent.training.trl_engine import ShownChats, ShownWindows, make_trainer
from vlm_agent.training.windows import AskedWindow, FrameLoader, ask_window

VERSION = trl.__version__


def train_with_trl(
    tuned: LoadedModel, shown: ShownWindows | ShownChats, config: TrainConfig, folder: Path
) -> tuple[list[float], Stopwatch, PeakMemory]:
    """Train; return the loss of every step, the time, and the memory.

    Args:
        tuned: a model with a fresh adapter.
        shown: the windows or conversations; every epoch over them is one optimizer step.
        config: our settings, to be translated.
        folder: where the Trainer may write.
    """
    losses: list[float] = []

    def note(logs: dict[str, float]) -> bool:
        losses.append(float(logs["loss"]))
        return False

    leave_dropout_to_torch(tuned.peft)
    trainer = make_trainer(
        tuned,
        shown,
        config,
        folder,
        num_steps=round(config.epochs),
        optimizer=make_optimizer(config.optimizer, TrainedWeights(tuned).parameters),
        on_step=note,
    )
    with PeakMemory(tuned.device) as memory, Stopwatch() as watch:
        trainer.train()
    return losses, watch, memory


def show_windows(asked: Sequence[Asked], recipe: Recipe) -> ShownWindows:
    """Return windows as TRL takes them, pictures decoded."""
    frames = {key: frame for one in asked for key, frame in zip(one.frame_ids, one.inp.frames, strict=True)}
    windows = [AskedWindow(one.messages(recipe), one.answer, one.frame_ids) for one in asked]
    return ShownWindows(windows, frames.__getitem__)


def show_chats(conversations: Sequence[Sequence[Window]], dataset: Dataset, recipe: Recipe) -> ShownChats:
    """Return conversations as TRL takes them, pictures decoded."""
    load_frame = FrameLoader(dataset.folder, recipe)
    frames = {one.frame_id: load_frame(one.frame_id) for windows in conversations for one in windows}
    chats = []
    for windows in conversations:
        asked = ask_window(windows[-1], recipe, earlier=windows[:-1])
        answer: Message = {"role": "assistant", "content": [{"type": "text", "text": asked.answer}]}
        chats.append(([*asked.messages, answer], asked.frame_ids))
    return ShownChats(chats, frames.__getitem__)
