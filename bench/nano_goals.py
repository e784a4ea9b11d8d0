"""Does base nano follow single-step goals, and by which of its senses? Success with state text, without it, and blind.

    python bench/nano_goals.py [--json] [--goals 60] [--model base]

Every goal is played in a scene of its own that training has not used, for at most 12 world ticks (7.2 s). The limit is
100 %: each of these goals can be reached in that time by pressing where the goal's own target says. `nothing` is the
share that comes true without any action.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import numpy as np
import torch
import tyro
from rich.console import Console
from rich.table import Table

from vlm_agent.actions.spec import ActionSpec
from vlm_agent.games.ringcraft.env import ACTION_SPEC, RingcraftEnv
from vlm_agent.games.ringcraft.goals import GOALS
from vlm_agent.games.ringcraft.random_scenes import random_scene
from vlm_agent.observations import Observation
from vlm_agent.policies import Decision, NoOpPolicy, Policy, VlmPolicy
from vlm_agent.rollouts.playing import EpisodeConfig, run_episode

MAX_TICKS = 12
CONDITIONS = ("text and picture", "picture alone", "text alone", "neither", "nothing")


@dataclass(frozen=True)
class Args:
    """What to measure."""

    goals: int = 60
    """Scenes, each with one goal that makes sense there."""
    model: str = "base"
    """Which model follows."""
    seed: int = 990_000
    """First scene; nano's training draws its scenes by name, not by number, so none of these is among them."""
    json: bool = False
    """Print one JSON object a row."""


class Impaired:
    """A policy that gets only part of what there is to see."""

    def __init__(self, policy: Policy, *, sees: bool, reads: bool) -> None:
        self._policy, self._sees, self._reads = policy, sees, reads

    def begin(self, goal: str, spec: ActionSpec, seed: int) -> None:
        """Start an episode."""
        self._policy.begin(goal, spec, seed)

    def decide(self, observation: Observation) -> Decision:
        """Show what is left of the observation."""
        if not self._sees:
            observation = replace(observation, frame=np.full_like(observation.frame, 127))
        if not self._reads:
            observation = replace(observation, game_state=None)
        return self._policy.decide(observation)


def draw_tasks(args: Args) -> list[tuple[str, dict[str, Any]]]:
    """Return (goal, snapshot of a scene in which it makes sense), goals in turn."""
    singles = [goal for goal in GOALS.values() if not goal.is_long]
    rng, tasks = Random(args.seed), []
    while len(tasks) < args.goals:
        game = random_scene(Random(f"held out {args.seed} {len(tasks)}"))
        rng.shuffle(singles)
        goal = next(goal for goal in singles if goal.applicable(game.state))
        tasks.append((goal.text, game.snapshot()))
    return tasks


def main(args: Args) -> None:
    """Play every task under every condition and report."""
    # Nano's matrices are too small to share; two threads beside other work wait for each other most of the time.
    torch.set_num_threads(1)
    vlm = VlmPolicy.from_run(args.model, ACTION_SPEC, allow_done=False)
    policies = {
        "text and picture": vlm,
        "picture alone": Impaired(vlm, sees=True, reads=False),
        "text alone": Impaired(vlm, sees=False, reads=True),
        "neither": Impaired(vlm, sees=False, reads=False),
        "nothing": NoOpPolicy(),
    }
    won: dict[str, dict[str, list[bool]]] = {name: defaultdict(list) for name in CONDITIONS}
    tasks = draw_tasks(args)
    for name in CONDITIONS:
        for number, (goal, snapshot) in enumerate(tasks):
            env = SceneEnv(goal, snapshot)
            episode = run_episode(env, policies[name], goal, number, EpisodeConfig(max_ticks=MAX_TICKS))
            won[name][goal.split()[0]].append(episode.is_success)
    report(args, won)


class SceneEnv(RingcraftEnv):
    """Ringcraft that always begins in one scene."""

    def __init__(self, goal: str, scene: dict[str, Any]) -> None:
        super().__init__(goal=goal, max_ticks=MAX_TICKS)
        self._scene = scene

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin in the scene."""
        return super().reset(seed=seed, options={**(options or {}), "scene": self._scene})


def report(args: Args, won: dict[str, dict[str, list[bool]]]) -> None:
    """Print a row for each verb and one for all."""
    verbs = sorted(won["nothing"], key=lambda verb: -len(won["nothing"][verb]))
    rows = [("all", {name: [hit for hits in won[name].values() for hit in hits] for name in CONDITIONS})]
    rows += [(verb, {name: won[name][verb] for name in CONDITIONS}) for verb in verbs]
    if args.json:
        for verb, hits in rows:
            print(
                json.dumps(
                    {"goals": verb, "scenes": len(hits["nothing"]), **{n: float(np.mean(h)) for n, h in hits.items()}}
                )
            )
        return
    table = Table(
        "goals", "scenes", *CONDITIONS, title=f"single-step goals reached by {args.model} within {MAX_TICKS} ticks"
    )
    for verb, hits in rows:
        table.add_row(verb, str(len(hits["nothing"])), *(f"{np.mean(hits[name]):.0%}" for name in CONDITIONS))
    Console().print(table)


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))
