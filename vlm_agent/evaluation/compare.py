"""`vlm-agent compare`: base and tuned over the same seeds, everyone else beside them, and a report.

Refuses what would not be a comparison of two models (see `sides` and `probing`), plays (`matches`), computes
(`comparison`, `verdicts`), finds out what else there is to know of tuned (`collecting`), and writes it all:

    OUT/index.html        the report
    OUT/report.md         the same without pictures
    OUT/comparison.json   all numbers
    OUT/episodes/         what was played; OUT/offline/, OUT/audit/: what was answered

Killed and started again with the same settings, it goes on with the episodes and answers that are missing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from vlm_agent.errors import ConfigError, ModelError
from vlm_agent.evaluation.command_lines import check_least, write_command
from vlm_agent.locks import only_writer

if TYPE_CHECKING:
    from vlm_agent.evaluation.comparison import Comparison, Setting
    from vlm_agent.evaluation.matches import Terms
    from vlm_agent.evaluation.parts import Parts
    from vlm_agent.evaluation.probing import Probe
    from vlm_agent.evaluation.sides import Pair


@dataclass(frozen=True, kw_only=True)
class PartsConfig:
    """What the report holds beside the comparison; 0 windows or seeds leave a part out."""

    dataset: Path | None = None
    """Recorded windows that the models are asked about; by default the dataset that tuned learned from. Its sessions
    kept for evaluation are taken."""
    windows: int = 300
    """How many of them, at most, the models answer."""
    readout_windows: int = 100
    """In how many of these it is read what the models expected."""
    few_shot: int = 2
    """The base also answers with so many worked examples in its prompt."""
    audit_windows: int = 120
    """How many of them, at most, tuned answers again with one thing changed at a time."""
    disturbed_seeds: int = 6
    """Scenes in which something goes wrong once for tuned and the demonstrator, in each of six ways; for goals that go
    on, in episodes long enough to see who recovers."""
    likeness: bool = True
    """Whether tuned's movement and timing are held against the player's, in the same scenes."""
    curve: Path | None = None
    """The `curve.json` of a learning curve (`vlm-agent curve`) to show beside it."""
    goals: tuple[str, ...] = ()
    """Further goals that base and tuned are compared on, each in a row of its own."""
    goal_seeds: int = 10
    """Scenes for each of them."""
    goal_ticks: int = 25
    """Decisions an episode of them."""

    def __post_init__(self) -> None:
        """Raise ConfigError for less than nothing, and for a dataset that is not there."""
        least_of = {
            "windows": 0,
            "readout_windows": 0,
            "audit_windows": 0,
            "disturbed_seeds": 0,
            "goal_seeds": 2,
            "goal_ticks": 1,
            "few_shot": 0,
        }
        check_least(self, least_of, "parts.")
        if self.dataset is not None and not self.dataset.is_dir():
            raise ConfigError(f"--parts.dataset {self.dataset}: no such folder; give that of a dataset")
        if self.curve is not None and not self.curve.is_file():
            raise ConfigError(f"--parts.curve {self.curve}: no such file; give the curve.json of vlm-agent curve")


@dataclass(frozen=True, kw_only=True)
class CompareConfig:
    """Compare a tuned model with its base, on seeds that nobody has seen."""

    tuned: str
    """Folder of a training run (or of an adapter)."""
    recipe: Path | None = None
    """For an adapter from elsewhere, which has no `recipe.json`: a run of train_vision_agent.py that is asked alike, or
    the `recipe.json` of one. Its base is the one that its own adapter_config.json names, or else the run's."""
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
    parts: PartsConfig = field(default_factory=PartsConfig)
    """What the report holds beside the comparison."""
    tensorboard: Path | None = None
    """Also write all numbers as scalars for TensorBoard into this folder; needs the extra `tensorboard`."""

    def __post_init__(self) -> None:
        """Raise ConfigError for a comparison without an interval or an episode."""
        least_of = {"seeds": 2, "max_ticks": 1, "workers": 1, "bootstrap_resamples": 100}
        check_least(self, least_of | {"temperature": 0, "first_seed": 0})

    @property
    def seed_list(self) -> tuple[int, ...]:
        """All seeds."""
        return tuple(range(self.first_seed, self.first_seed + self.seeds))

    @property
    def command(self) -> str:
        """The command line that makes the same comparison, every setting written out."""
        return write_command("compare", self)


def run(config: CompareConfig) -> Comparison:
    """Compare, write the report into `config.out`, and print the verdict.

    Raises:
        ConfigError: unknown environment or goal, demonstrated seeds, or models that can't be compared.
        ModelError: a model can't be found or loaded, is tuned from another base, or its adapter changes nothing (which
            is then what the report says).
        DataError: `config.out` holds episodes of another comparison, or the dataset can't be read.
        BusyError: another process writes into `config.out`.
    """
    from vlm_agent.evaluation.scalars import check_tensorboard
    from vlm_agent.evaluation.sides import match_sides, tell_notes

    if config.tensorboard is not None:
        check_tensorboard()
    terms = _agree_on_terms(config)
    _check_given(config)
    pair = match_sides(config.base, config.tuned, config.recipe)
    tell_notes(pair.tuned)
    with only_writer(config.out):
        return _compare(config, pair, terms)


def _compare(config: CompareConfig, pair: Pair, terms: Terms) -> Comparison:
    from vlm_agent.evaluation.collecting import collect_parts
    from vlm_agent.evaluation.comparison import compare_rollouts
    from vlm_agent.evaluation.films import RECORDED
    from vlm_agent.evaluation.matches import plan_models, plan_others, play_matches
    from vlm_agent.evaluation.metrics import find_metric
    from vlm_agent.evaluation.terminal import MatchProgress

    made, setting = _prepare(config, pair, terms)
    plans = [*plan_models(pair, terms), *plan_others(terms)]
    with MatchProgress(plans) as progress:
        rollouts = play_matches(
            plans,
            config.out / "episodes",
            workers=config.workers,
            on_episode=progress.on_episode,
            recorded=RECORDED,
        )
        metric = find_metric(is_long_goal=terms.is_long_goal)
        comparison = compare_rollouts(rollouts, metric, setting, resamples=config.bootstrap_resamples, made=made)
    parts = collect_parts(config, pair, terms, comparison)
    _write_all(config, comparison, parts)
    return comparison


def _write_all(config: CompareConfig, comparison: Comparison, parts: Parts) -> None:
    from vlm_agent.evaluation.report import write_comparison, write_report
    from vlm_agent.evaluation.scalars import write_scalars
    from vlm_agent.evaluation.summary import write_markdown
    from vlm_agent.evaluation.terminal import print_comparison
    from vlm_agent.evaluation.verdicts import write_verdict
    from vlm_agent.files import write_text

    verdict = write_verdict(comparison, parts)
    write_comparison(config.out / "comparison.json", comparison, verdict, parts)
    write_text(config.out / "report.md", write_markdown(comparison, verdict, parts))
    write_report(config.out / "index.html", comparison, verdict, parts)
    if config.tensorboard is not None:
        steps = comparison.made["tuned"]["training_steps"] or 0
        write_scalars(config.tensorboard, comparison, parts.offline, steps)
    print_comparison(comparison, verdict, config.out / "index.html", parts)


def _agree_on_terms(config: CompareConfig) -> Terms:
    from vlm_agent.evaluation.matches import Terms
    from vlm_agent.rollouts.environments import check_goal

    for text in (config.goal, *config.parts.goals):
        check_goal(config.env, text)
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


def _check_given(config: CompareConfig) -> None:
    """Read the files that were named before minutes of play go by."""
    from vlm_agent.dataset.store import check_same_spec, open_dataset
    from vlm_agent.evaluation.curves.curve import read_curve
    from vlm_agent.rollouts.environments import make_environment

    if config.parts.dataset is not None:
        dataset = open_dataset(config.parts.dataset)
        check_same_spec(dataset.spec, make_environment(config.env).spec_actions, dataset.folder)
    if config.parts.curve is not None:
        read_curve(config.parts.curve)


def _prepare(config: CompareConfig, pair: Pair, terms: Terms) -> tuple[dict[str, Any], Setting]:
    """Check the models against the environment and each other; return how it was made, and the setting."""
    from vlm_agent.evaluation.comparison import Setting
    from vlm_agent.evaluation.making import describe_making
    from vlm_agent.evaluation.probing import probe_adapter
    from vlm_agent.evaluation.sides import check_seeds_apart, check_spec
    from vlm_agent.observations import Observation
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
    if not probe.is_applied:
        _refuse(config, made, probe)
    return made, Setting(terms.env, terms.goal, terms.max_ticks, spec.horizon_ms, terms.clock)


def _refuse(config: CompareConfig, made: dict[str, Any], probe: Probe) -> NoReturn:
    """Say in the report too that there was nothing to compare."""
    from vlm_agent.evaluation.report import write_refusal
    from vlm_agent.evaluation.verdicts import write_not_applied

    verdict = write_not_applied(config.tuned, config.base, probe.max_logit_change)
    write_refusal(config.out, config.goal, verdict, made)
    raise ModelError(verdict.text)
