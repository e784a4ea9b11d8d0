"""How quickly a model decides and trains: measured here, or predicted for a card that is not at hand."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from vlm_agent.chat import Recipe
from vlm_agent.dataset.store import Dataset
from vlm_agent.dataset.windows import Window
from vlm_agent.models.loading import LoadedModel
from vlm_agent.training.planning.memory import Setting
from vlm_agent.training.planning.parts import Spread
from vlm_agent.training.planning.probes import StepTiming
from vlm_agent.training.planning.speed import CardRun, DecisionTime, predict_decision, predict_training
from vlm_agent.training.planning.survey import DecisionTokens
from vlm_agent.training.planning.work import Work


@dataclass(frozen=True)
class TimedDecision:
    """One decision that was made."""

    prepare_ms: float
    """Before the model."""
    prefill_ms: float
    """The passes over prompts."""
    decode_ms: float
    """The passes over answers."""
    text: str
    """The answer of actions; empty where there was none."""
    step: str | None
    """The step that was named, if one was."""


TimeDecisions = Callable[[LoadedModel, Dataset, Sequence[Window], Recipe], list[TimedDecision]]
"""Lets a model decide on windows under a recipe. Playing is not training's business: whoever may
import both gives it."""


class Pace(Protocol):
    """Time of decisions and of a run."""

    @property
    def is_measured(self) -> bool:
        """Whether the model was run for it."""

    def decide(self, needed: DecisionTokens, pick: Callable[[Spread], int], picture_tokens: int) -> DecisionTime:
        """Return the time of a decision; `pick` says whether of a usual one or of a slow one."""

    def train(self, work: Work, picture_tokens: int) -> float:
        """Return the seconds of a run."""


@dataclass(frozen=True)
class MeasuredPace:
    """What a model takes on this machine."""

    prepare_ms: float
    """Before the model."""
    token_ms: float
    """A token of the prompt that is not there from the decision before."""
    pass_ms: float
    """A pass over the answer."""
    steps: StepTiming
    """Training."""
    setting: Setting
    """How it runs here."""
    keeps_features: bool
    """Whether a picture is seen once in a run."""
    is_measured: bool = True
    """It was run."""

    def decide(self, needed: DecisionTokens, pick: Callable[[Spread], int], picture_tokens: int) -> DecisionTime:
        """Return the time of a decision."""
        prefill_ms = self.token_ms * pick(needed.new_tokens)
        return DecisionTime(self.prepare_ms, prefill_ms, self.pass_ms * pick(needed.passes))

    def train(self, work: Work, picture_tokens: int) -> float:
        """Return the seconds of a run; an evaluation is a forward pass alone."""
        forwards = 3 if self.setting.recomputes else 2
        seen = work.pictures if self.keeps_features else work.picture_visits
        return self.steps.token_s * (work.tokens + work.evaluated_tokens / forwards) + self.steps.picture_s * seen


@dataclass(frozen=True)
class CardPace:
    """What a model would take on a card."""

    run: CardRun
    """What, and where."""
    rank: int
    """Of the adapter; 0 for none."""
    patches_per_token: int
    """Patches that merge into one token of a picture."""
    is_measured: bool = False
    """Nothing was run."""

    def decide(self, needed: DecisionTokens, pick: Callable[[Spread], int], picture_tokens: int) -> DecisionTime:
        """Return the time of a decision."""
        return predict_decision(
            self.run,
            new_tokens=pick(needed.new_tokens),
            prompt_tokens=needed.prompt_tokens,
            patches=picture_tokens * self.patches_per_token,
            passes=pick(needed.passes),
        )

    def train(self, work: Work, picture_tokens: int) -> float:
        """Return the seconds of a run."""
        return predict_training(self.run, work, self.rank, patches=picture_tokens * self.patches_per_token)


def read_decisions(
    timed: Sequence[TimedDecision],
    count_new: Callable[[TimedDecision], int],
    count_passes: Callable[[TimedDecision], int],
) -> tuple[float, float, float]:
    """Return (milliseconds before the model, of a new token of the prompt, of a pass over the answer).

    Medians, so that another program that takes the machine for a moment does not count.

    Args:
        timed: decisions; the first one warms up and is left out where there are more.
        count_new: how many tokens of its prompts a decision had to run.
        count_passes: how many passes its answers took.
    """
    counted = list(timed[1:] or timed)
    prepare_ms = statistics.median(one.prepare_ms for one in counted)
    token_ms = statistics.median(one.prefill_ms / max(count_new(one), 1) for one in counted)
    passes = [(one.decode_ms, count_passes(one)) for one in counted]
    # An answer with one choice is read off the prompt's own pass.
    pass_ms = [decode_ms / count for decode_ms, count in passes if count > 1]
    return prepare_ms, token_ms, statistics.median(pass_ms) if pass_ms else 0.0
