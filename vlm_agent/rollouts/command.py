"""`python agent.py` and `vlm-agent run`: one goal, one model, one episode, shown as it goes, summed up at the end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import tyro

from vlm_agent.errors import ConfigError
from vlm_agent.policies import Decision, VlmPolicy
from vlm_agent.rollouts.desktop_settings import DesktopSettings
from vlm_agent.rollouts.environments import check_goal, make_environment
from vlm_agent.rollouts.episodes import Clock, Episode, Outcome
from vlm_agent.rollouts.playing import EpisodeConfig
from vlm_agent.rollouts.running import RolloutPlan, play_recorded

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from vlm_agent.actions.spec import ActionSpec
    from vlm_agent.executors.in_game import Environment

DESKTOP = "desktop"
"""The environment that is a window of this screen."""


@dataclass(frozen=True)
class RunConfig:
    """Play a goal with a model, and record the episode as a session."""

    goal: str
    """What to do, e.g. "craft sapphire rings"."""
    model: str = "base"
    """`base` (the bundled model), a run (`runs/<id>`), an adapter, or a checkpoint's folder."""
    recipe: Path | None = None
    """For an adapter from elsewhere, which has no `recipe.json`: a run of train_vision_agent.py that is asked alike, or
    the `recipe.json` of one. Its base is the one that its own adapter_config.json names, or else the run's."""
    env: str = "ringcraft"
    """Where to play: `ringcraft`, or `desktop` for a window of this screen."""
    seed: int = 0
    """Decides the scene, and the policy's chance."""
    max_ticks: int = 200
    """Most decisions; each plays one horizon of 600 ms."""
    out: Path = Path("episodes")
    """Folder for the recorded session."""
    quantization: Literal["nf4", "none"] = "nf4"
    """Precision of a base model; a run brings its own."""
    temperature: float = 0.0
    """0 takes the likeliest token, 1 samples as the model is."""
    clock: Clock = "paused"
    """`paused`: the game waits for the model. `real`: it does not, and late decisions are dropped; a desktop is
    always real."""
    show: bool = False
    """Open a window."""
    desktop: Annotated[DesktopSettings, tyro.conf.arg(name="")] = field(default_factory=DesktopSettings)
    """Acting in a window of this screen, with `--env desktop`: for your own games and programs. Not for online games
    with anti-cheat: nothing here hides from it."""

    def __post_init__(self) -> None:
        """Raise ConfigError for a goal that says nothing, and for a desktop without a window or the other way round."""
        if not self.goal.strip():
            raise ConfigError("--goal is empty; say what to do")
        if self.env == DESKTOP and not self.desktop.window.strip():
            raise ConfigError("--env desktop expects --window TITLE: the one window that may be acted on")
        if self.env != DESKTOP and self.desktop != DesktopSettings():
            raise ConfigError(f"--window, --live and what goes with them are for --env desktop, got --env {self.env}")


def run(config: RunConfig) -> Episode:
    """Play one episode with a progress bar, print what became of it, and return it.

    Raises:
        ConfigError: unknown goal or environment.
        ModelError: there is no such model, or it can't be used.
        DataError: the session can't be written.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, TimeRemainingColumn

    from vlm_agent.terminal import LineColumn, PlainConsole, make_bars

    clock: Clock = "real" if config.env == DESKTOP else config.clock
    episode_config = EpisodeConfig(max_ticks=config.max_ticks, clock=clock)
    console = PlainConsole()
    columns = (LineColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with _open_play(config, console) as (env, policy):
        plan = RolloutPlan(
            name=_file_name(config.model),
            make_env=lambda: env,
            make_policy=lambda: policy,
            goal=config.goal,
            seeds=(config.seed,),
            episode=episode_config,
            about={"model": config.model},
            sessions=config.out,
        )
        with make_bars(*columns, console=console) as progress:
            task = progress.add_task("playing", total=config.max_ticks)

            def show_tick(num_ticks: int, _: Decision) -> None:
                progress.update(task, completed=num_ticks)

            episode = play_recorded(plan, env, policy, config.seed, on_tick=show_tick)
    console.print(make_table(episode))
    return episode


@contextmanager
def _open_play(config: RunConfig, console: Console) -> Iterator[tuple[Environment, VlmPolicy]]:
    """Yield the environment and the policy for it."""

    def load(spec: ActionSpec) -> VlmPolicy:
        with console.status(f"loading {config.model}"):
            policy = load_policy(config, spec)
        for note in policy.list_notes():
            console.print(f"note: {note}")
        return policy

    if config.env == DESKTOP:
        from vlm_agent.rollouts.desktop_command import open_desktop_play

        with open_desktop_play(config, load, lambda line: console.print(line)) as opened:
            yield opened
        return
    check_goal(config.env, config.goal)
    env = make_environment(config.env, max_ticks=config.max_ticks, is_shown=config.show)
    try:
        policy = load(env.spec_actions)
        # A model that was made for another game's actions is refused here, before a session is begun.
        policy.begin(config.goal, env.spec_actions, config.seed)
        yield env, policy
    finally:
        env.close()


def load_policy(config: RunConfig, spec: ActionSpec) -> VlmPolicy:
    """Return the policy that a command asks for.

    Args:
        config: which model, and how it answers.
        spec: what an untuned one may do, in frame pixels; a tuned one brings its own.
    """
    from vlm_agent.decoding.engine import DecodeConfig
    from vlm_agent.decoding.sampling import SamplingConfig

    decode = DecodeConfig(SamplingConfig(temperature=config.temperature))
    return VlmPolicy.from_run(config.model, spec, quantization=config.quantization, config=decode, recipe=config.recipe)


def make_table(episode: Episode) -> Table:
    """Return an episode's numbers as a table; failures are told apart by reason."""
    from vlm_agent.terminal import TextTable

    table = TextTable(title=f"{episode.goal} (seed {episode.seed})", show_header=False)
    for name, value in _describe(episode):
        table.add_row(name, value)
    return table


def _describe(episode: Episode) -> Iterator[tuple[str, str]]:
    counts = episode.counts
    yield "score", f"{episode.score:g} ({episode.score_per_min:.2f} a minute)"
    yield "goal reached", "yes" if episode.is_success else "no"
    if episode.first_success_ms is not None:
        yield "first success", f"after {episode.first_success_ms / 1000:.1f} s"
    yield "game time", f"{episode.duration_ms / 1000:.1f} s"
    yield "clock", str(episode.clock)
    yield "decisions", f"{counts.total}, {episode.num_actions} actions executed"
    yield "nothing to do", str(counts[Outcome.EMPTY])
    yield "said done", str(counts[Outcome.DONE])
    yield "invalid", _with_reasons(counts[Outcome.INVALID], counts.invalid_reasons)
    yield "refused", _with_reasons(counts[Outcome.REFUSED], counts.refused_reasons)
    yield "late", f"{counts[Outcome.LATE]}, {episode.num_late_actions} actions decided too late"
    if episode.num_wasted_presses is not None:
        yield "wasted presses", f"{episode.num_wasted_presses} of {episode.num_presses}"
    if episode.latencies_ms:
        p50, p95 = np.percentile(episode.latencies_ms, [50, 95])
        yield "latency", f"p50 {p50:.0f} ms, p95 {p95:.0f} ms"
    if episode.mean_p_allowed is not None:
        yield "mass on allowed tokens", f"{episode.mean_p_allowed:.3f}"
    if episode.session is not None:
        yield "session", f"{episode.session}.mcap"


def _with_reasons(number: int, reasons: dict[str, int]) -> str:
    if not reasons:
        return str(number)
    return f"{number} ({', '.join(f'{reason} {count}' for reason, count in sorted(reasons.items()))})"


def _file_name(model: str) -> str:
    return Path(model).name or "model"
