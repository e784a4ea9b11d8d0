"""A small rollout in a process of its own, to be killed: `python -m tests.rollouts.killed_rollout STORE`."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from tests.canned_play import SeededPolicy, make_env
from vlm_agent.observations import Observation
from vlm_agent.policies import Decision
from vlm_agent.rollouts.playing import EpisodeConfig
from vlm_agent.rollouts.running import RolloutPlan, run_rollout

NUM_SEEDS = 40


class PatientPolicy(SeededPolicy):
    """Takes its time, so that a kill finds it at work; says that it took none, so that episodes are equal."""

    def decide(self, observation: Observation) -> Decision:
        time.sleep(0.004)
        return super().decide(observation)


def make_plan() -> RolloutPlan:
    seeds = tuple(range(100, 100 + NUM_SEEDS))
    return RolloutPlan("patient", make_env, PatientPolicy, "click twice", seeds, EpisodeConfig(max_ticks=5))


if __name__ == "__main__":
    run_rollout(make_plan(), workers=2, store=Path(sys.argv[1]))
