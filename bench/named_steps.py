"""Which steps does a tuned run name in the states it gets itself into, and which would its player have taken?

    python bench/named_steps.py [--json] [--run demo/run] [--seeds 6] [--first-seed 50000] [--told]

Loss on a player's recordings says little about play: a model's mistakes lead it where no player has been. At every tick
this asks the rule that the recorded player follows, and counts. The limit is 100 % right. `--told` gives the model the
player's step at every tick, which shows what is left to be gained by naming better, and what acting loses. Where there
is no such run, the bundled model, which names no steps, is told them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from _measuring import Shown, make_parser, print_rows, say

from vlm_agent.actions.spec import ActionSpec
from vlm_agent.decoding.engine import DecodeConfig
from vlm_agent.decoding.sampling import SamplingConfig
from vlm_agent.games.ringcraft.env import ACTION_SPEC, RingcraftEnv
from vlm_agent.games.ringcraft.goals import LONG_GOAL
from vlm_agent.games.ringcraft.plan import choose_step
from vlm_agent.games.ringcraft.skill import Habits
from vlm_agent.observations import Observation
from vlm_agent.policies import Decision, VlmPolicy
from vlm_agent.rollouts.playing import EpisodeConfig, run_episode


@dataclass(frozen=True)
class Row:
    """The ticks at which the player would have taken one step."""

    step: str
    """What the player would have done; `all` for the whole."""
    ticks: int
    """How often."""
    right: float
    """Share of them at which the model named that step."""
    said_instead: str
    """What it named most often instead."""
    rings_per_minute: float | None = None
    """Of the whole."""


class Watched:
    """A policy beside the rule of the player it was tuned on."""

    def __init__(self, policy: VlmPolicy, env: RingcraftEnv, *, is_told: bool) -> None:
        self.named: Counter[tuple[str, str]] = Counter()
        self._policy, self._env, self._is_told = policy, env, is_told

    def begin(self, goal: str, spec: ActionSpec, seed: int) -> None:
        """Start an episode."""
        self._policy.begin(goal, spec, seed)

    def decide(self, observation: Observation) -> Decision:
        """Answer as the policy does, and count what it named."""
        wanted = choose_step(self._env.core.state, Habits()).goal
        if self._is_told:
            self.named[wanted, wanted] += 1
            return self._policy.decide(replace(observation, goal=wanted))
        decision = self._policy.decide(observation)
        self.named[wanted, decision.step or "(no step)"] += 1
        return decision


def main() -> None:
    """Play and report."""
    parser = make_parser(__doc__)
    parser.add_argument("--run", type=Path, default=Path("demo/run"), help="a run that names steps")
    parser.add_argument("--seeds", type=int, default=6, help="episodes")
    parser.add_argument("--first-seed", type=int, default=50_000, help="the first one's scene")
    parser.add_argument("--max-ticks", type=int, default=120, help="length of an episode")
    parser.add_argument("--temperature", type=float, default=0.5, help="how tokens are chosen")
    parser.add_argument("--told", action="store_true", help="tell the model the player's step")
    args = parser.parse_args()
    name, is_told = str(args.run), args.told
    if not args.run.exists():
        say(f"{name}: no run there (`make demo` makes one); base is told each step")
        name, is_told = "base", True
    env = RingcraftEnv(max_ticks=args.max_ticks + 1)
    config = DecodeConfig(sampling=SamplingConfig(temperature=args.temperature))
    watched = Watched(VlmPolicy.from_run(name, ACTION_SPEC, config=config), env, is_told=is_told)
    scores = []
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        episode = run_episode(env, watched, LONG_GOAL, seed, EpisodeConfig(args.max_ticks, stops_when_done=False))
        scores.append(episode.score_per_min)
        say(f"seed {seed}: {episode.score_per_min:.1f} rings a minute")
    title = f"steps named in play, {args.seeds} episodes of {name}" + (", told each step" if is_told else "")
    print_rows(count(watched.named, sum(scores) / len(scores)), Shown(title, "limit: 100 %"), as_json=args.json)


def count(named: Counter[tuple[str, str]], rings_per_minute: float) -> list[Row]:
    """Return one row a step, the commonest first, and one for all."""
    ticks: Counter[str] = Counter()
    for (wanted, _), number in named.items():
        ticks[wanted] += number
    right = sum(number for (wanted, said), number in named.items() if wanted == said)
    rows = [Row("all", ticks.total(), right / ticks.total(), "", rings_per_minute)]
    for wanted, number in ticks.most_common():
        others = Counter({said: n for (w, said), n in named.items() if w == wanted and said != wanted})
        instead = ", ".join(f"{said} ({n})" for said, n in others.most_common(2))
        rows.append(Row(wanted, number, named[wanted, wanted] / number, instead))
    return rows


if __name__ == "__main__":
    main()
