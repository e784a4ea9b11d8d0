"""The windows that a plan looks at, chosen as training would choose them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vlm_agent.chat import Recipe
from vlm_agent.dataset.store import Dataset, check_same_spec
from vlm_agent.dataset.windows import Window
from vlm_agent.errors import DataError
from vlm_agent.training.config import PassLayout
from vlm_agent.training.layouts import build_rows, pick_layout
from vlm_agent.training.material import choose_split
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
        return f"{number} of {total} windows were tokenized, all those over pictures drawn by chance (--sample)"


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

    def encode(windows: Sequence[Window], steps: dict[Moment, str]) -> list[Example]:
        return encode_windows(candidate.encoder, windows, recipe, steps, train)

    chosen, steps = choose_split(store, TRAIN_SPLIT, recipe, train)
    if not chosen:
        raise DataError(f"{store.folder}: no windows to train on")
    windows = draw_sample(hide_recent(chosen, train.hide_recent, train.seed), config.sample, config.seed)
    examples = encode(windows, steps)
    rank = candidate.rank or train.lora.rank
    layout = pick_layout(examples, candidate.encoder, train, count_training(candidate.shape, rank))
    validation: list[Example] = []
    if VALIDATION_SPLIT in store.splits and train.evaluation.every_steps:
        unseen, unseen_steps = choose_split(store, VALIDATION_SPLIT, recipe, train)
        validation = encode(spread(unseen, train.evaluation.max_windows), unseen_steps)
    rows = [build_rows(some, candidate.encoder, layout, train) for some in (examples, validation)]
    return Sample(recipe, windows, steps, rows[0], rows[1], layout, len(chosen) / len(windows))
