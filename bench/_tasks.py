"""What the training benchmarks give everyone to train: windows, or conversations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from _shared_windows import Asked
from _trl import show_chats, show_windows

from vlm_agent.chat import Recipe
from vlm_agent.dataset.store import Dataset
from vlm_agent.dataset.windows import Window
from vlm_agent.models.loading import LoadedModel
from vlm_agent.training.config import EvaluationSettings, LoraSettings, PassLayout, TrainConfig
from vlm_agent.training.conversations import build_conversation_rows
from vlm_agent.training.layouts import build_rows
from vlm_agent.training.rows import Row
from vlm_agent.training.trl_engine import ShownChats, ShownWindows

BATCH_WINDOWS = 8
TURNS = 4
"""Of a conversation."""


@dataclass(frozen=True)
class Task:
    """What everyone trains."""

    loaded: LoadedModel
    """The base."""
    dataset: Dataset
    """Where the pictures are."""
    recipe: Recipe
    """How windows are shown."""
    asked: Sequence[Asked]
    """The windows."""
    epochs: int
    """Passes over them."""

    @property
    def num_windows(self) -> int:
        """How many there are."""
        return len(self.asked)

    @property
    def num_pictures(self) -> int:
        """Pictures in all of them."""
        return sum(len(one.frame_ids) for one in self.asked)

    @property
    def config(self) -> TrainConfig:
        """One optimizer step an epoch, no dropout, no evaluation."""
        return TrainConfig(
            lora=LoraSettings(dropout=0.0),
            evaluation=EvaluationSettings(every_steps=0),
            batch_windows=BATCH_WINDOWS,
            accumulation=self.num_windows,
            warmup_fraction=0.0,
            epochs=self.epochs,
            save_every_steps=10_000,
        )

    @property
    def trl_rows(self) -> int:
        """Rows in a pass of TRL's."""
        return BATCH_WINDOWS

    def make_rows(self, loaded: LoadedModel, layout: PassLayout, config: TrainConfig) -> list[Row]:
        """Tokenize everything."""
        examples = [one.encode(loaded.encoder, self.recipe) for one in self.asked]
        return build_rows(examples, loaded.encoder, layout, config)

    def show(self) -> ShownWindows | ShownChats:
        """Return everything as TRL takes it."""
        return show_windows(self.asked, self.recipe)


@dataclass(frozen=True)
class TalkTask(Task):
    """Conversations that everyone trains; `recipe` is one of conversations."""

    conversations: Sequence[Sequence[Window]] = ()
    """Windows that follow one another."""

    @property
    def num_windows(self) -> int:
        """How many there are in all conversations."""
        return sum(map(len, self.conversations))

    @property
    def num_pictures(self) -> int:
        """Pictures in all of them, one a turn."""
        return self.num_windows

    @property
    def config(self) -> TrainConfig:
        """The same settings; nothing is hidden, for TRL hides nothing."""
        return replace(super().config, hide_answers=0.0)

    @property
    def trl_rows(self) -> int:
        """Conversations in a pass of TRL's."""
        return BATCH_WINDOWS // TURNS

    def make_rows(self, loaded: LoadedModel, layout: PassLayout, config: TrainConfig) -> list[Row]:
        """Tokenize everything."""
        learnt = [window for windows in self.conversations for window in windows]
        encoder = loaded.encoder
        return build_conversation_rows(encoder, self.conversations, learnt, self.recipe, config, hides=False)

    def show(self) -> ShownWindows | ShownChats:
        """Return everything as TRL takes it."""
        return show_chats(self.conversations, self.dataset, self.recipe)
