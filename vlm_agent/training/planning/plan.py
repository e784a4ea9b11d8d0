"""A plan: what a run would take, whether it can be done, and what to change where it can't."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from vlm_agent.training.config import TrainConfig
from vlm_agent.training.planning.memory import (
    MemoryUse,
    PassSize,
    Setting,
    describe_trained,
    estimate_play,
    estimate_training,
)
from vlm_agent.training.planning.pace import Pace
from vlm_agent.training.planning.parts import PromptPart, Spread
from vlm_agent.training.planning.shapes import ModelShape
from vlm_agent.training.planning.speed import DecisionTime
from vlm_agent.training.planning.survey import Survey, count_decision
from vlm_agent.training.planning.work import Work, count_kept_bytes

PICTURE_SHARES = (0.75, 0.5, 0.375, 0.25, 0.125)
"""Smaller pictures that are tried, as shares of their tokens."""


@dataclass(frozen=True)
class Place:
    """Where a run is planned for."""

    name: str
    """The card, or this machine."""
    setting: Setting
    """In which precision a model runs there."""
    memory_bytes: int
    """What may be filled."""
    cache_bytes: int
    """Most memory for pictures' features."""
    pace: Pace | None
    """How quick it is; none where neither measured nor predicted."""
    can_recompute: bool = False
    """Whether layers are run again where memory would not do otherwise."""
    processes: int = 1
    """So many run, each in such a place: they share the passes of a step, and the weights if told to."""

    @property
    def on_card(self) -> bool:
        """Whether it is a card, beside which best weights lie in the machine's memory."""
        return self.can_recompute


@dataclass(frozen=True)
class Limits:
    """What a run and an agent may take."""

    horizon_ms: int
    """A decision must be there before the next one is due."""
    hours: float
    """Longest run."""


@dataclass(frozen=True)
class Outcome:
    """What one choice of settings takes."""

    change: str
    """What was changed; empty for the settings as given."""
    window: Spread
    """Tokens of a window that asks for actions."""
    answer: Spread
    """Tokens of its answer."""
    longest: int
    """Tokens of the longest window of any kind."""
    picture_tokens: int
    """Of one picture."""
    training: MemoryUse
    """Memory of training at its peak."""
    play: MemoryUse
    """Memory of play at its peak."""
    run_s: float | None
    """Time of the run, seconds; none where it can't be told."""
    usual: DecisionTime | None
    """A usual decision (p50); likewise."""
    slow: DecisionTime | None
    """A slow decision (p95); likewise."""


@dataclass(frozen=True)
class Verdict:
    """The answer to one question."""

    question: str
    """What was asked."""
    is_go: bool | None
    """Go, or no-go; none where it can't be told."""
    told: str
    """The numbers, in words."""
    mend: str = ""
    """What to change, where it is a no-go."""


@dataclass(frozen=True)
class Plan:
    """Everything that was found."""

    model: str
    """What is to be tuned."""
    place: str
    """Where."""
    shape: ModelShape
    """How large the model is."""
    work: Work
    """What the run computes."""
    survey: Survey
    """What windows take."""
    outcomes: tuple[Outcome, ...]
    """The settings as given, then others."""
    verdicts: tuple[Verdict, ...]
    """By question."""
    notes: tuple[str, ...]
    """What was sampled, measured, and taken for granted."""

    @property
    def is_go(self) -> bool:
        """Whether nothing speaks against it."""
        return all(verdict.is_go is not False for verdict in self.verdicts)

    def to_json(self) -> dict[str, Any]:
        """Return the plan as plain data."""
        parts = {
            question: {
                **{part.value: asdict(self.survey.spread_part(question, part)) for part in PromptPart},
                "total": asdict(self.survey.spread_total(question)),
            }
            for question in self.survey.questions
        }
        shape = {name: value for name, value in vars(self.shape).items() if name != "family"}
        return {
            "model": self.model,
            "place": self.place,
            "is_go": self.is_go,
            "verdicts": [asdict(verdict) for verdict in self.verdicts],
            "tokens": parts,
            "work": asdict(self.work),
            "shape": {**shape, "model_type": self.shape.family.model_type},
            "outcomes": [_describe(outcome) for outcome in self.outcomes],
            "notes": list(self.notes),
        }


def _describe(outcome: Outcome) -> dict[str, Any]:
    totals = {"training": outcome.training.total, "play": outcome.play.total}
    times = {name: None if time is None else time.total_ms for name, time in _times(outcome)}
    return {**asdict(outcome), "memory_total_bytes": totals, "decision_ms": times}


def _times(outcome: Outcome) -> Iterator[tuple[str, DecisionTime | None]]:
    yield "usual", outcome.usual
    yield "slow", outcome.slow


class Planner:
    """Weighs settings for one model in one place."""

    def __init__(self, shape: ModelShape, place: Place, config: TrainConfig, rank: int) -> None:
        """Take the model's shape, the place, how it is trained, and the adapter's rank."""
        self._shape = shape
        self._place = place
        self._config = config
        self._rank = rank

    def changed(self, config: TrainConfig, rank: int, setting: Setting) -> Planner:
        """Return one that trains otherwise."""
        return Planner(self._shape, replace(self._place, setting=setting), config, rank)

    def _count_busy(self) -> int:
        # A process without a pass of its own waits.
        return min(self._place.processes, self._config.accumulation)

    def weigh(self, survey: Survey, work: Work, *, picture_tokens: int, change: str = "") -> Outcome:
        """Return what settings take, by what windows take under them."""
        shape, place, setting, pace = self._shape, self._place, self._place.setting, self._place.pace
        trained = describe_trained(shape, self._config, self._rank, place.processes)
        kept = count_kept_bytes(
            work,
            shape,
            picture_tokens=picture_tokens,
            value_bytes=setting.value_bytes,
            cache_bytes=self._place.cache_bytes,
            best=0 if place.on_card else trained.parameters,
        )
        needed, question = count_decision(survey), survey.questions[0]
        answer = survey.spread_part(question, PromptPart.ANSWER)
        return Outcome(
            change=change,
            window=survey.spread_total(question),
            answer=answer,
            longest=max(survey.longest, work.longest_window),
            picture_tokens=picture_tokens,
            training=estimate_training(shape, setting, trained, work.largest, kept_bytes=kept),
            play=estimate_play(shape, setting, self._rank, survey.longest, answer.largest),
            run_s=None if pace is None else pace.train(work, picture_tokens) / self._count_busy(),
            usual=None if pace is None else pace.decide(needed, lambda spread: spread.p50, picture_tokens),
            slow=None if pace is None else pace.decide(needed, lambda spread: spread.p95, picture_tokens),
        )


def resize_work(work: Work, before: Survey, after: Survey) -> Work:
    """Return the work of a run under another recipe: as many windows and passes, longer or shorter ones."""
    ratio = sum(one.total for one in after.windows) / sum(one.total for one in before.windows)
    answers = [sum(one.parts[PromptPart.ANSWER] for one in survey.windows) for survey in (before, after)]
    longest = round(work.longest_window * after.longest / before.longest)
    largest = replace(
        work.largest,
        tokens=round(work.largest.tokens * after.longest / before.longest),
        targets=round(work.largest.targets * answers[1] / answers[0]),
    )
    return replace(
        work,
        tokens=work.tokens * ratio,
        pairs=work.pairs * ratio**2,
        targets=work.targets * answers[1] / answers[0],
        evaluated_tokens=work.evaluated_tokens * ratio,
        largest=largest,
        longest_window=longest,
        row_tokens=round(work.row_tokens * ratio),
    )


def shrink_pictures(survey: Survey, picture_tokens: int) -> Survey:
    """Return a survey with pictures of so many tokens each; all else is written as it was."""
    windows = tuple(
        replace(one, parts=type(one.parts)({**one.parts, PromptPart.PICTURE: one.pictures * picture_tokens}))
        for one in survey.windows
    )
    return replace(survey, windows=windows)


def split_passes(work: Work) -> Work:
    """Return the work of a run with one window in a pass; how many tokens are computed stays about the same."""
    windows = max(1, work.largest.tokens // work.longest_window)
    largest = PassSize(work.longest_window, -(-work.largest.targets // windows), at_once=work.largest.at_once)
    return replace(work, largest=largest)


def judge(outcomes: Sequence[Outcome], shape: ModelShape, place: Place, limits: Limits) -> tuple[Verdict, ...]:
    """Return the answers to all questions.

    Args:
        outcomes: the settings as given, then others in the order in which one would rather have them.
        shape: gives the context.
        place: gives the memory.
        limits: of time.
    """
    return (
        _judge_context(outcomes, shape),
        _judge_memory(outcomes, place, "training"),
        _judge_memory(outcomes, place, "play"),
        _judge_run(outcomes, limits),
        _judge_decision(outcomes, limits),
    )


def _judge_context(outcomes: Sequence[Outcome], shape: ModelShape) -> Verdict:
    limit = shape.context_tokens
    is_go = outcomes[0].longest <= limit
    mend = "" if is_go else _find_mend(outcomes, [outcome.longest <= limit for outcome in outcomes])
    told = f"the longest window takes {outcomes[0].longest} of {limit} tokens; nothing is ever cut off"
    return Verdict("does every window fit the context?", is_go, told, mend)


def _judge_memory(outcomes: Sequence[Outcome], place: Place, what: str) -> Verdict:
    totals = [getattr(outcome, what).total for outcome in outcomes]
    is_go = totals[0] <= place.memory_bytes
    mend = "" if is_go else _find_mend(outcomes, [total <= place.memory_bytes for total in totals])
    told = f"{totals[0] / 1e9:.2f} GB of {place.memory_bytes / 1e9:.1f} GB on {place.name}"
    return Verdict(f"does {what} fit?", is_go, told, mend)


def _judge_run(outcomes: Sequence[Outcome], limits: Limits) -> Verdict:
    question = "is the run short enough?"
    times = [outcome.run_s for outcome in outcomes if outcome.run_s is not None]
    if not times:
        return Verdict(question, None, "can't be told: nothing was measured; --gpu tells it for a card")
    is_go = times[0] <= 3600 * limits.hours
    mend = "" if is_go else _find_mend(outcomes, [time <= 3600 * limits.hours for time in times])
    if not is_go:
        share = 3600 * limits.hours / times[0]
        mend += f"; or {share:.0%} of the steps (--train.epochs, --train.keep-idle, --train.max-steps)"
    return Verdict(question, is_go, f"{write_duration(times[0])} of {limits.hours:g} h (--hours)", mend)


def _judge_decision(outcomes: Sequence[Outcome], limits: Limits) -> Verdict:
    question = "is a decision there before the next?"
    times = [outcome.slow.total_ms for outcome in outcomes if outcome.slow is not None]
    if not times or outcomes[0].usual is None:
        return Verdict(question, None, "can't be told: nothing was measured; --gpu tells it for a card")
    is_go = times[0] <= limits.horizon_ms
    mend = "" if is_go else _find_mend(outcomes, [time <= limits.horizon_ms for time in times])
    told = f"{outcomes[0].usual.total_ms:.0f} ms, p95 {times[0]:.0f} ms, of {limits.horizon_ms} ms"
    return Verdict(question, is_go, told, mend)


def _find_mend(outcomes: Sequence[Outcome], is_fit: Sequence[bool]) -> str:
    mending = next((outcome for outcome, fits in zip(outcomes, is_fit, strict=True) if fits), None)
    return "a smaller model, none of these changes is enough" if mending is None else mending.change


def write_duration(seconds: float) -> str:
    """Return a time in words."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
