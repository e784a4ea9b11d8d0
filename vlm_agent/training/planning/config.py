"""Settings of `vlm-agent plan`. Imports nothing heavy: the command line reads its help from here."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from vlm_agent.errors import ConfigError
from vlm_agent.training.config import RecipeSettings, TrainConfig
from vlm_agent.training.planning.cards import Assumptions

EXIT_NO_GO = 1
"""Exit code of a plan that says no: not a mistake (2), and not a go (0), so that `plan && train` does what it says."""


@dataclass(frozen=True)
class PlanConfig:
    """Say whether a run fits, how long it takes, and whether the agent will be quick enough. Trains and writes nothing.

    Ends with exit code 0 for a go, 1 for a no-go, 2 for a mistake.
    """

    dataset: Path
    """Folder that label_segments.py wrote."""
    model: str = "nano"
    """`nano`, a checkpoint's folder, a name on the hub, or an earlier run; a folder with config and tokenizer files
    alone will do."""
    gpu: str | None = None
    """Plan for this card instead of for this machine, as `rtx-4090`; nothing is measured then."""
    quantization: Literal["nf4", "none"] = "nf4"
    """Precision of the frozen language layers; an earlier run brings its own."""
    device: str = "auto"
    """Where to measure: `cpu`, `cuda`, or `auto`."""
    processes: int = 1
    """Processes that `torchrun` would start, a card each: they share the passes of a step, and with `--train.shard` the
    weights."""
    hours: float = 12.0
    """Longest run that is a go."""
    sample: int = 512
    """Tokenize so many windows at most, drawn by `seed`."""
    probe_steps: int = 20
    """Measure so many training steps at most."""
    probe_s: float = 20.0
    """Or for so many seconds."""
    decisions: int = 8
    """Let the model make so many decisions."""
    seed: int = 0
    """Draws the sample."""
    as_json: Annotated[bool, tyro.conf.arg(name="json"), tyro.conf.FlagCreatePairsOff] = False
    """Print JSON."""
    assume: Assumptions = field(default_factory=Assumptions)
    """What is taken for granted of a card."""
    train: TrainConfig = field(default_factory=TrainConfig)
    """How the run would be trained."""
    recipe: RecipeSettings = field(default_factory=RecipeSettings)
    """How windows would be shown to the model; an earlier run brings its own."""

    def __post_init__(self) -> None:
        """Raise ConfigError for a plan of nothing."""
        if min(self.sample, self.probe_steps, self.decisions, self.processes) < 1:
            raise ConfigError("--sample, --probe-steps, --decisions and --processes must be at least 1")
        if self.train.shard and self.processes == 1:
            raise ConfigError("--train.shard parts weights among processes; say how many: --processes 2")
        if self.hours <= 0 or self.probe_s <= 0:
            raise ConfigError("--hours and --probe-s must be above 0")
