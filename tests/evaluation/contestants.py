"""Plans with scripted players in a short Ringcraft; functions of a module, so that other processes can build them."""

from __future__ import annotations

from functools import partial

from vlm_agent.actions.spec import ActionSpec
from vlm_agent.actions.types import ActionChunk, Click
from vlm_agent.evaluation.matches import Terms, plan_others
from vlm_agent.observations import Observation
from vlm_agent.policies import Policy, ScriptedPolicy
from vlm_agent.rollouts.running import RolloutPlan

GOAL = "craft sapphire rings"
PRESS = Click(100, 300, 200)


def make_terms(num_seeds: int = 3, max_ticks: int = 5) -> Terms:
    return Terms("ringcraft", GOAL, tuple(range(10_000, 10_000 + num_seeds)), max_ticks)


def make_plans(terms: Terms) -> list[RolloutPlan]:
    """Base waits, tuned presses one place now and then; everyone else as always."""
    return [
        terms.plan("base", partial(make_presser, 0)),
        terms.plan("tuned", partial(make_presser, 2)),
        *plan_others(terms),
    ]


def make_presser(every: int) -> Policy:
    def press(observation: Observation, _: ActionSpec) -> ActionChunk:
        tick = observation.t_ms // 600
        return ActionChunk((PRESS,)) if every and tick % every == 1 else ActionChunk()

    return ScriptedPolicy(press)
