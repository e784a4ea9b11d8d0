"""`dataset.json`: what a dataset holds, where it came from, and what was left out."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vlm_agent.actions.spec import ActionSpec
from vlm_agent.dataset.copies import Copy
from vlm_agent.errors import ConfigError, DataError
from vlm_agent.regular_files import read_json

MANIFEST_NAME = "dataset.json"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class SessionRecord:
    """A session that a dataset was built from."""

    session: str
    """Identifier; the file's name without suffix."""
    split: str
    """`train`, `validation`, `test`, or `by time` for a lone session."""
    sha256: str
    """Fingerprint of its `.mcap` file."""
    windows: int
    """Windows it gave."""


@dataclass(frozen=True)
class DatasetManifest:
    """The contents of `dataset.json`."""

    spec: ActionSpec
    """What the player could do, over the largest captured frame."""
    history_ms: int
    """Reach of every window's recent actions."""
    windows: dict[str, int]
    """Windows by split."""
    frames: int
    """Pictures stored; each once."""
    sessions: tuple[SessionRecord, ...]
    """Where the windows came from."""
    sha256: str
    """Fingerprint of spec, windows and pictures; the same sessions and settings give the same one."""
    copies: tuple[Copy, ...] = ()
    """Recordings whose play another of them holds: left out, or kept in the other's split."""
    clip_drops: dict[str, int] = field(default_factory=dict)
    """Clips without a short goal, by reason."""
    window_drops: dict[str, int] = field(default_factory=dict)
    """Ticks without a window and actions without a place in one, by reason."""
    event_drops: dict[str, int] = field(default_factory=dict)
    """Input events that became no action, by reason."""
    thinning: dict[str, float] = field(default_factory=dict)
    """What thinning the pointer's path cost, in pixels."""
    hurried: dict[str, float] = field(default_factory=dict)
    """How many strokes and presses were dated by their onset, and by how many milliseconds on average."""
    statistics: dict[str, Any] = field(default_factory=dict)
    """Counts by split, see `statistics`."""
    config: dict[str, Any] = field(default_factory=dict)
    """Settings it was built with."""

    @property
    def trained_sessions(self) -> list[str]:
        """Fingerprints of the sessions that training sees, a lone one that is split by time among them."""
        return [record.sha256 for record in self.sessions if record.split in ("train", "by time")]

    def to_json(self) -> dict[str, Any]:
        """Return the plain-data form."""
        return {"format": FORMAT_VERSION, **asdict(self), "spec": self.spec.to_json()}


def read_manifest(folder: Path) -> DatasetManifest:
    """Return the manifest of a dataset folder.

    Raises:
        DataError: there is none, or it can't be read.
    """
    path = folder / MANIFEST_NAME
    if not path.is_file():
        raise DataError(f"{folder} holds no dataset: expected {MANIFEST_NAME} in it; build one with label_segments.py")
    try:
        value = read_json(path)
        version = value.pop("format", None)
        if version != FORMAT_VERSION:
            raise DataError(f"{path}: dataset format {version!r}, this program reads {FORMAT_VERSION}; build it again")
        sessions = tuple(SessionRecord(**record) for record in value.pop("sessions"))
        copies = tuple(Copy(**copy) for copy in value.pop("copies", ()))
        spec = ActionSpec.from_json(value.pop("spec"))
        manifest = DatasetManifest(spec=spec, sessions=sessions, copies=copies, **value)
        _check_types(manifest)
        return manifest
    except (OSError, ValueError, TypeError, KeyError, AttributeError, ConfigError) as error:
        raise DataError(f"{path} is not a dataset manifest: {error}") from error


_SPLIT = re.compile(r"\w[\w -]{0,31}")


def _check_types(manifest: DatasetManifest) -> None:
    """Raise TypeError for a count that is none."""
    counts = (manifest.windows, manifest.clip_drops, manifest.window_drops, manifest.event_drops)
    numbers = (manifest.history_ms, manifest.frames, *(number for part in counts for number in part.values()))
    if not all(type(number) is int and 0 <= number < 1 << 53 for number in numbers):
        raise TypeError("counts must be whole numbers")
    if not all(_SPLIT.fullmatch(split) for split in manifest.windows):
        raise TypeError("splits are named by letters and digits")
    if not all(isinstance(part, dict) for part in (*manifest.statistics.values(), manifest.config)):
        raise TypeError("statistics and config must be objects")
