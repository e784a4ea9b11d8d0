"""What an import read, mended, kept as it was, and left out, each counted by reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vlm_agent.terminal import TextTable

NO_DATASET = "there is no picture in it: input can be looked at, but no dataset can be made from it"


@dataclass
class SessionReport:
    """What became of one recording."""

    session: str
    """Name of the session that was made."""
    kind: str
    """What the recording was."""
    source: str
    """Where it was."""
    out: str = ""
    """The session's `.mcap`."""
    read: Counter[str] = field(default_factory=Counter)
    """What is in the session now: frames, events, states, goals, raw motions."""
    repaired: Counter[str] = field(default_factory=Counter)
    """What was mended or made up."""
    kept: Counter[str] = field(default_factory=Counter)
    """What looks odd and was kept as it is."""
    left_out: Counter[str] = field(default_factory=Counter)
    """What is not in the session."""
    decided: dict[str, str] = field(default_factory=dict)
    """What the recording does not say itself, and how it was read."""
    notes: list[str] = field(default_factory=list)
    """What the user should know."""

    def to_json(self) -> dict[str, Any]:
        """Return the plain-data form."""
        return {
            "session": self.session,
            "kind": self.kind,
            "source": self.source,
            "out": self.out,
            **{name: dict(sorted(counts.items())) for name, counts in self._counts().items()},
            "decided": self.decided,
            "notes": self.notes,
        }

    def to_table(self) -> TextTable:
        """Return it as a table."""
        from vlm_agent.terminal import TextTable

        table = TextTable("", "what", "number", title=f"{self.session} ({self.kind})", title_justify="left")
        for name, counts in self._counts().items():
            for place, (reason, count) in enumerate(counts.most_common()):
                table.add_row(name.replace("_", " ") if place == 0 else "", reason.replace("_", " "), str(count))
        for place, (subject, decision) in enumerate(self.decided.items()):
            table.add_row("decided" if place == 0 else "", f"{subject}: {decision}", "")
        return table

    def _counts(self) -> dict[str, Counter[str]]:
        return {"read": self.read, "repaired": self.repaired, "kept": self.kept, "left_out": self.left_out}


def to_json(reports: Sequence[SessionReport]) -> dict[str, Any]:
    """Return the plain-data form of an import."""
    return {"sessions": [report.to_json() for report in reports]}
