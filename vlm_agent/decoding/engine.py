"""The constrained engine: from a prompt to an answer that the action automaton accepts.

One pass over picture and prompt, then one pass per choice: tokens that the automaton forces ride along with the chosen
one, and the closing ones are never run. The end-of-turn token is never generated: the automaton says when the answer is
complete. Only rows of the allowed tokens are taken from the output head, which is exact and skips nearly all of it.
Greedy answers are token for token those of a full recomputation under the same mask.
The engine does not know prompts, actions or games.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol, Self

import torch
import torch.nn.functional as F  # noqa: N812

from vlm_agent.decoding.sampling import SamplingConfig, pick_index
from vlm_agent.decoding.sequence import CachedSequence, ModelPrompt
from vlm_agent.decoding.stacks import Stack
from vlm_agent.errors import ConfigError, ModelError
from vlm_agent.models.loading import LoadedModel

SMALL_HEAD_VALUES = 2**22
"""Output heads up to this many weights are multiplied whole at every choice, to see how much mass lies on the mask."""


class TokenState(Protocol):
    """Where an answer stands: what may come next. Values, never changed in place."""

    @property
    def is_complete(self) -> bool:
        """Whether the answer has ended."""

    def allowed(self) -> tuple[int, ...]:
        """Return the ids that may come next."""

    def advance(self, token: int) -> Self:
        """Return the state after one more token."""


class Stop(StrEnum):
    """Why an answer ended before it was complete."""

    TRUNCATED = "truncated"
    """It reached `max_tokens`."""
    TIMEOUT = "timeout"
    """It took longer than `deadline_ms`."""
    CONTEXT = "context"
    """Prompt and answer don't fit into the model's context."""


@dataclass(frozen=True)
class DecodeConfig:
    """How answers are written."""

    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    """Greedy by default."""
    max_tokens: int = 384
    """Longest answer, forced tokens included."""
    deadline_ms: float | None = None
    """Give up after so long; None never does."""
    reuse_prefix: bool = True
    """Keep the constant start of the prompt from one decision to the next."""

    def __post_init__(self) -> None:
        """Raise ConfigError for limits that let nothing through."""
        if self.max_tokens < 1:
            raise ConfigError(f"max_tokens must be at least 1, got {self.max_tokens}")
        if self.deadline_ms is not None and self.deadline_ms <= 0:
            raise ConfigError(f"deadline_ms must be positive, got {self.deadline_ms}")


@dataclass(frozen=True)
class Generation:
    """An answer and what it cost."""

    token_ids: tuple[int, ...]
    """The answer, forced tokens included, no end-of-turn token."""
    stop: Stop | None
    """Why it is incomplete; None where it is complete."""
    mean_p_allowed: float | None
    """Mean probability of the allowed set before masking, over the choices where it was measured."""
    num_choices: int
    """Tokens that were chosen, not forced."""
    num_reused_tokens: int
    """Prompt tokens that were taken from the decision before."""
    prefill_ms: float
    """The pass over picture and prompt."""
    decode_ms: float
    """Everything after it."""


class Engine:
    """Writes answers with one model.

    It keeps the cache of the prompt before: use one engine per stream of decisions. It may copy a small model's weights
    when it is made: make a new one after training.
    """

    def __init__(self, loaded: LoadedModel, config: DecodeConfig | None = None, stack: Stack | None = None) -> None:
        """Take a model, and the stack to run it on (by default the faster one)."""
        self.config = config or DecodeConfig()
        self._sequence = CachedSequence(loaded, stack, reuse_prefix=self.config.reuse_prefix)
        self._head = _Head(loaded.model.get_output_embeddings())
        self._loaded = loaded

    def decode(self, prompt: ModelPrompt, start: TokenState, generator: torch.Generator | None = None) -> Generation:
        """Write the answer to one prompt.

        Args:
            prompt: what the model sees.
            start: the automaton before the first token.
            generator: CPU source of chance for a temperature; without one the likeliest tokens are taken.

        Raises:
            ModelError: what the model says is no number.
        """
        began = time.perf_counter()
        state, forced = follow_forced(start)
        room = self._loaded.context_tokens - len(prompt.encoded.input_ids)
        if len(forced) > room:
            return Generation((), Stop.CONTEXT, None, 0, 0, 0.0, 0.0)
        tokens = list(forced)
        masses: list[float] = []
        num_choices = 0
        hidden = self._sequence.start(prompt, forced)
        prefilled = time.perf_counter()
        stop = None
        while not state.is_complete:
            stop = self._limit(len(tokens), room, began)
            if stop is not None:
                break
            allowed = state.allowed()
            logits, mass = self._head.allowed_logits(hidden, allowed, measure=num_choices == 0)
            self._check(logits, mass)
            token = allowed[pick_index(logits, self.config.sampling, generator)]
            num_choices += 1
            masses += [mass] if mass is not None else []
            state, forced = follow_forced(state.advance(token))
            tokens += [token, *forced]
            if not state.is_complete:
                hidden = self._sequence.append([token, *forced])
        return Generation(
            token_ids=tuple(tokens),
            stop=stop,
            mean_p_allowed=sum(masses) / len(masses) if masses else None,
            num_choices=num_choices,
            num_reused_tokens=self._sequence.num_reused_tokens,
            prefill_ms=(prefilled - began) * 1000,
            decode_ms=(time.perf_counter() - prefilled) * 1000,
        )

    def write(self, prompt: ModelPrompt, end_ids: Sequence[int], max_new_tokens: int) -> tuple[int, ...]:
        """Return the greedy, unconstrained continuation up to an end token (left out) or `max_new_tokens`."""
        hidden = self._sequence.start(prompt)
        tokens: list[int] = []
        while True:
            logits = self._head.all_logits(hidden)
            self._check(logits)
            token = int(logits.argmax())
            if token in end_ids:
                return tuple(tokens)
            tokens.append(token)
            if len(tokens) >= max_new_tokens:
                return tuple(tokens)
            hidden = self._sequence.append([token])

    def _check(self, logits: torch.Tensor, mass: float | None = None) -> None:
        """Raise ModelError where a logit is NaN or infinite: a likeliest token could still be found."""
        if not bool((logits < math.inf).all()) or (mass is not None and math.isnan(mass)):
            name = self._loaded.tuned or self._loaded.source
            raise ModelError(
                f"{name}: its probabilities are not numbers (NaN or infinite logits): its weights or its adapter are "
                "broken, or its precision is too small; take an earlier checkpoint, or train it anew"
            )

    def _limit(self, num_tokens: int, room: int, began: float) -> Stop | None:
        if num_tokens >= room:
            return Stop.CONTEXT
        if num_tokens >= self.config.max_tokens:
            return Stop.TRUNCATED
        deadline_ms = self.config.deadline_ms
        if deadline_ms is not None and (time.perf_counter() - began) * 1000 > deadline_ms:
            return Stop.TIMEOUT
        return None


class _Head:
    """The output head, read at a few rows."""

    def __init__(self, head: Any) -> None:
        self._head = head
        # Only a plain Linear can be read by rows; an adapter on the head or packed 4-bit weights need their forward.
        self._is_plain = type(head) is torch.nn.Linear
        self._is_small = self._is_plain and head.weight.numel() <= SMALL_HEAD_VALUES
        self._rows: dict[tuple[int, ...], torch.Tensor] = {}

    @torch.inference_mode()
    def all_logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return logits of every token, float32 of shape (vocabulary,)."""
        # As a row: some adapters on a head take no single vector.
        logits: torch.Tensor = self._head(hidden.unsqueeze(0))[0].float()
        return logits

    @torch.inference_mode()
    def allowed_logits(
        self, hidden: torch.Tensor, allowed: tuple[int, ...], *, measure: bool
    ) -> tuple[torch.Tensor, float | None]:
        """Return logits of the allowed tokens, and the probability they hold together.

        A large head is read whole only where `measure` asks for it; otherwise the probability is None.
        """
        ids = self._rows.get(allowed)
        if ids is None:
            ids = self._rows[allowed] = torch.tensor(allowed, device=hidden.device)
        if self._is_plain and not (self._is_small or measure):
            bias = self._head.bias[ids] if self._head.bias is not None else None
            return F.linear(hidden, self._head.weight[ids], bias).float(), None
        logits = self.all_logits(hidden)
        chosen = logits[ids]
        return chosen, float((chosen.logsumexp(0) - logits.logsumexp(0)).exp())


def follow_forced(state: TokenState) -> tuple[TokenState, tuple[int, ...]]:
    """Walk through the tokens that leave no choice; return the state after them, and them."""
    run: list[int] = []
    while not state.is_complete and len(allowed := state.allowed()) == 1:
        run.append(allowed[0])
        state = state.advance(allowed[0])
    return state, tuple(run)
