"""Which windows a run learns from and is measured on, and their rows: the same for training, plan and dry run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vlm_agent.chat import Recipe
from vlm_agent.dataset.histories import Histories
from vlm_agent.dataset.store import Dataset
from vlm_agent.dataset.windows import Window
from vlm_agent.errors import DataError
from vlm_agent.models.encoding import ChatEncoder
from vlm_agent.training.config import PassLayout, TrainConfig
from vlm_agent.training.conversations import build_conversation_rows, check_runs, list_conversations
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
from vlm_agent.training.rows import Row
from vlm_agent.training.windows import TRAIN_SPLIT, VALIDATION_SPLIT, AskedWindow, ask_window, encode_windows


@dataclass(frozen=True)
class ChosenSplit:
    """What a run takes of one split."""

    windows: Sequence[Window]
    """To learn from, or to be measured on."""
    steps: Mapping[Moment, str]
    """The steps of their moments."""
    histories: Histories
    """What came before them."""
    conversations: Sequence[Sequence[Window]] = ()
    """Where the recipe asks for it, the conversations that they are shown in, with windows that are only seen."""


@dataclass(frozen=True)
class Chosen:
    """The windows of a run."""

    train: ChosenSplit
    """To learn from."""
    validation: ChosenSplit | None
    """To be measured on, if anything is measured."""

    def ask(self, recipe: Recipe, config: TrainConfig) -> list[AskedWindow]:
        """Return the training windows as chat messages."""
        split, snap = self.train, config.snap_clicks
        return [
            ask_window(
                window, recipe, split.steps.get(moment_of(window)), snap=snap, earlier=split.histories.before(window)
            )
            for window in split.windows
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


def choose_conversations(
    store: Dataset, split: str, recipe: Recipe, config: TrainConfig
) -> tuple[list[list[Window]], list[Window]]:
    """Return the conversations of a split that a run learns from or measures on, and the windows that are learnt.

    Raises:
        DataError: there is nothing to train on, or no two windows to train on follow each other.
    """
    learnt, _ = choose_split(store, split, recipe, config)
    histories = Histories(store.windows(split), recipe)
    conversations = list_conversations(histories, recipe, learnt)
    if split != TRAIN_SPLIT:
        most = config.evaluation.max_windows // recipe.conversation_turns
        return spread(conversations, max(1, most)), learnt
    if not conversations:
        raise DataError(f"{store.folder}: no windows to train on")
    check_runs(histories, recipe)
    return conversations, learnt


def is_measured(store: Dataset, config: TrainConfig) -> bool:
    """Tell whether the loss on unseen sessions is measured in a run."""
    return VALIDATION_SPLIT in store.splits and config.evaluation.every_steps > 0


def choose_material(store: Dataset, recipe: Recipe, config: TrainConfig) -> Chosen:
    """Return the windows of a run.

    Raises:
        DataError: there is nothing to train on, or no two windows of what are to be conversations follow each other.
    """
    train = _choose(store, TRAIN_SPLIT, recipe, config)
    if not train.windows:
        raise DataError(f"{store.folder}: no windows to train on")
    return Chosen(train, _choose(store, VALIDATION_SPLIT, recipe, config) if is_measured(store, config) else None)


def _choose(store: Dataset, split: str, recipe: Recipe, config: TrainConfig) -> ChosenSplit:
    histories = Histories(store.windows(split), recipe)
    if recipe.is_conversation:
        conversations, learnt = choose_conversations(store, split, recipe, config)
        return ChosenSplit(learnt, {}, histories, conversations)
    windows, steps = choose_split(store, split, recipe, config)
    if split == TRAIN_SPLIT:
        return ChosenSplit(hide_recent(windows, config.hide_recent, config.seed), steps, histories)
    return ChosenSplit(spread(windows, config.evaluation.max_windows), steps, histories)


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
    splits = [chosen.train] if chosen.validation is None else [chosen.train, chosen.validation]
    if recipe.is_conversation:
        rows = [
            build_conversation_rows(
                encoder, split.conversations, split.windows, recipe, config, hides=split is chosen.train
            )
            for split in splits
        ]
        return PreparedRows(rows[0], rows[1] if len(rows) > 1 else [], "conversation")
    examples = [
        encode_windows(encoder, split.windows, recipe, split.steps, config, split.histories) for split in splits
    ]
    # TRL pads every window in a row of its own.
    layout = "rows" if config.engine == "trl" else pick_layout(examples[0], encoder, config, flops)
    rows = [build_rows(some, encoder, layout, config) for some in examples]
    return PreparedRows(rows[0], rows[1] if len(rows) > 1 else [], layout)
