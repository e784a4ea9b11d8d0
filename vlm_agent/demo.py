"""`vlm-agent demo`: the whole line on the bundled game with the bundled model, from recorded play to a report.

Each stage is the one a user calls; this module only names folders and sizes. An interrupted demo goes on where it was:
recorded sessions, labels, training steps and finished episodes are kept. The dataset is built anew each time, byte for
byte the same from the same sessions.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vlm_agent.errors import ConfigError
from vlm_agent.locks import only_writer


@dataclass(frozen=True)
class DemoConfig:
    """Record, label, train, play and compare on the bundled game."""

    out: Path = Path("demo")
    """Folder for everything the demo makes; the report is in its `report/`."""
    num_sessions: int = 500
    """Sessions that the demonstrator records, each in a scene of its own; some are kept for evaluation. Many scenes
    teach more than much play in a few: where things stand must be looked up, not known by heart."""
    minutes: float = 0.07
    """Game time of each session: 4 s. They begin anywhere on a trip to the bank and back, or after a mishap, and what
    is rare comes at their start; most of what would follow is walking, and waiting for the rings."""
    fps: float = 5 / 3
    """Frames a second in the recordings: one a decision; more would be drawn, and never looked at."""
    seeds: int = 20
    """Scenes, none of them recorded, that base and tuned are compared on."""
    max_ticks: int = 100
    """Length of each of those episodes in world ticks of 600 ms."""
    windows: int = 120
    """Recorded windows, of sessions kept for evaluation, that the models are asked about for the report."""
    audit_windows: int = 60
    """How many of them tuned answers again with one thing changed at a time."""
    disturbed_seeds: int = 4
    """Scenes in which something goes wrong once, in each of six ways."""
    workers: int = 2
    """Processes for recording and playing."""
    epochs: float = 1.0
    """Passes over the recorded windows."""
    learning_rate: float = 3e-3
    """Nano is a thousand times smaller than the models that `train`'s own default is for, and takes larger steps."""
    step_weight: float = 5.0
    """Naming a step takes about a fifth of the tokens that writing actions takes; both must be learnt."""
    batch_windows: int = 1
    """Windows in a pass; passes run side by side, and one window at a time wastes nothing on filling up short ones."""
    accumulation: int = 4
    """Passes in one step: small steps, and many, suit a small model."""
    keep_idle: float = 0.12
    """Of the moments at which the player presses nothing, as large a share counts towards how many are trained on."""
    balance_steps: float = 0.6
    """How far rare steps catch up with common ones in training."""
    step_draws: float = 2.0
    """Moments whose step is learnt for each whose actions are: nano's base knows how to act and not what comes next."""
    temperature: float = 0.5
    """How base and tuned choose tokens in the comparison. Nano is often in two minds whether to wait; always taking the
    likelier would have it wait for ever."""
    snap_clicks: int = 25
    """Clicks this near to a place in the game-state text are learnt as that place, thousandths of the frame."""
    history_ticks: int = 2
    """Ticks of recent actions that the model is shown. A player's clicks work; whoever sees for six seconds that it has
    clicked waits for six seconds, worked or not."""
    hide_recent: float = 0.3
    """Share of the moments whose recent actions are hidden in training."""

    def __post_init__(self) -> None:
        """Raise ConfigError for a demo that can't be."""
        if self.num_sessions < 2:
            raise ConfigError(
                f"--num-sessions must be at least 2 (one is kept for evaluation), got {self.num_sessions}"
            )


def run(config: DemoConfig) -> None:
    """Run every stage in turn and name the report."""
    from vlm_agent.terminal import PlainConsole

    console = PlainConsole()
    stages = (
        ("record: a scripted player makes sapphire rings", _record),
        ("label: cut the sessions into clips with goals", _label),
        ("train: tune the bundled model in 4-bit on those sessions", _train),
        ("compare: base and tuned on scenes neither has seen, and what there is to know of tuned", _compare),
    )
    with only_writer(config.out):
        for number, (title, stage) in enumerate(stages, 1):
            console.rule(f"{number}/{len(stages)} {title}", align="left")
            stage(config)
    console.print(f"Open {config.out / 'report' / 'index.html'}")


def prepare(config: DemoConfig) -> None:
    """Record, label and train, as far as that is not done."""
    with only_writer(config.out):
        for stage in (_record, _label, _train):
            stage(config)


def _record(config: DemoConfig) -> None:
    from vlm_agent.session_commands import RecordDemoConfig, record_demo

    record_demo(
        RecordDemoConfig(
            out=config.out / "sessions",
            num_sessions=config.num_sessions,
            minutes=config.minutes,
            fps=config.fps,
            starts="anywhere",
            workers=config.workers,
        )
    )


def _label(config: DemoConfig) -> None:
    from labeling.stage import LabelArgs
    from vlm_agent.cli import label

    label(LabelArgs(sessions=config.out / "sessions", out=config.out / "labeled", labeler="game"))


def _train(config: DemoConfig) -> None:
    from vlm_agent.training.command import TrainArgs, run
    from vlm_agent.training.config import EvaluationSettings, LoraSettings, RecipeSettings, TrainConfig

    settings = TrainConfig(
        lora=LoraSettings(dropout=0.0),
        epochs=config.epochs,
        learning_rate=config.learning_rate,
        batch_windows=config.batch_windows,
        accumulation=config.accumulation,
        step_weight=config.step_weight,
        keep_idle=config.keep_idle,
        hide_recent=config.hide_recent,
        balance_steps=config.balance_steps,
        step_draws=config.step_draws,
        snap_clicks=config.snap_clicks,
        evaluation=EvaluationSettings(every_steps=150, max_windows=64),
    )
    recipe = RecipeSettings(names_steps=True, steps_from_state=True, history_ticks=config.history_ticks)
    run(TrainArgs(dataset=config.out / "labeled" / "dataset", out=config.out / "run", train=settings, recipe=recipe))


def _compare(config: DemoConfig) -> None:
    from vlm_agent.evaluation.compare import CompareConfig, PartsConfig, run

    run(
        CompareConfig(
            tuned=str(config.out / "run"),
            seeds=config.seeds,
            max_ticks=config.max_ticks,
            workers=config.workers,
            temperature=config.temperature,
            out=config.out / "report",
            parts=PartsConfig(
                windows=config.windows,
                readout_windows=config.windows // 2,
                audit_windows=config.audit_windows,
                disturbed_seeds=config.disturbed_seeds,
            ),
        )
    )
