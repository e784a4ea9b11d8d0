"""The windows that a plan looks at, chosen as training would choose them."""

from __future__ import annotations

from dataclasses import dataclass

from vlm_agent.chat import Recipe
from vlm_agent.dataset.histories import Histories
from vlm_agent.dataset.store import Dataset, check_same_spec
from vlm_agent.dataset.windows import Window
from vlm_agent.errors import DataError
from vlm_agent.training.config import PassLayout
from vlm_agent.training.conversations import build_conversation_rows, check_conversations
from vlm_agent.training.layouts import build_rows, pick_layout
from vlm_agent.training.material import choose_conversations, choose_split, is_measured
from vlm_agent.training.moments import Moment, hide_recent, spread
from vlm_agent.training.planning.candidates import Candidate
from vlm_agent.training.planning.config import PlanConfig
from vlm_agent.training.planning.speed import count_training
from vlm_agent.training.planning.survey import draw_sample
from vlm_agent.training.rows import Example, Row
from vlm_agent.training.windows import TRAIN_SPLIT, VALIDATION_SPLIT, choose_recipe, encode_windows


@dataclass(frozen=True)
class Sample:
    """What a plan looks at."""

    recipe: Recipe
    """How windows are shown."""
    windows: list[Window]
    """Some of those that would be trained on, or all."""
    histories: Histories
    """What came before them."""
    steps: dict[Moment, str]
    """The steps of moments that have one."""
    rows: list[Row]
    """The windows as rows."""
    validation: list[Row]
    """Rows that would be evaluated on, all of them."""
    layout: PassLayout
    """How they would be laid out."""
    scale: float
    """Windows trained on for each of the sample."""

    def describe(self) -> str:
        """Return how much was looked at, in words."""
        total, number = round(len(self.windows) * self.scale), len(self.windows)
        if self.scale == 1:
            return f"all {total} windows were tokenized"
        how = "all those over pictures drawn by chance"
        if self.recipe.is_conversation:
            how = "those of conversations spread evenly"
        return f"{number} of {total} windows were tokenized, {how} (--sample)"


def take_sample(store: Dataset, candidate: Candidate, config: PlanConfig) -> Sample:
    """Return the sample of a plan.

    Raises:
        DataError: there is nothing to train on, or the model's adapter was made for another action spec.
        ConfigError: the tokenizer does not write every digit as a token of its own.
    """
    recipe, train = candidate.recipe, config.train
    if recipe is None:
        recipe = choose_recipe(candidate, store, config.recipe)
    else:
        check_same_spec(store.spec, recipe.spec, store.folder)

    check_conversations(recipe, train)
    take = _take_conversations if recipe.is_conversation else _take_windows
    return take(store, candidate, recipe, config)


def _take_windows(store: Dataset, candidate: Candidate, recipe: Recipe, config: PlanConfig) -> Sample:
    train = config.train
    histories = Histories(store.windows(TRAIN_SPLIT), recipe)
    chosen, steps = choose_split(store, TRAIN_SPLIT, recipe, train)
    if not chosen:
        raise DataError(f"{store.folder}: no windows to train on")
    windows = draw_sample(hide_recent(chosen, train.hide_recent, train.seed), config.sample, config.seed)
    examples = encode_windows(candidate.encoder, windows, recipe, steps, train, histories)
    rank = candidate.rank or train.lora.rank
    layout = pick_layout(examples, candidate.encoder, train, count_training(candidate.shape, rank))
    validation: list[Example] = []
    if is_measured(store, train):
        unseen, unseen_steps = choose_split(store, VALIDATION_SPLIT, recipe, train)
        before = Histories(store.windows(VALIDATION_SPLIT), recipe)
        measured = spread(unseen, train.evaluation.max_windows)
        validation = encode_windows(candidate.encoder, measured, recipe, unseen_steps, train, before)
    rows = [build_rows(some, candidate.encoder, layout, train) for some in (examples, validation)]
    return Sample(recipe, windows, histories, steps, rows[0], rows[1], layout, len(chosen) / len(windows))


def _take_conversations(store: Dataset, candidate: Candidate, recipe: Recipe, config: PlanConfig) -> Sample:
    train, encoder = config.train, candidate.encoder
    every, chosen = choose_conversations(store, TRAIN_SPLIT, recipe, train)
    drawn = spread(every, max(1, config.sample // recipe.conversation_turns))
    rows = build_conversation_rows(encoder, drawn, chosen, recipe, train, hides=True)
    validation: list[Row] = []
    if is_measured(store, train):
        measured, unseen = choose_conversations(store, VALIDATION_SPLIT, recipe, train)
        validation = build_conversation_rows(encoder, measured, unseen, recipe, train, hides=False)
    wanted = {window.window_id for window in chosen}
    windows = [window for some in drawn for window in some if window.window_id in wanted]
    histories = Histories(store.windows(TRAIN_SPLIT), recipe)
    return Sample(recipe, windows, histories, {}, rows, validation, "conversation", len(chosen) / len(windows))
