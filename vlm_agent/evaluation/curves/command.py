"""`vlm-agent curve`: trains one run for each number of sessions, lets all of them play, and says what more would bring.

    OUT/settings.json     what all runs have in common; another curve is not mixed in
    OUT/runs/NAME/        the runs, as `train` makes them
    OUT/episodes/         how they play, as `compare` keeps it
    OUT/curve.json        all numbers
    OUT/curve.md          what they say

Killed and started again with the same settings it goes on: finished runs are kept, the one under way goes on from its
last checkpoint, and only missing episodes are played. More numbers of sessions, repeats or seeds may be asked for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vlm_agent.errors import ConfigError
from vlm_agent.evaluation.command_lines import check_least, write_command
from vlm_agent.locks import only_writer
from vlm_agent.training.config import RecipeSettings, TrainConfig

if TYPE_CHECKING:
    from vlm_agent.evaluation.curves.curve import Curve


@dataclass(frozen=True, kw_only=True)
class CurveConfig:
    """Train on fewer and on more of the recorded sessions, and see which play better."""

    dataset: Path
    """Folder that label_segments.py wrote."""
    base: str = "base"
    """What every run is tuned from: `base` (the bundled model), a checkpoint's folder, or a name on the hub."""
    quantization: Literal["nf4", "none"] = "nf4"
    """Precision of the base."""
    out: Path = Path("curve")
    """Folder for the runs, their episodes and the numbers."""
    sessions: tuple[int, ...] = ()
    """Numbers of training sessions, e.g. 1 2 4 8; by default powers of two, and all. Fewer are among more."""
    repeats: int = 1
    """Runs for each number, with other sessions and another seed of training each."""
    steps: int | None = None
    """Train every run for so many steps, however few its sessions; by default for as many passes over its sessions as
    `--train.epochs` says, so that fewer sessions are trained on for fewer steps."""
    every_steps: int = 100
    """The run of the most sessions also plays as it was after every so many steps; 0 leaves that out."""
    env: str = "ringcraft"
    """Environment."""
    goal: str = "craft sapphire rings"
    """What everyone is asked for."""
    seeds: int = 20
    """How many scenes; each is played once by everyone, and the game waits for every decision."""
    first_seed: int = 10_000
    """The first; they must lie apart from the demonstrated ones."""
    max_ticks: int = 150
    """Decisions an episode."""
    workers: int = 2
    """Processes that play; one thread each."""
    player: int = 0
    """Whose habits the demonstrator has: those of the sessions that are learned from."""
    device: str = "auto"
    """`cpu`, `cuda`, or `auto`."""
    temperature: float = 0.0
    """How models choose tokens: 0 takes the likeliest, 1 samples as they are."""
    train: TrainConfig = field(default_factory=TrainConfig)
    """How each run is trained; `--train.seed` is the first repeat's."""
    recipe: RecipeSettings = field(default_factory=RecipeSettings)
    """How windows are shown to the model."""

    def __post_init__(self) -> None:
        """Raise ConfigError for a curve of nothing, or settings that are the curve's to choose."""
        least_of = {"seeds": 2, "repeats": 1, "max_ticks": 1, "workers": 1, "every_steps": 0, "steps": 1}
        check_least(self, least_of | {"temperature": 0, "first_seed": 0})
        if any(number < 1 for number in self.sessions):
            raise ConfigError(f"--sessions must be at least 1 each, got {' '.join(map(str, self.sessions))}")
        for name, instead in (("max_sessions", "--sessions"), ("keep_adapters_every_steps", "--every-steps")):
            if getattr(self.train, name) is not None:
                raise ConfigError(f"--train.{name.replace('_', '-')} is the curve's to choose; give {instead}")

    @property
    def seed_list(self) -> tuple[int, ...]:
        """All seeds."""
        return tuple(range(self.first_seed, self.first_seed + self.seeds))

    @property
    def command(self) -> str:
        """The command line that makes the same curve, every setting written out."""
        return write_command("curve", self)


def run(config: CurveConfig) -> Curve:
    """Train, play, write the curve into `config.out`, and print what it says.

    Raises:
        ConfigError: unknown environment or goal, demonstrated seeds, too many sessions, or `out` holds another curve.
        DataError: there is no usable dataset, or `out` holds something broken.
        ModelError: the base can't be found or used.
        BusyError: another process writes into `config.out`.
    """
    from vlm_agent.evaluation.curves.playing import play_curve
    from vlm_agent.evaluation.curves.section import write_section
    from vlm_agent.evaluation.curves.tuning import plan_tuning, train_missing
    from vlm_agent.evaluation.report import write_json
    from vlm_agent.files import write_text
    from vlm_agent.terminal import PlainConsole

    with only_writer(config.out):
        tuning = plan_tuning(config)
        train_missing(tuning, config, PlainConsole("error"))
        curve = play_curve(tuning, config, made=_describe(config))
        section = write_section(curve)
        write_json(config.out / "curve.json", curve.to_json())
        write_text(config.out / "curve.md", section.to_markdown())
    console = PlainConsole()
    for sentence in section.sentences:
        console.print(f"- {sentence}")
    for table in section.tables:
        console.print(table.to_rich())
    console.print(f"numbers: {config.out / 'curve.json'}")
    return curve


def _describe(config: CurveConfig) -> dict[str, Any]:
    from datetime import UTC, datetime

    from vlm_agent.training.runs import read_revision, read_versions

    return {
        "command": config.command,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "temperature": config.temperature,
        "versions": read_versions(),
        "git": read_revision(),
    }
