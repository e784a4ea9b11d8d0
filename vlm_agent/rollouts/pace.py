"""How long a model takes to decide, on windows of a dataset instead of a running game."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vlm_agent.chat import Recipe
from vlm_agent.dataset.store import Dataset
from vlm_agent.dataset.windows import Window
from vlm_agent.observations import Observer
from vlm_agent.policies import VlmPolicy
from vlm_agent.training.planning.pace import TimedDecision

if TYPE_CHECKING:
    from vlm_agent.models.loading import LoadedModel


def time_decisions(
    loaded: LoadedModel, dataset: Dataset, windows: Sequence[Window], recipe: Recipe
) -> list[TimedDecision]:
    """Return what each decision took, as in play: the prompt's start is kept from one to the next.

    Args:
        loaded: the model.
        dataset: where the pictures are.
        windows: what it is shown, one after the other.
        recipe: how it is spoken to.
    """
    policy, observer = VlmPolicy(loaded, recipe), Observer(dataset, recipe)
    timed = []
    for window in windows:
        policy.begin(window.goal, recipe.spec, seed=0)
        decision = policy.decide(observer.observe(window))
        latency = decision.latency
        text = decision.text if decision.reason is None else ""
        timed.append(
            TimedDecision(latency.prepare_ms, latency.prefill_ms, latency.decode_ms, text or "", decision.step)
        )
    return timed
