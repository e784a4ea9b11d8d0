"""`vlm-agent compare`: base and tuned over the same seeds, everyone else beside them, and a report.

Refuses what would not be a comparison of two models (see `sides` and `probing`), plays (`matches`), computes
(`comparison`, `verdicts`) and writes `comparison.json` and `index.html`. Killed and started again with the same
settings, it goes on with the episodes that are missing.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vlm_agent.errors import ConfigError

if TYPE_CHECKING:
    from vlm_agent.evaluation.comparison import Comparison, Setting
    from vlm_agent.evaluation.matches import Terms
    from vlm_agent.evaluation.sides import Pair


@dataclass(frozen=True, kw_only=True)
class CompareConfig:
    """Compare a tuned model with its base, on seeds that nobody has seen."""

    tuned: str
    """Folder of a training run (or of an adapter)."""
    base: str = "base"
    """What it was tuned from: `base` (the bundled model), a checkpoint's folder, a hub name; or another run of the
    same base and recipe."""
    env: str = "ringcraft"
    """Environment."""
    goal: str = "craft sapphire rings"
    """What everyone is asked for."""
    seeds: int = 20
    """How many scenes; each is played once by everyone."""
    first_seed: int = 10_000
    """The first; a comparison takes this and the following. They must lie apart from the demonstrated ones."""
    max_ticks: int = 150
    """Decisions an episode; 150 are 90 s of game time."""
    workers: int = 2
    """Processes; one thread each."""
    out: Path = Path("report")
    """Folder for `comparison.json`, `index.html`, and the episodes."""
    bootstrap_resamples: int = 10_000
    """Resamples of the intervals."""
    player: int = 0
    """Whose habits the demonstrator has: those of the sessions that were learned from."""
    device: str = "auto"
    """`cpu`, `cuda`, or `auto`."""
    temperature: float = 0.0
    """How base and tuned choose tokens: 0 takes the likeliest, 1 samples as they are (each seed its own chance)."""
    clock: Literal["paused", "real"] = "paused"
    """`paused`: the game waits for every decision. `real`: it goes on; a decision that takes longer than its horizon is
    dropped and counted as late. Workers share this machine's cores: for times that mean something play with one."""

    def __post_init__(self) -> None:
        """Raise ConfigError for a comparison without an interval or an episode."""
        for name, least in (("seeds", 2), ("max_ticks", 1), ("workers", 1), ("bootstrap_resamples", 100)):
            if getattr(self, name) < least:
                raise ConfigError(f"--{name.replace('_', '-')} must be at least {least}, got {getattr(self, name)}")
        if self.temperature < 0:
            raise ConfigError(f"--temperature must not be negative, got {self.temperature}")
        if self.first_seed < 0:
            raise ConfigError(f"--first-seed must not be negative, got {self.first_seed}")

    @property
    def seed_list(self) -> tuple[int, ...]:
        """All seeds."""
        return tuple(range(self.first_seed, self.first_seed + self.seeds))

    @property
    def command(self) -> str:
        """The command line that makes the same comparison, every setting written out."""
        settings = [(f"--{field.name.replace('_', '-')}", str(getattr(self, field.name))) for field in fields(self)]
        return shlex.join(["vlm-agent", "compare", *(part for setting in settings for part in setting)])


def run(config: CompareConfig) -> Comparison:
    """Compare, write the report into `config.out`, and print the verdict.

    Raises:
        ConfigError: unknown environment or goal, demonstrated seeds, or models that can't be compared.
        ModelError: a model can't be found or loaded, is tuned from another base, or its adapter changes nothing.
        DataError: `config.out` holds episodes of another comparison.
    """
    from vlm_agent.evaluation.comparison import compare_rollouts
    from vlm_agent.evaluation.films import shoot_films
    from vlm_agent.evaluation.matches import plan_models, plan_others, play_matches
    from vlm_agent.evaluation.metrics import find_metric
    from vlm_agent.evaluation.report import write_comparison, write_report
    from vlm_agent.evaluation.sides import match_sides
    from vlm_agent.evaluation.terminal import MatchProgress, print_comparison
    from vlm_agent.evaluation.verdicts import write_verdict

    terms = _agree_on_terms(config)
    pair = match_sides(config.base, config.tuned)
    made, setting = _prepare(config, pair, terms)
    plans = [*plan_models(pair, terms), *plan_others(terms)]
    with MatchProgress(plans) as progress:
        rollouts = play_matches(plans, config.out / "episodes", workers=config.workers, on_episode=progress.on_episode)
        metric = find_metric(is_long_goal=terms.is_long_goal)
        comparison = compare_rollouts(rollouts, metric, setting, resamples=config.bootstrap_resamples, made=made)
        with progress.doing("recording one episode of each"):
            films = shoot_films(comparison, plans, config.out / "films", workers=config.workers)
    verdict = write_verdict(comparison)
    write_comparison(config.out / "comparison.json", comparison, verdict)
    write_report(config.out / "index.html", comparison, verdict, films)
    print_comparison(comparison, verdict, config.out / "index.html")
    return comparison


def _agree_on_terms(config: CompareConfig) -> Terms:
    from vlm_agent.evaluation.matches import Terms
    from vlm_agent.rollouts.environments import check_goal

    check_goal(config.env, config.goal)
    from vlm_agent.games.ringcraft.goals import find_goal

    goal = find_goal(config.goal)
    return Terms(
        env=config.env,
        goal=config.goal,
        seeds=config.seed_list,
        max_ticks=config.max_ticks,
        is_long_goal=goal.is_long,
        player=config.player,
        device=config.device,
        temperature=config.temperature,
        clock=config.clock,
    )


def _prepare(config: CompareConfig, pair: Pair, terms: Terms) -> tuple[dict[str, Any], Setting]:
    """Check the models against the environment and each other; return how it was made, and the setting."""
    from vlm_agent.evaluation.comparison import Setting
    from vlm_agent.evaluation.making import describe_making
    from vlm_agent.evaluation.probing import probe_adapter
    from vlm_agent.evaluation.sides import check_seeds_apart, check_spec
    from vlm_agent.policies import Observation
    from vlm_agent.rollouts.environments import make_environment

    seeds_apart = check_seeds_apart(terms.seeds, pair.dataset)
    env = make_environment(terms.env, max_ticks=terms.max_ticks)
    try:
        spec = env.spec_actions
        check_spec(pair.recipe, spec, terms.env)
        frame, info = env.reset(seed=terms.seeds[0], options={"goal": terms.goal})
    finally:
        env.close()
    probe = probe_adapter(pair, Observation(frame, terms.goal, 0, info.get("game_state")), device=terms.device)
    made = describe_making(config.command, pair, probe, seeds_apart=seeds_apart)
    return made, Setting(terms.env, terms.goal, terms.max_ticks, spec.horizon_ms, terms.clock)
