"""Which windows a run learns from and is measured on, and their rows: the same for training, plan and dry run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vlm_agent.chat import Recipe
from vlm_agent.dataset.store import Dataset
from vlm_agent.dataset.windows import Window
from vlm_agent.errors import DataError
from vlm_agent.models.encoding import ChatEncoder
from vlm_agent.training.config import PassLayout, TrainConfig
from vlm_agent.training.flops import TrainingFlops
from vlm_agent.training.layouts import build_rows, pick_layout
from vlm_agent.training.moments import (
    Moment,
    choose_windows,
    draw_sessions,
    find_steps,
    hide_recent,
    moment_of,
    spread,
)
from vlm_agent.training.rows import Example, Row
from vlm_agent.training.windows import TRAIN_SPLIT, VALIDATION_SPLIT, AskedWindow, ask_window, encode_windows


@dataclass(frozen=True)
class Chosen:
    """The windows of a run."""

    folder: Path
    """Of the dataset."""
    train: Sequence[Window]
    """To learn from."""
    steps: Mapping[Moment, str]
    """The steps of their moments."""
    validation: Sequence[Window]
    """To be measured on; may be empty."""
    validation_steps: Mapping[Moment, str]
    """The steps of theirs."""

    def ask(self, recipe: Recipe, config: TrainConfig) -> list[AskedWindow]:
        """Return the training windows as conversations."""
        return [
            ask_window(window, recipe, self.steps.get(moment_of(window)), snap=config.snap_clicks)
            for window in self.train
        ]


@dataclass(frozen=True)
class PreparedRows:
    """A run's rows."""

    train: list[Row]
    """To learn from."""
    validation: list[Row]
    """To be measured on."""
    layout: PassLayout
    """How those of a pass are laid out."""


def choose_split(
    store: Dataset, split: str, recipe: Recipe, config: TrainConfig
) -> tuple[list[Window], dict[Moment, str]]:
    """Return the windows of a split that a run learns from or may measure on, and the steps of their moments."""
    windows = list(store.windows(split))
    if split == TRAIN_SPLIT and config.max_sessions is not None:
        seed = config.seed if config.sessions_seed is None else config.sessions_seed
        windows = draw_sessions(windows, config.max_sessions, seed)
    steps = find_steps(windows, recipe)
    return choose_windows(windows, steps, recipe, config), steps


def choose_material(store: Dataset, recipe: Recipe, config: TrainConfig) -> Chosen:
    """Return the windows of a run.

    Raises:
        DataError: there is nothing to train on.
    """
    windows, steps = choose_split(store, TRAIN_SPLIT, recipe, config)
    train = hide_recent(windows, config.hide_recent, config.seed)
    if not train:
        raise DataError(f"{store.folder}: no windows to train on")
    unseen: Sequence[Window] = []
    unseen_steps: dict[Moment, str] = {}
    if VALIDATION_SPLIT in store.splits and config.evaluation.every_steps:
        windows, unseen_steps = choose_split(store, VALIDATION_SPLIT, recipe, config)
        unseen = spread(windows, config.evaluation.max_windows)
    return Chosen(store.folder, train, steps, unseen, unseen_steps)


def prepare_rows(
    encoder: ChatEncoder, chosen: Chosen, recipe: Recipe, config: TrainConfig, flops: TrainingFlops
) -> PreparedRows:
    """Tokenize windows and lay them out.

    Args:
        encoder: the model's.
        chosen: the windows.
        recipe: how they are shown.
        config: how is trained.
        flops: tells which layout takes the least arithmetic.

    Raises:
        ConfigError: a window alone has more tokens than a pass may have, or the tokenizer merges digits.
    """

    def encode(windows: Sequence[Window], steps: Mapping[Moment, str]) -> list[Example]:
        return encode_windows(encoder, windows, recipe, steps, config)

    train = encode(chosen.train, chosen.steps)
    # TRL pads every window in a row of its own.
    layout = "rows" if config.engine == "trl" else pick_layout(train, encoder, config, flops)
    validation = encode(chosen.validation, chosen.validation_steps)
    rows = [build_rows(examples, encoder, layout, config) for examples in (train, validation)]
    return PreparedRows(rows[0], rows[1], layout)
