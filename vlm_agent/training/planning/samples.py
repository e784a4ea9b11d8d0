"""The windows that a plan looks at, chosen as training would choose them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vlm_agent.chat import Recipe
from vlm_agent.dataset.store import Dataset, check_same_spec
from vlm_agent.dataset.windows import Window
from vlm_agent.errors import DataError
from vlm_agent.training.adapters import choose_split
from vlm_agent.training.moments import Moment, hide_recent, spread
from vlm_agent.training.planning.candidates import Candidate
from vlm_agent.training.planning.config import PlanConfig
from vlm_agent.training.planning.survey import draw_sample
from vlm_agent.training.rows import Row
from vlm_agent.training.windows import TRAIN_SPLIT, VALIDATION_SPLIT, build_rows, choose_recipe


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

    def build(windows: Sequence[Window], steps: dict[Moment, str]) -> list[Row]:
        return build_rows(candidate.encoder, windows, recipe, train.batch_windows, steps=steps, snap=train.snap_clicks)

    chosen, steps = choose_split(store, TRAIN_SPLIT, recipe, train)
    if not chosen:
        raise DataError(f"{store.folder}: no windows to train on")
    windows = draw_sample(hide_recent(chosen, train.hide_recent, train.seed), config.sample, config.seed)
    validation: list[Row] = []
    if VALIDATION_SPLIT in store.splits and train.evaluation.every_steps:
        unseen, unseen_steps = choose_split(store, VALIDATION_SPLIT, recipe, train)
        validation = build(spread(unseen, train.evaluation.max_windows), unseen_steps)
    return Sample(recipe, windows, steps, build(windows, steps), validation, len(chosen) / len(windows))
