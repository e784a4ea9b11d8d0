"""Does base nano follow single-step goals, and by which of its senses? Success with state text, without it, and blind.

    python bench/nano_goals.py [--json] [--goals 60] [--model base]

Every goal is played in a scene of its own that training has not used, for at most 12 world ticks (7.2 s). The limit is
100 %: each of these goals can be reached in that time by pressing where the goal's own target says. `nothing` is the
share that comes true without any action.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import numpy as np
import torch
from _measuring import Shown, make_parser, print_rows
from rich.console import Console
from rich.progress import track

from vlm_agent.actions.spec import ActionSpec
from vlm_agent.games.ringcraft.env import ACTION_SPEC, RingcraftEnv
from vlm_agent.games.ringcraft.goals import GOALS
from vlm_agent.games.ringcraft.random_scenes import random_scene
from vlm_agent.observations import Observation
from vlm_agent.policies import Decision, NoOpPolicy, Policy, VlmPolicy
from vlm_agent.rollouts.playing import EpisodeConfig, run_episode

MAX_TICKS = 12
ALL = "all"


@dataclass(frozen=True)
class Reached:
    """Shares of the goals that begin with one verb that were reached."""

    goals: str
    """The verb, or `ALL`."""
    scenes: int
    """How many."""
    text_and_picture: float
    picture_alone: float
    text_alone: float
    neither: float
    nothing: float


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


def draw_tasks(count: int, seed: int) -> list[tuple[str, dict[str, Any]]]:
    """Return (goal, snapshot of a scene in which it makes sense), goals in turn."""
    singles = [goal for goal in GOALS.values() if not goal.is_long]
    rng, tasks = Random(seed), []
    while len(tasks) < count:
        game = random_scene(Random(f"held out {seed} {len(tasks)}"))
        rng.shuffle(singles)
        goal = next(goal for goal in singles if goal.applicable(game.state))
        tasks.append((goal.text, game.snapshot()))
    return tasks


def main(args: argparse.Namespace) -> None:
    """Play every task under every condition and report."""
    # Nano's matrices are too small to share; two threads beside other work wait for each other most of the time.
    torch.set_num_threads(1)
    vlm = VlmPolicy.from_run(args.model, ACTION_SPEC, allow_done=False)
    policies = {
        "text_and_picture": vlm,
        "picture_alone": Impaired(vlm, sees=True, reads=False),
        "text_alone": Impaired(vlm, sees=False, reads=True),
        "neither": Impaired(vlm, sees=False, reads=False),
        "nothing": NoOpPolicy(),
    }
    won: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    tasks = draw_tasks(args.goals, args.seed)
    for number, (goal, snapshot) in enumerate(track(tasks, "goals", console=Console(stderr=True))):
        for name, policy in policies.items():
            env = SceneEnv(goal, snapshot)
            episode = run_episode(env, policy, goal, number, EpisodeConfig(max_ticks=MAX_TICKS))
            for group in (ALL, goal.split()[0]):
                won[group][name].append(episode.is_success)
    groups = sorted(won, key=lambda group: -len(won[group]["nothing"]))
    rows = [
        Reached(group, len(won[group]["nothing"]), **{name: float(np.mean(hits)) for name, hits in won[group].items()})
        for group in groups
    ]
    title = f"single-step goals reached by {args.model} within {MAX_TICKS} ticks, a share of the scenes"
    print_rows(rows, Shown(title, "limit: 1, pressing where the goal's own target says"), as_json=args.json)


class SceneEnv(RingcraftEnv):
    """Ringcraft that always begins in one scene."""

    def __init__(self, goal: str, scene: dict[str, Any]) -> None:
        super().__init__(goal=goal, max_ticks=MAX_TICKS)
        self._scene = scene

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin in the scene."""
        return super().reset(seed=seed, options={**(options or {}), "scene": self._scene})


if __name__ == "__main__":
    parser = make_parser(__doc__)
    parser.add_argument("--goals", type=int, default=60, help="scenes, each with one goal that makes sense there")
    parser.add_argument("--model", default="base", help="which model follows")
    # Nano's training draws its scenes by name, not by number, so none of these is among them.
    parser.add_argument("--seed", type=int, default=990_000, help="first scene")
    main(parser.parse_args())
