"""Who plays in a comparison: a rollout plan for every contender, all over the same seeds and under the same terms."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlm_agent.chat import Recipe
from vlm_agent.evaluation.sides import Pair, Side
from vlm_agent.policies import NoOpPolicy, Policy, RandomPolicy, RepeatLastPolicy, VlmPolicy
from vlm_agent.rollouts.environments import make_environment
from vlm_agent.rollouts.episodes import Clock, Episode
from vlm_agent.rollouts.playing import EpisodeConfig
from vlm_agent.rollouts.running import Rollout, RolloutPlan, run_rollouts

if TYPE_CHECKING:
    from vlm_agent.executors.in_game import Environment
    from vlm_agent.models.refusals import Quantization

SESSIONS = "sessions"
"""Folder of recorded episodes, in that of the stores."""
OnEpisode = Callable[[str, Episode], None]
"""Told the contender's name and the episode."""


@dataclass(frozen=True)
class Terms:
    """What all contenders of a comparison have in common."""

    env: str
    """Name of the environment."""
    goal: str
    """The instruction."""
    seeds: tuple[int, ...]
    """One episode each."""
    max_ticks: int
    """Most decisions an episode."""
    is_long_goal: bool = True
    """Whether the goal goes on; saying that it is reached must not end an episode then, nor raise its pace."""
    player: int = 0
    """Whose habits the demonstrator has."""
    device: str = "auto"
    """Where models run."""
    temperature: float = 0.0
    """How models choose tokens: 0 takes the likeliest, 1 samples as they are."""
    clock: Clock = "paused"
    """Whether the game waits for a decision."""
    about: dict[str, Any] = field(default_factory=dict)
    """What else decides an outcome."""

    def plan(
        self,
        name: str,
        make_policy: Callable[[], Policy],
        *,
        make_env: Callable[[], Environment] | None = None,
        about: dict[str, Any] | None = None,
    ) -> RolloutPlan:
        """Return the plan of a contender under these terms."""
        return RolloutPlan(
            name=name,
            make_env=make_env or partial(make_environment, self.env, max_ticks=self.max_ticks),
            make_policy=make_policy,
            goal=self.goal,
            seeds=self.seeds,
            episode=EpisodeConfig(max_ticks=self.max_ticks, clock=self.clock, stops_when_done=not self.is_long_goal),
            about={"env": self.env, **self.about, **(about or {})},
        )


def plan_models(pair: Pair, terms: Terms) -> list[RolloutPlan]:
    """Return the plans of base and tuned; both are spoken to by the same recipe."""
    recipe = pair.recipe.to_json()
    sides = {"base": pair.base, "tuned": pair.tuned}
    return [
        terms.plan(
            name,
            partial(_make_model, side, recipe, pair.quantization, terms),
            about={
                **side.to_json(),
                "quantization": pair.quantization,
                "temperature": terms.temperature,
                "recipe": recipe,
            },
        )
        for name, side in sides.items()
    ]


def plan_others(terms: Terms) -> list[RolloutPlan]:
    """Return the plans of the demonstrator and of the trivial baselines.

    The demonstrator knows one task; where the goal is another there is no plan for it.
    """
    plans = []
    if terms.is_long_goal:
        make_env = partial(_make_demonstrated, terms.player, terms.max_ticks)
        demonstrator = terms.plan("demonstrator", NoOpPolicy, make_env=make_env, about={"player": terms.player})
        plans.append(replace(demonstrator, controller="human"))
    plans.append(terms.plan("noop", NoOpPolicy))
    plans.append(terms.plan("random", RandomPolicy))
    plans.append(terms.plan("repeat", RepeatLastPolicy))
    return plans


def play_matches(
    plans: list[RolloutPlan],
    store: Path,
    *,
    workers: int,
    on_episode: OnEpisode | None = None,
    recorded: Collection[str] = (),
) -> list[Rollout]:
    """Play all plans in turn, in several processes; finished episodes are kept in `store`.

    Args:
        plans: who plays what.
        store: a file for each plan; and a folder `sessions` for what is recorded.
        workers: processes.
        on_episode: told every episode.
        recorded: names of the plans whose episodes are recorded as sessions.

    Raises:
        DataError: `store` holds episodes of another comparison.
    """
    played = [replace(plan, sessions=store / SESSIONS) if plan.name in recorded else plan for plan in plans]
    stores = [store / f"{plan.name}.jsonl" for plan in plans]
    return run_rollouts(played, workers=workers, stores=stores, on_episode=on_episode)


def _make_model(side: Side, recipe: dict[str, Any], quantization: Quantization, terms: Terms) -> Policy:
    from vlm_agent.decoding.engine import DecodeConfig
    from vlm_agent.decoding.sampling import SamplingConfig

    spec = make_environment(terms.env).spec_actions
    return VlmPolicy.from_run(
        side.name,
        spec,
        recipe=side.recipe_from or Recipe.from_json(recipe),
        quantization=quantization,
        device=terms.device,
        config=DecodeConfig(SamplingConfig(temperature=terms.temperature)),
    )


def _make_demonstrated(player: int, max_ticks: int) -> Environment:
    from vlm_agent.evaluation.demonstrated import DemonstratedEnv

    return DemonstratedEnv(player=player, max_ticks=max_ticks)
