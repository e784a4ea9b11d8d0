"""Settings of nano's training from nothing; apart from it, so that reading them needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vlm_agent.errors import ConfigError


@dataclass(frozen=True)
class PretrainConfig:
    """How nano is trained from nothing."""

    out: Path = Path("runs/nano")
    """Folder for checkpoints and the finished model; an unfinished run in it goes on."""
    start: str | None = None
    """A finished nano (`nano`, or its folder) whose weights and tokenizer are taken further; by default all begins from
    nothing. A stage of which there are 0 steps is left out."""
    seed: int = 0
    """Decides the weights at the start and every sample."""
    dense_steps: int = 1600
    """Steps of the dense vision stage."""
    dense_batch: int = 16
    """Screens a step in the dense stage."""
    copy_steps: int = 600
    """Steps of the copying stage."""
    copy_batch: int = 3
    """Lists a step in the copying stage that have questions; echoes come on top."""
    look_steps: int = 800
    """Steps of the looking stage."""
    look_batch: int = 8
    """Screens a step in the looking stage."""
    look_kept: int = 6
    """Screens a step, in the instruction stage, that looking is practised on so as not to be unlearnt."""
    clip_batch: int = 1
    """Clips a step that are named, in the instruction stage."""
    follow_steps: int = 4000
    """Steps of the instruction stage."""
    follow_batch: int = 2
    """Screens a step in the instruction stage, each with several questions."""
    learning_rate: float = 1.5e-3
    """Peak rate; cosine to a tenth, after a warm-up."""
    vision_rate_factor: float = 0.5
    """The vision tower's rate in the instruction stage, as a share of the rest's."""
    save_every_steps: int = 200
    """Steps between checkpoints."""
    threads: int = 2
    """CPU threads for the model."""

    def __post_init__(self) -> None:
        """Raise ConfigError for counts that can't be meant."""
        sizes = (self.dense_batch, self.copy_batch, self.look_batch, self.follow_batch)
        if min(*sizes, self.save_every_steps, self.threads) < 1:
            raise ConfigError("batch sizes, save_every_steps and threads must be at least 1")
        steps = (self.dense_steps, self.copy_steps, self.look_steps, self.follow_steps)
        if min(*steps, self.look_kept, self.clip_batch) < 0:
            raise ConfigError("steps, look_kept and clip_batch must be at least 0")
