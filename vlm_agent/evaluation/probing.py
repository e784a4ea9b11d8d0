"""Proof that an adapter does something, before anything is played with it.

A run whose adapter was never applied (all zeros, loaded into another object, left switched off) would otherwise be
reported as "tuning makes no difference".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlm_agent.chat import render_prompt
from vlm_agent.errors import ModelError
from vlm_agent.evaluation.sides import Pair, Side
from vlm_agent.observations import Observation, see

MIN_LOGIT_CHANGE = 1e-5
"""A change below this is rounding; a single step of training changes more."""


@dataclass(frozen=True)
class Probe:
    """What tuning changes on one prompt."""

    max_logit_change: float
    """Largest change of a logit of the next token."""
    mean_logit_change: float
    """Mean change over the vocabulary."""

    @property
    def is_applied(self) -> bool:
        """Whether tuning changes anything."""
        return self.max_logit_change > MIN_LOGIT_CHANGE

    def to_json(self) -> dict[str, Any]:
        """Return the plain-data form."""
        return {"max_logit_change": self.max_logit_change, "mean_logit_change": self.mean_logit_change}


def probe_adapter(pair: Pair, observation: Observation, *, device: str = "auto") -> Probe:
    """Show both models the same prompt, loaded as they will be for play, and return what tuning changes."""
    base, tuned = (read_logits(side, pair, observation, device=device) for side in (pair.base, pair.tuned))
    change = np.abs(tuned - base)
    return Probe(float(change.max()), float(change.mean()))


def read_logits(side: Side, pair: Pair, observation: Observation, *, device: str) -> NDArray[np.float32]:
    """Return a model's logits of the first token it would say to an observation, float32 of shape (vocabulary,).

    Raises:
        ModelError: it can't be loaded, or a logit is not a finite number.
    """
    from vlm_agent.decoding.prompts import encode_prompt
    from vlm_agent.decoding.sequence import CachedSequence
    from vlm_agent.models.forward import apply_head
    from vlm_agent.models.loading import load_model

    loaded = load_model(side.name, quantization=pair.quantization, device=device, recipe=side.recipe_from)
    messages = render_prompt(see(observation, pair.recipe), pair.recipe)
    prompt = encode_prompt(loaded, messages, [observation.frame], pair.recipe)
    # The same stack that plays; on a small model that is a copy of the weights, which must hold the adapter too.
    hidden = CachedSequence(loaded).start(prompt)
    logits: NDArray[np.float32] = apply_head(loaded.model, hidden).detach().cpu().numpy()
    if not np.isfinite(logits).all():
        raise ModelError(
            f"{side.name}: {(~np.isfinite(logits)).sum()} of its {logits.size} logits on a probe prompt are NaN or "
            "infinite, so that nothing it says means anything: its weights or its adapter are broken, or its precision "
            "is too small; nothing was played"
        )
    return logits
