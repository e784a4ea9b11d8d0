"""The settings of play on a real screen; light, since every command line that plays reads them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from vlm_agent.errors import ConfigError

_SIZE = re.compile(r"(\d{1,5})x(\d{1,5})")


@dataclass(frozen=True)
class DesktopSettings:
    """Acting in a window of this screen, with `--env desktop`.

    For your own games and programs. Not for online games with anti-cheat: nothing here hides from it.
    """

    window: str = ""
    """Title of the window, or a regular expression that matches in it; nothing else is ever acted on."""
    window_class: str | None = None
    """Its WM_CLASS (X11) or program (Windows), where the title is not enough."""
    window_pid: int | None = None
    """Its process, where the title is not enough."""
    live: bool = False
    """Inject mouse and keyboard. Without it everything is decided, checked and written down, and nothing injected.
    For your own games and programs; not for online games with anti-cheat: nothing here hides from it."""
    stop_keys: tuple[str, ...] = ("f12", "ctrl+alt+q")
    """Each stops the agent. So do `vlm-agent stop`, the mouse in a corner of the screen, and a signal."""
    person_stops: bool = True
    """Whether touching mouse or keyboard stops the agent too."""
    gamestate: str | None = None
    """Where the game exports its state: an http(s) address or a JSON file."""
    frame: str | None = None
    """Size of the captured frames, such as 1280x720; by default that of the recordings the model learnt from."""
    keys: tuple[str, ...] = ()
    """Keys that an untuned model may press; a tuned one knows its own."""
    lease_ms: int = 700
    """How long a key stays down if no further decision comes; never longer than 5 s."""
    session_s: float = 3600.0
    """Longest session, seconds."""
    audit: Path | None = None
    """File of the audit, one JSON line an event; by default in the folder of the session."""
    wait_s: float = 60.0
    """How long to wait for the window to get the focus, seconds."""

    def __post_init__(self) -> None:
        """Raise ConfigError for a size that is none."""
        if self.frame is not None and not _SIZE.fullmatch(self.frame):
            raise ConfigError(f"--frame expects a size such as 1280x720, got {self.frame!r}")

    @property
    def frame_size(self) -> tuple[int, int] | None:
        """Width and height, pixels; None where they are not set."""
        found = _SIZE.fullmatch(self.frame or "")
        return (int(found[1]), int(found[2])) if found else None
