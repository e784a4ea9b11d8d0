"""What a model thinks of the player's answer: bits part by part, and whole distributions where it could have differed.

The answer is run behind its prompt in one pass (teacher forcing). Each token costs the bits of its own probability;
they are split into those that the grammar would have saved, which count as structure, and those of what the token
decides among what is allowed (see `actions.labelling`). The split has no rest: over an answer they add up to its
cross entropy.

Distributions of numbers and of the next event are read by walking the tree of allowed tokens from their place in the
answer, as a decoder over digits is a density (Song and Bahri 2025, "Decoding-based regression"). A branch that holds
less than `least_mass` is not walked; its mass is spread evenly over what lies in it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from vlm_agent.actions.automaton import ActionAutomaton
from vlm_agent.actions.labelling import Choice, LabeledAnswer, label_answer
from vlm_agent.actions.parts import Part
from vlm_agent.decoding.choices import PhraseState
from vlm_agent.decoding.questions import Question, ask_events, ask_numbers
from vlm_agent.decoding.sequence import CachedSequence, ModelPrompt
from vlm_agent.decoding.walking import Place, Run, Walk
from vlm_agent.models.forward import apply_head
from vlm_agent.models.loading import LoadedModel

LEAST_MASS = 1e-4
"""Branches below this probability are not walked."""
_ROWS_AT_ONCE = 64
"""Logits of so many places are held at once: with a large vocabulary one place takes half a megabyte."""
_LN_2 = float(np.log(2))

TIMES: Mapping[str, tuple[Part, ...]] = MappingProxyType(dict.fromkeys(("CLICK", "KEY", "SCROLL", "MOVE"), (Part.DT,)))
"""Asks for the time of every action."""
TIMES_AND_CLICKS: Mapping[str, tuple[Part, ...]] = MappingProxyType({**TIMES, "CLICK": (Part.DT, Part.X, Part.Y)})
"""Asks for the places of clicks as well; only where points are absolute."""


@dataclass(frozen=True)
class TokenReadout:
    """One token of the player's answer."""

    token: int
    """Its id."""
    part: Part
    """The part it counts for as a whole."""
    bits: float
    """-log2 of the model's own probability."""
    p_allowed: float
    """Probability that the model gives to all allowed tokens together."""
    p: float
    """The token's probability among these."""
    is_likeliest: bool
    """Whether none of these is likelier."""
    is_choice: bool
    """Whether more than one token was allowed."""
    shares: tuple[tuple[Part, float], ...]
    """Bits by what the token decides, structure first; they add up to `bits`."""


@dataclass(frozen=True)
class Expectation:
    """What the model expected in one place."""

    question: Question
    """What was asked, and what the player did."""
    probabilities: Mapping[str, float]
    """By outcome, among what is allowed and given all that the player wrote before; they add up to 1."""


@dataclass(frozen=True)
class AnswerReadout:
    """One answer."""

    tokens: tuple[TokenReadout, ...]
    """Token by token, the end of the turn included."""
    counts: Mapping[Part, int]
    """How often each part occurs in it."""
    expectations: tuple[Expectation, ...] = ()
    """Of events, then of numbers, each in the order of the answer."""

    @property
    def bits(self) -> dict[Part, float]:
        """Bits by part."""
        totals: dict[Part, float] = defaultdict(float)
        for token in self.tokens:
            for part, bits in token.shares:
                totals[part] += bits
        return dict(totals)

    @property
    def is_likeliest(self) -> bool:
        """Whether taking the likeliest allowed token each time would have given this answer."""
        return all(token.is_likeliest for token in self.tokens)


class Reader:
    """Reads answers with one model.

    Every prompt is run anew from its first token: what is read then depends on nothing that was read before, to the
    bit, so that an evaluation that was killed and goes on gives the numbers it would have given.
    """

    def __init__(self, loaded: LoadedModel, *, least_mass: float = LEAST_MASS) -> None:
        """Take a model, and how small a branch is not walked."""
        self._loaded = loaded
        self._sequence = CachedSequence(loaded, reuse_prefix=False)
        self._least_mass = least_mass
        self._end_id = loaded.encoder.end_of_turn_id

    def read_actions(
        self,
        automaton: ActionAutomaton,
        prompt: ModelPrompt,
        token_ids: Sequence[int],
        asked: Mapping[str, Sequence[Part]] = TIMES_AND_CLICKS,
    ) -> AnswerReadout:
        """Read an answer of actions.

        Args:
            automaton: of the answer's spec and codec.
            prompt: what the model sees.
            token_ids: what the player did, in the model's tokens, without the end of the turn.
            asked: the numbers whose distributions are wanted, by event; none that can have a sign.

        Raises:
            ValueError: the tokens are no canonical answer.
        """
        answer = label_answer(automaton, token_ids)
        ids = (*token_ids, self._end_id)
        places = self._run(prompt, ids, [*(one.allowed for one in answer.tokens), (self._end_id,)])
        parts = [*(one.part for one in answer.tokens), Part.STRUCTURE]
        choices = [*(one.choices for one in answer.tokens), ()]
        questions = [*ask_events(answer), *ask_numbers(answer, asked)]
        walk = Walk(ids, places, self._look_all, least_mass=self._least_mass)
        return AnswerReadout(
            tokens=tuple(map(_read_token, ids, parts, places, choices)),
            counts=_count_parts(answer),
            expectations=tuple(map(Expectation, questions, walk.find(questions))),
        )

    def read_phrase(self, start: PhraseState, prompt: ModelPrompt, token_ids: Sequence[int]) -> AnswerReadout:
        """Read an answer out of a closed list of texts; all that it decides is its STEP.

        Args:
            start: the list.
            prompt: what the model sees.
            token_ids: one of the list, with its end mark.
        """
        allowed, state = [], start
        for token in token_ids:
            allowed.append(state.allowed())
            state = state.advance(token)
        places = self._run(prompt, token_ids, allowed)
        choices = [(Choice(Part.STEP, (token,)),) for token in token_ids]
        tokens = map(_read_token, token_ids, [Part.STEP] * len(places), places, choices)
        return AnswerReadout(tuple(tokens), {Part.STEP: 1})

    def _run(self, prompt: ModelPrompt, ids: Sequence[int], allowed: Sequence[tuple[int, ...]]) -> list[Place]:
        """Run an answer behind its prompt, as the first fork: the forked token i is the answer's token i."""
        hidden = self._sequence.start(prompt).unsqueeze(0)
        if len(ids) > 1:
            hidden = torch.cat([hidden, self._sequence.fork([(-1, ids[:-1])])])
        return self._look(hidden, allowed, range(-1, len(ids) - 1))

    def _look_all(self, runs: Sequence[Run], allowed: Sequence[tuple[int, ...]]) -> list[Place]:
        first = self._sequence.num_forked_tokens
        hidden = self._sequence.fork(runs)
        ends = np.cumsum([len(run) for _, run in runs]) - 1
        return self._look(hidden[ends], allowed, (first + ends).tolist())

    @torch.inference_mode()
    def _look(self, hidden: Tensor, allowed: Sequence[tuple[int, ...]], forks: Sequence[int]) -> list[Place]:
        """Return what the model says at places, hidden states of shape (places, hidden)."""
        places = []
        for first in range(0, len(allowed), _ROWS_AT_ONCE):
            here = slice(first, first + _ROWS_AT_ONCE)
            logits = apply_head(self._loaded.model, hidden[here]).double()
            columns = sorted(set().union(*allowed[here]))
            at = {token: column for column, token in enumerate(columns)}
            rows = zip(
                allowed[here], logits[:, columns].cpu().numpy(), logits.logsumexp(-1).tolist(), forks[here], strict=True
            )
            places += [Place(ids, row[[at[token] for token in ids]], total, fork) for ids, row, total, fork in rows]
        return places


def _read_token(token: int, part: Part, place: Place, choices: Sequence[Choice]) -> TokenReadout:
    logs = dict(zip(place.allowed, place.logits.tolist(), strict=True))
    log_allowed = float(np.logaddexp.reduce(place.logits))
    shares = [(Part.STRUCTURE, max(place.log_total - log_allowed, 0.0) / _LN_2)]
    log_left = log_allowed
    for choice in choices:
        log_here = float(np.logaddexp.reduce([logs[one] for one in choice.agreeing]))
        shares.append((choice.part, max(log_left - log_here, 0.0) / _LN_2))
        log_left = log_here
    p = float(np.exp(logs[token] - log_allowed))
    return TokenReadout(
        token=token,
        part=part,
        bits=sum(bits for _, bits in shares),
        p_allowed=2 ** -shares[0][1],
        p=p,
        is_likeliest=logs[token] >= max(logs.values()),
        is_choice=len(place.allowed) > 1,
        shares=tuple(shares),
    )


def _count_parts(answer: LabeledAnswer) -> dict[Part, int]:
    numbers = Counter(place.part for place in answer.numbers)
    # The sign of a number is part of it.
    texts = Counter(part for place in answer.pieces for part, _ in place.piece.settles if part not in numbers)
    return dict(numbers + texts)
