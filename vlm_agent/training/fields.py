"""What each learnt token is about, so that losses can be told apart by field and weighed by field and by event.

Most tokens of an answer are forced by its grammar and cost next to nothing, so one loss over all of them says little
about what is hard. A token counts for the last thing it decides (see `actions.labelling`): the end of a place that also
says that another action follows counts for `stop`. This module knows neither windows nor models.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from vlm_agent.actions.automaton import ActionAutomaton
from vlm_agent.actions.labelling import LabeledAnswer, label_answer
from vlm_agent.actions.parts import MORE, Part
from vlm_agent.training.numbers import LearntNumber, NumberGoals, find_numbers

FIELDS = tuple(Part)
"""A token's field is written down as its index here."""
NO_FIELD = -1
"""Where nothing is learnt, or nobody said what it is about."""


@dataclass(frozen=True)
class AnswerTokens:
    """What is known of the learnt tokens of one answer, the end of the turn included."""

    fields: NDArray[np.int8]
    """Index into `FIELDS`, (tokens,)."""
    weights: NDArray[np.float32]
    """How much each counts, (tokens,)."""
    numbers: tuple[LearntNumber, ...] = ()
    """Its numbers of which more is asked than their digits."""


@dataclass(frozen=True)
class TokenWeights:
    """How much tokens count beside one another; what is not named counts 1."""

    step: float = 1.0
    """A token of a step's name."""
    by_field: Mapping[str, float] = field(default_factory=dict)
    """By what they are about, names of `Part`."""
    by_event: Mapping[str, float] = field(default_factory=dict)
    """All tokens of an action, by its event."""


class FieldLabeler:
    """Tells what the tokens of answers are about, and how much they count."""

    def __init__(self, automaton: ActionAutomaton, weights: TokenWeights, goals: NumberGoals | None = None) -> None:
        """Take the automaton of the answers' spec and codec, how much tokens count, and what is asked of numbers."""
        self._automaton = automaton
        self._goals = goals or NumberGoals()
        self._step_weight = weights.step
        self._by_field = np.array([weights.by_field.get(part, 1.0) for part in FIELDS], np.float32)
        self._by_event = weights.by_event
        # Half of all windows are answered by the same few texts.
        self._known: dict[tuple[int, ...], AnswerTokens] = {}

    def label_actions(self, token_ids: Sequence[int]) -> AnswerTokens:
        """Return what the tokens of an answer of actions are about.

        Args:
            token_ids: the answer and its end-of-turn token.

        Raises:
            ValueError: the tokens are no canonical answer.
        """
        key = tuple(token_ids)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self._label(label_answer(self._automaton, key[:-1]))
        return known

    def label_step(self, token_ids: Sequence[int]) -> AnswerTokens:
        """Return that all tokens of the answer, the end-of-turn token too, are about the step."""
        return self._weigh([Part.STEP] * len(token_ids), np.full(len(token_ids), self._step_weight, np.float32))

    def _label(self, answer: LabeledAnswer) -> AnswerTokens:
        parts = [*(token.part for token in answer.tokens), Part.STRUCTURE]
        weights = np.ones(len(parts), np.float32)
        if self._by_event:
            for start, stop, event in find_actions(answer):
                weights[start:stop] = self._by_event.get(event, 1.0)
        return replace(self._weigh(parts, weights), numbers=find_numbers(answer, self._goals))

    def _weigh(self, parts: Sequence[Part], weights: NDArray[np.float32]) -> AnswerTokens:
        fields = np.array([FIELDS.index(part) for part in parts], np.int8)
        return AnswerTokens(fields, weights * self._by_field[fields])


def find_actions(answer: LabeledAnswer) -> list[tuple[int, int, str]]:
    """Return (first token, token after the last, event) of each action; it begins where it is said to follow."""
    settled = [(index, *said) for index, token in enumerate(answer.tokens) for said in token.settled]
    starts = [index for index, part, value in settled if part is Part.STOP and value == MORE]
    events = [value for _, part, value in settled if part is Part.EVENT]
    stops = [*starts[1:], len(answer.tokens)][: len(starts)]
    return list(zip(starts, stops, events, strict=True))


@dataclass(frozen=True)
class FieldLoss:
    """The loss of one field."""

    nats: float
    """Sum over its tokens, each counted once whatever its weight."""
    num_tokens: int
    """How many tokens."""

    @property
    def mean(self) -> float:
        """Nats per token."""
        return self.nats / self.num_tokens


def sum_fields(losses: NDArray[np.float64], fields: NDArray[np.int8]) -> dict[str, FieldLoss]:
    """Return the loss by field, fields without a token left out.

    Args:
        losses: nats of each token, (tokens,).
        fields: index into `FIELDS` of each, (tokens,); `NO_FIELD` is left out.
    """
    return {
        str(part): FieldLoss(float(losses[fields == index].sum()), int((fields == index).sum()))
        for index, part in enumerate(FIELDS)
        if (fields == index).any()
    }


def join_losses(parts: Iterable[Mapping[str, FieldLoss]]) -> dict[str, FieldLoss]:
    """Return the losses of several sets of tokens as one, fields in the order of `FIELDS`."""
    nats: dict[str, float] = defaultdict(float)
    counts: dict[str, int] = defaultdict(int)
    for losses in parts:
        for name, loss in losses.items():
            nats[name] += loss.nats
            counts[name] += loss.num_tokens
    return {str(part): FieldLoss(nats[part], counts[part]) for part in FIELDS if counts.get(part)}


def find_worst(losses: Mapping[str, FieldLoss], count: int) -> list[tuple[str, float]]:
    """Return the fields that cost most a token, and what they cost, nats; the worst first."""
    means = sorted(((name, loss.mean) for name, loss in losses.items()), key=lambda item: -item[1])
    return means[:count]


def describe_losses(losses: Mapping[str, FieldLoss]) -> dict[str, dict[str, float]]:
    """Return losses as plain data: by field its mean in nats per token, and how many tokens."""
    return {name: {"loss": loss.mean, "tokens": loss.num_tokens} for name, loss in losses.items()}
