"""Which windows a run learns from and is measured on, and their rows: the same for training, plan and dry run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vlm_agent.chat import Recipe
from vlm_agent.dataset.histories import Histories
from vlm_agent.dataset.store import Dataset
from vlm_agent.dataset.windows import Window
from vlm_agent.errors import ConfigError, DataError
from vlm_agent.models.encoding import ChatEncoder
from vlm_agent.training.config import PassLayout, TrainConfig
from vlm_agent.training.conversations import (
    build_conversation_rows,
    check_conversations,
    check_runs,
    list_conversations,
    spread_turns,
)
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
from vlm_agent.training.planning.work import list_windows
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
    histories: Histories
    """What came before those to learn from."""
    validation_histories: Histories
    """What came before those to be measured on."""

    def ask(self, recipe: Recipe, config: TrainConfig) -> list[AskedWindow]:
        """Return the training windows as conversations."""
        return [
            ask_window(
                window,
                recipe,
                self.steps.get(moment_of(window)),
                snap=config.snap_clicks,
                earlier=self.histories.before(window),
            )
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
        ConfigError: settings and recipe don't go together.
    """
    check_conversations(recipe, config)
    windows, steps = choose_split(store, TRAIN_SPLIT, recipe, config)
    train = hide_recent(windows, config.hide_recent, config.seed)
    if not train:
        raise DataError(f"{store.folder}: no windows to train on")
    histories = Histories(store.windows(TRAIN_SPLIT), recipe)
    if recipe.is_conversation:
        check_runs(histories, recipe)
    if not (VALIDATION_SPLIT in store.splits and config.evaluation.every_steps):
        return Chosen(store.folder, train, steps, [], {}, histories, Histories((), recipe))
    unseen, unseen_steps = choose_split(store, VALIDATION_SPLIT, recipe, config)
    before = Histories(store.windows(VALIDATION_SPLIT), recipe)
    most = config.evaluation.max_windows
    unseen = spread_turns(before, recipe, unseen, most) if recipe.is_conversation else spread(unseen, most)
    return Chosen(store.folder, train, steps, unseen, unseen_steps, histories, before)


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
        ModelError: the model can't be shown conversations.
    """
    if recipe.is_conversation:
        return _prepare_conversations(encoder, chosen, recipe, config)

    def encode(windows: Sequence[Window], steps: Mapping[Moment, str], histories: Histories) -> list[Example]:
        return encode_windows(encoder, windows, recipe, steps, config, histories)

    train = encode(chosen.train, chosen.steps, chosen.histories)
    # TRL pads every window in a row of its own.
    layout = "rows" if config.engine == "trl" else pick_layout(train, encoder, config, flops)
    validation = encode(chosen.validation, chosen.validation_steps, chosen.validation_histories)
    rows = [build_rows(examples, encoder, layout, config) for examples in (train, validation)]
    return PreparedRows(rows[0], rows[1], layout)


def check_context(rows: PreparedRows, context_tokens: int) -> None:
    """Check that every window fits into a model's context; nothing is ever cut off.

    Raises:
        ConfigError: one does not.
    """
    tokens = list_windows([*rows.train, *rows.validation])
    if too_long := sum(number > context_tokens for number in tokens):
        raise ConfigError(
            f"{too_long} of {len(tokens)} windows don't fit into the model's context of {context_tokens} tokens, the"
            f" longest takes {max(tokens)}; lower --recipe.image-max-tokens or --recipe.state-text-max-chars,"
            " or show fewer earlier decisions (`vlm-agent plan` names what is enough)"
        )


def _prepare_conversations(encoder: ChatEncoder, chosen: Chosen, recipe: Recipe, config: TrainConfig) -> PreparedRows:
    def build(histories: Histories, learnt: Sequence[Window], *, hides: bool) -> list[Row]:
        conversations = list_conversations(histories, recipe, learnt)
        return build_conversation_rows(encoder, conversations, learnt, recipe, config, hides=hides)

    train = build(chosen.histories, chosen.train, hides=True)
    validation = build(chosen.validation_histories, chosen.validation, hides=False)
    return PreparedRows(train, validation, "conversation")
