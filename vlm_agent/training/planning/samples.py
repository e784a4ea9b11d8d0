"""The windows that a plan looks at, chosen as training would choose them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from vlm_agent.chat import Recipe
from vlm_agent.dataset.histories import Histories
from vlm_agent.dataset.store import Dataset
from vlm_agent.dataset.windows import Window
from vlm_agent.training.config import PassLayout
from vlm_agent.training.conversations import spread_turns
from vlm_agent.training.flops import count_training
from vlm_agent.training.material import choose_material, prepare_rows
from vlm_agent.training.moments import Moment
from vlm_agent.training.planning.candidates import Candidate
from vlm_agent.training.planning.config import PlanConfig
from vlm_agent.training.planning.survey import draw_sample
from vlm_agent.training.rows import Row
from vlm_agent.training.windows import settle_recipe


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
    recipe = settle_recipe(candidate.recipe, candidate, store, config.recipe)
    train = config.train
    chosen = choose_material(store, recipe, train)
    if recipe.is_conversation:
        windows = spread_turns(chosen.histories, recipe, chosen.train, config.sample)
    else:
        windows = draw_sample(chosen.train, config.sample, config.seed)
    flops = count_training(candidate.shape, candidate.rank or train.lora.rank, full=train.full)
    rows = prepare_rows(candidate.encoder, replace(chosen, train=windows), recipe, train, flops)
    scale = len(chosen.train) / len(windows)
    steps = dict(chosen.steps)
    return Sample(recipe, windows, chosen.histories, steps, rows.train, rows.validation, rows.layout, scale)
