"""Settings of `vlm-agent record`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from vlm_agent.actions.placement import Rect
from vlm_agent.errors import ConfigError
from vlm_agent.recording.hotkeys import Hotkey, HotkeyAction, Hotkeys, parse_hotkey
from vlm_agent.recording.watch import WatchLimits

_MAX_FPS = 60.0


@dataclass(frozen=True)
class RecordConfig:
    """Record a window, a part of the screen or a monitor, with mouse, keyboard and game state."""

    window: str | None = None
    """Title of the window, or a regular expression that finds it. Only it is recorded, and keys only while it has
    the keyboard."""
    rect: str | None = None
    """A part of the screen instead, as X,Y,W,H in pixels; then every key is recorded, wherever it is typed."""
    monitor: int | None = None
    """A whole monitor instead, from 1; then every key is recorded. Without any of the three, monitor 1."""
    fps: float = 10.0
    """Frames a second."""
    gamestate: str | None = None
    """Where the game exports its state: http://..., a file, a folder of files, or cmd:PROGRAM printing JSON lines."""
    gamestate_ms: float = 100.0
    """How often the game's state is looked for, milliseconds; one that has not changed is not written again."""
    gamestate_time: str | None = None
    """Field of the state with the exporter's own time, in any unit; by default timestamp, time_ms or time."""
    goal: str | None = None
    """What you set out to do."""
    goals: Path | None = None
    """File with one goal a line; the goal key marks the next one. Without it you type the goal into the terminal."""
    out: Path = Path("sessions")
    """Folder for the session."""
    name: str | None = None
    """Name of the session; by default the title and the time."""
    wait: bool = False
    """Begin paused: recording begins with the start key."""
    seconds: float | None = None
    """Stop after so long; by default when you say so, or the window is closed."""
    hotkey_start: str = "f9"
    """Key that pauses the recording, and goes on with it; such as f9 or ctrl+shift+f9, or none."""
    hotkey_stop: str = "f10"
    """Key that ends the recording."""
    hotkey_goal: str = "f8"
    """Key that marks where a goal begins."""
    hotkey_discard: str = "f7"
    """Key that takes the last 10 s out of the session."""
    limits: WatchLimits = field(default_factory=WatchLimits)
    """What is told when it happens."""

    def __post_init__(self) -> None:
        """Raise ConfigError for settings that can't be meant."""
        if sum(value is not None for value in (self.window, self.rect, self.monitor)) > 1:
            raise ConfigError("--window, --rect and --monitor exclude each other; give one")
        if not 0 < self.fps <= _MAX_FPS:
            raise ConfigError(f"--fps must be above 0 and at most {_MAX_FPS:g}, got {self.fps:g}")
        if self.gamestate_ms < 10:
            raise ConfigError(f"--gamestate-ms must be at least 10, got {self.gamestate_ms:g}")
        if self.seconds is not None and self.seconds <= 0:
            raise ConfigError(f"--seconds must be above 0, got {self.seconds:g}")
        if self.name is not None and (not self.name or Path(self.name).name != self.name):
            raise ConfigError(f"--name must be a file's name without a folder, got {self.name!r}")
        self.parse_rect()
        self.make_hotkeys()

    def parse_rect(self) -> Rect | None:
        """Return the part of the screen; None where none is asked for.

        Raises:
            ConfigError: it is no rectangle.
        """
        if self.rect is None:
            return None
        if not re.fullmatch(r"-?\d+,-?\d+,\d+,\d+", self.rect):
            raise ConfigError(f"--rect expects X,Y,W,H in pixels, such as 0,0,765,503; got {self.rect!r}")
        return Rect(*map(int, self.rect.split(",")))

    def make_hotkeys(self) -> Hotkeys:
        """Return what the keys ask for.

        Raises:
            ConfigError: one is no key, or two are the same.
        """
        texts: dict[HotkeyAction, str] = {
            "start": self.hotkey_start,
            "stop": self.hotkey_stop,
            "goal": self.hotkey_goal,
            "discard": self.hotkey_discard,
        }
        keys: dict[HotkeyAction, Hotkey | None] = {
            action: parse_hotkey(text, f"--hotkey-{action}") for action, text in texts.items()
        }
        return Hotkeys(keys)

    def read_goals(self) -> list[str]:
        """Return the goals of the list; none where there is no list.

        Raises:
            ConfigError: the list can't be read or is empty.
        """
        if self.goals is None:
            return []
        try:
            lines = [line.strip() for line in self.goals.read_text(encoding="utf-8").splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"--goals {self.goals} can't be read: {error}") from error
        goals = [line for line in lines if line]
        if not goals:
            raise ConfigError(f"--goals {self.goals} is empty; write one goal a line")
        return goals
