"""Labels on disk: one JSONL file a session, one line a clip, replaced whole and atomically.

A label belongs to the recording and the span it was made for and to the labeler that made it; when one of them changes
it is made anew. What a person wrote is never made anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vlm_agent.clips import Clip, LabeledClip
from vlm_agent.errors import DataError
from vlm_agent.files import write_text
from vlm_agent.sessions.types import Goal, GoalSource

SUFFIX = ".jsonl"
RECORDED = ("told", "game")
"""Labelers that take what the recording itself tells."""


@dataclass(frozen=True)
class Label:
    """What a labeler, or a person, said about a clip."""

    start_ns: int
    """First moment of the clip, on the session's clock."""
    stop_ns: int
    """First moment after it."""
    goal: str | None
    """The short goal; `None` where it was dropped."""
    source: GoalSource
    """Who said so."""
    confidence: float
    """How sure the source is, 0 to 1."""
    labeler: str
    """Which labeler with which prompt and which check of its answers; `review` for a person who wrote it."""
    dropped: str | None = None
    """Why there is no goal."""
    recording: str = ""
    """Fingerprint of the recording it was made for; empty in files of before."""

    def apply(self, clip: Clip) -> LabeledClip:
        """Return the clip with this label."""
        if self.goal is None:
            return LabeledClip(clip, dropped=self.dropped or "no_goal")
        return LabeledClip(clip, Goal(clip.start_ns, self.goal, "short", self.source, self.confidence))


@dataclass
class StoredLabels:
    """What was stored before about the clips of a session."""

    kept: dict[int, Label] = field(default_factory=dict)
    """Labels that need not be made anew, by index of their clip."""
    outdated: int = 0
    """Labels of another labeler, prompt, check or recording, which are made anew."""
    of_another_recording: int = 0
    """Kept ones that a person wrote when another recording had this name."""


class LabelStore:
    """The label files of a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, session: str) -> Path:
        """Return the file of a session's labels."""
        return self.folder / f"{session}{SUFFIX}"

    def read(self, session: str) -> list[Label]:
        """Return a session's labels in order of time; none if it has no file.

        Raises:
            DataError: a line is not a label; the message names file and line.
        """
        path = self.path(session)
        if not path.is_file():
            return []
        labels = []
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            try:
                labels.append(_check(Label(**json.loads(line))))
            except (ValueError, TypeError, RecursionError) as error:
                raise DataError(f"{path} line {number} is not a label: {error}") from error
        return labels

    def write(self, session: str, labels: Iterable[Label]) -> None:
        """Replace a session's labels; whoever reads sees all the old ones or all the new ones."""
        ordered = sorted(labels, key=lambda label: label.start_ns)
        lines = [json.dumps(asdict(label), ensure_ascii=False) + "\n" for label in ordered]
        write_text(self.path(session), "".join(lines))

    def sort_stored(self, session: str, clips: Iterable[Clip], labeler: str, recording: str) -> StoredLabels:
        """Return which stored labels of a session need not be made anew.

        Args:
            session: its name.
            clips: the clips it is cut into now.
            labeler: the name of the labeler that would make them.
            recording: fingerprint of the recording; its name may have been another's before.
        """
        by_span = {(label.start_ns, label.stop_ns): label for label in self.read(session)}
        found = StoredLabels()
        for clip in clips:
            label = by_span.get((clip.start_ns, clip.stop_ns))
            if label is None:
                continue
            # What a person wrote here has no other source; what one told while recording is in the recording.
            is_written = label.source == "human" and label.labeler not in RECORDED
            is_current = label.recording == recording and (label.source == "human" or label.labeler == labeler)
            if is_written or is_current:
                found.kept[clip.index] = label
                found.of_another_recording += label.recording not in ("", recording)
            else:
                found.outdated += 1
        return found


def _check(label: Label) -> Label:
    expected: dict[str, Any] = {"start_ns": int, "stop_ns": int, "source": str, "labeler": str}
    for name, kind in expected.items():
        if not isinstance(getattr(label, name), kind):
            raise TypeError(f"{name} must be {kind.__name__}, got {getattr(label, name)!r}")
    if label.goal is not None and not isinstance(label.goal, str):
        raise TypeError(f"goal must be a text or null, got {label.goal!r}")
    return label
