"""`vlm-agent play`, `record-demo`, `info` and `repair`: the commands that make and look after single sessions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from vlm_agent.errors import ConfigError
from vlm_agent.visible import say


@dataclass(frozen=True)
class PlayConfig:
    """Play in a window; everything is recorded until it is closed."""

    game: tyro.conf.Positional[str] = "ringcraft"
    """Which game."""
    seed: int = 0
    """The scene."""
    goal: str = "craft sapphire rings"
    """What you set out to do."""
    out: Path = Path("sessions")
    """Folder for the session."""
    record: bool = True
    """Whether it is recorded, from inside the game; `vlm-agent record` records it from outside like any program."""
    seconds: float | None = None
    """How long; by default until the window is closed, or Ctrl-C."""
    scale: int = 1
    """Screen pixels a game pixel."""
    state_port: int | None = None
    """Offer the game state at http://127.0.0.1:PORT/state; 0 takes a free port."""
    player: Literal["person", "demonstrator"] = "person"
    """Who plays: you, or the demonstrator, which then moves this desktop's mouse and presses its keys."""

    def __post_init__(self) -> None:
        """Raise ConfigError for a play without a moment."""
        if self.seconds is not None and self.seconds <= 0:
            raise ConfigError(f"--seconds must be above 0, got {self.seconds}")


def play(config: PlayConfig) -> None:
    """Open the window, let someone play, and record it."""
    from vlm_agent.rollouts.environments import check_goal
    from vlm_agent.rollouts.recording import WindowConfig
    from vlm_agent.rollouts.window_play import play_window

    check_goal(config.game, config.goal)
    path = play_window(
        config.out / f"{config.game}-me-{config.seed}",
        WindowConfig(config.seed, config.goal, config.seconds, config.scale, config.state_port),
        records=config.record,
        is_demonstrated=config.player == "demonstrator",
        on_url=say,
    )
    if path is not None:
        say(path)


@dataclass(frozen=True)
class RecordDemoConfig:
    """Record sessions of ringcraft's demonstrator."""

    out: Path = Path("sessions")
    """Folder for the sessions."""
    num_sessions: int = 4
    """How many; session n has seed `first_seed` + n."""
    first_seed: int = 0
    """Seed of the first."""
    minutes: float = 5.0
    """Game time of each."""
    player: int = 0
    """Whose habits."""
    fps: float = 10.0
    """Frames a second of game time."""
    starts: Literal["fresh", "anywhere"] = "fresh"
    """Where sessions begin: as the game does, or anywhere on a trip, as a person's recording may."""
    workers: int = 1
    """Processes."""

    def __post_init__(self) -> None:
        """Raise ConfigError for no session or no process."""
        if self.num_sessions < 1 or self.workers < 1:
            raise ConfigError("--num-sessions and --workers must be at least 1")


def record_demo(config: RecordDemoConfig) -> None:
    """Record the demonstrator, with a progress bar."""
    from rich.progress import BarColumn, TaskProgressColumn, TimeRemainingColumn

    from vlm_agent.rollouts.recording import DemonstrationConfig, record_demonstrations
    from vlm_agent.terminal import LineColumn, PlainConsole, make_bars

    seeds = range(config.first_seed, config.first_seed + config.num_sessions)
    settings = DemonstrationConfig(config.minutes, config.player, config.fps, config.starts)
    columns = (LineColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with make_bars(*columns, console=PlainConsole()) as progress:
        task = progress.add_task("recording", total=config.num_sessions)
        record_demonstrations(
            config.out, seeds, settings, workers=config.workers, on_session=lambda _: progress.advance(task)
        )
    say(f"{config.num_sessions} sessions in {config.out}")


@dataclass(frozen=True)
class InfoConfig:
    """Say what a session holds."""

    file: tyro.conf.Positional[Path]
    """Its `.mcap`."""
    as_json: Annotated[bool, tyro.conf.arg(name="json"), tyro.conf.FlagCreatePairsOff] = False
    """Print JSON."""


def info(config: InfoConfig) -> None:
    """Print a session's numbers."""
    from vlm_agent.sessions.inspect import run_info

    say(*run_info(config.file, as_json=config.as_json).splitlines())


@dataclass(frozen=True)
class RepairConfig:
    """Save what is intact of a damaged or unfinished session."""

    file: tyro.conf.Positional[Path]
    """A damaged `.mcap`, or the `.mcap.part` of a recorder that was killed."""
    out: Path | None = None
    """The repaired `.mcap`; by default beside it."""
    as_json: Annotated[bool, tyro.conf.arg(name="json"), tyro.conf.FlagCreatePairsOff] = False
    """Print JSON."""


def repair(config: RepairConfig) -> None:
    """Repair a session and print what was saved."""
    from vlm_agent.sessions.inspect import run_repair

    say(*run_repair(config.file, config.out, as_json=config.as_json).splitlines())
