"""Other settings that a plan tries, in the order in which one would rather have them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from vlm_agent.chat import Recipe
from vlm_agent.dataset.store import Dataset
from vlm_agent.training.planning.candidates import Candidate
from vlm_agent.training.planning.config import PlanConfig
from vlm_agent.training.planning.memory import Setting
from vlm_agent.training.planning.plan import (
    PICTURE_SHARES,
    Outcome,
    Planner,
    resize_work,
    shrink_pictures,
    split_passes,
)
from vlm_agent.training.planning.samples import Sample, take_sample
from vlm_agent.training.planning.survey import Survey, survey_windows
from vlm_agent.training.planning.work import Work, weigh_work
from vlm_agent.training.windows import choose_recipe


@dataclass(frozen=True)
class Shown:
    """What is planned: windows under one recipe, and the work of a run on them."""

    sample: Sample
    """The windows."""
    recipe: Recipe
    """How they are shown."""
    survey: Survey
    """Their tokens."""
    work: Work
    """The run's."""
    flags: str = ""
    """What was changed for it."""


@dataclass(frozen=True)
class Proposals:
    """Tries settings for one model in one place."""

    planner: Planner
    """Weighs them."""
    candidate: Candidate
    """The model."""
    config: PlanConfig
    """What was asked for."""
    store: Dataset
    """Where windows are."""
    at_once: int
    """Passes that run side by side."""
    setting: Setting
    """How the model runs."""

    def try_all(self, sample: Sample, survey: Survey, work: Work) -> Iterator[Outcome]:
        """Give the settings as they are, then others."""
        given = Shown(sample, sample.recipe, survey, work)
        yield self._weigh(given, "")
        yield from self._train_otherwise(given)
        if self.config.train.batch_windows > 1 and not given.recipe.is_conversation:
            yield self._weigh(replace(given, work=split_passes(work)), "--train.batch-windows 1")
        if given.recipe.codec != "line":
            yield self._weigh(self._show(given, replace(given.recipe, codec="line")), "--recipe.codec line")
        ticks = given.recipe.history_ticks
        for fewer in sorted({ticks // 2, 0} - {ticks}, reverse=True) if not given.recipe.is_conversation else ():
            shown = self._show(given, replace(given.recipe, history_ticks=fewer))
            yield self._weigh(shown, f"--recipe.history-ticks {fewer}")
        least = given
        for least in self._shorten(sample):
            yield self._weigh(least, least.flags)
        for smaller in self._list_pictures(given.recipe):
            yield self._weigh(_shrink(given, smaller), f"--recipe.image-max-tokens {smaller}", smaller)
        yield self._weigh_leanest(least)

    def _weigh(self, shown: Shown, change: str, picture_tokens: int | None = None) -> Outcome:
        tokens = count_picture(self.candidate, shown.recipe) if picture_tokens is None else picture_tokens
        return self.planner.weigh(shown.survey, shown.work, picture_tokens=tokens, change=change)

    def _train_otherwise(self, given: Shown) -> Iterator[Outcome]:
        """Give what spares memory of weights that are trained themselves: small averages, and an adapter."""
        train, tokens = self.config.train, count_picture(self.candidate, given.recipe)
        if not train.full:
            return
        if train.optimizer == "adamw":
            planner = self.planner.changed(replace(train, optimizer="adamw-8bit"), 0, self.setting)
            change = "--train.optimizer adamw-8bit"
            yield planner.weigh(given.survey, given.work, picture_tokens=tokens, change=change)
        planner = self.planner.changed(
            replace(train, full=False), train.lora.rank, replace(self.setting, keeps_float=False)
        )
        yield planner.weigh(given.survey, given.work, picture_tokens=tokens, change="an adapter, without --train.full")

    def _show(self, given: Shown, recipe: Recipe) -> Shown:
        """Return the same windows told otherwise: as many passes, longer or shorter ones."""
        after = look(self.candidate, given.sample, recipe, self.config)
        return replace(given, recipe=recipe, survey=after, work=resize_work(given.work, given.survey, after))

    def _shorten(self, sample: Sample) -> Iterator[Shown]:
        """Give fewer pictures of history, or fewer turns: other windows come together then, so all is laid out anew."""
        recipe, known = sample.recipe, self.config.recipe
        frames, turns = recipe.history_frames, recipe.conversation_turns
        for fewer in sorted({max(1, frames // 2), 1} - {frames}, reverse=True):
            yield self._lay_out(replace(recipe, history_frames=fewer), f"--recipe.history-frames {fewer}")
        for fewer in sorted({turns // 2, 2} - {turns, 1, 0}, reverse=True) if turns > 2 else ():
            yield self._lay_out(replace(recipe, conversation_turns=fewer), f"--recipe.conversation-turns {fewer}")
        train = self.config.train
        asks_turns = train.hide_answers is not None or train.layout == "conversation"
        if recipe.is_conversation and self.candidate.recipe is None and not asks_turns:
            single = choose_recipe(self.candidate, self.store, replace(known, conversation_turns=1))
            yield self._lay_out(single, "--recipe.conversation-turns 1")

    def _lay_out(self, recipe: Recipe, flags: str) -> Shown:
        sample = take_sample(self.store, replace(self.candidate, recipe=recipe), self.config)
        survey = look(self.candidate, sample, recipe, self.config)
        work = weigh_work(
            sample.rows,
            sample.validation,
            sample.layout,
            self.config.train,
            at_once=self.at_once,
            scale=sample.scale,
        )
        return Shown(sample, recipe, survey, work, flags)

    def _weigh_leanest(self, least: Shown) -> Outcome:
        """Return what all of it together takes."""
        recipe, flags = replace(least.recipe, codec="line"), [least.flags] * bool(least.flags) + ["--recipe.codec line"]
        if not recipe.is_conversation:
            recipe, flags = replace(recipe, history_ticks=0), [*flags, "--recipe.history-ticks 0"]
        shown, tokens = self._show(least, recipe), count_picture(self.candidate, recipe)
        tokens = min([tokens, *self._list_pictures(recipe)])
        shown, flags = _shrink(shown, tokens), [*flags, f"--recipe.image-max-tokens {tokens}"]
        if not recipe.is_conversation:
            shown, flags = replace(shown, work=split_passes(shown.work)), [*flags, "--train.batch-windows 1"]
        return self._weigh(shown, " ".join(flags), tokens)

    def _list_pictures(self, recipe: Recipe) -> list[int]:
        """Return tokens of smaller pictures that a frame of this shape can be brought to, largest first."""
        images, tokens = self.candidate.encoder.images, count_picture(self.candidate, recipe)
        size = (recipe.image_width_px, recipe.image_height_px)
        found = {
            images.num_tokens(*images.fit_size(*size, max_tokens=max(1, math.floor(share * tokens))))
            for share in PICTURE_SHARES
        }
        return sorted((count for count in found if count < tokens), reverse=True)


def _shrink(shown: Shown, picture_tokens: int) -> Shown:
    after = shrink_pictures(shown.survey, picture_tokens)
    return replace(shown, survey=after, work=resize_work(shown.work, shown.survey, after))


def count_picture(candidate: Candidate, recipe: Recipe) -> int:
    """Return the tokens of one picture."""
    return candidate.encoder.images.num_tokens(recipe.image_width_px, recipe.image_height_px)


def look(candidate: Candidate, sample: Sample, recipe: Recipe, config: PlanConfig) -> Survey:
    """Return what the windows of a sample take under a recipe."""
    snap = config.train.snap_clicks
    return survey_windows(candidate.encoder, sample.windows, recipe, sample.steps, sample.histories, snap=snap)
