"""What the user may say about a recording that it does not say itself. Light to import: the command line reads it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from vlm_agent.errors import ConfigError

Kind = Literal["ilbot", "sima2", "owamcap", "vpt"]
KINDS: tuple[Kind, ...] = ("ilbot", "sima2", "owamcap", "vpt")


@dataclass(frozen=True)
class ImportOptions:
    """How to read what a recording leaves open."""

    goal: str = ""
    """What the player set out to do, if you know it: the long goal of every session."""
    fix_y_offset: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """ilbot: move clicks up or down to where the pointer was; one recorder took the window's left for its top, in
    clicks only. A report that counts `click_beside_the_pointer` says that it did."""
    time_unit: Literal["auto", "s", "ms", "us", "ns"] = "auto"
    """ilbot: what the times of the log count."""
    clicks: Literal["auto", "press", "both"] = "auto"
    """ilbot: whether a `click` row is a press only, or a press and then a release."""
    game_window: str = ""
    """owamcap: a part of the title of the game's window, whose input alone is taken; '*' takes that of all windows. By
    default the window that was captured, by its size."""
    frames_per_s: float = 10.0
    """sima2: how fast the frames of labeled segments were taken; their files don't say."""
    recorder_version: str = ""
    """vpt: the recorder's version, such as `6.9`; versions 5 and 6 scale the mouse differently while a menu is open."""

    def __post_init__(self) -> None:
        """Raise ConfigError for a rate that can't be meant, or a goal of more than one line."""
        if not 0.1 <= self.frames_per_s <= 1000:
            raise ConfigError(f"--frames-per-s must be from 0.1 to 1000, got {self.frames_per_s}")
        if len(self.goal.splitlines()) > 1 or len(self.goal) > 200:
            raise ConfigError("--goal must be one line of at most 200 characters")


@dataclass(frozen=True)
class Source:
    """One recording that was found."""

    kind: Kind
    """What it is."""
    path: Path
    """The log, the container, or the folder of frames."""
    root: Path
    """Folder that nothing in the recording may lead out of."""
    session: str
    """Name of the session that it becomes."""
    part: str = ""
    """Which recording of several in one folder: what its files' names begin with."""
