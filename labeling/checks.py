"""Whether a model's text can be a goal: cleaned of quotes and prefixes, then held against a few plain rules."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from vlm_agent.errors import ConfigError


class LabelProblem(StrEnum):
    """Why a text can't be a goal."""

    EMPTY = "empty"
    """Nothing is left after cleaning."""
    TOO_SHORT = "too_short_label"
    """Fewer words than asked for."""
    TOO_LONG = "too_long_label"
    """More words or characters than asked for."""
    BANNED = "banned_text"
    """It speaks about the clip or itself, or is code rather than words."""


EXPLANATIONS = {
    LabelProblem.EMPTY: "it is empty",
    LabelProblem.TOO_SHORT: "it is too short",
    LabelProblem.TOO_LONG: "it is too long",
    LabelProblem.BANNED: "it is not an instruction to the player",
}
"""What the model is told when it is asked again."""

_PREFIX = re.compile(r"^(the\s+)?(player'?s\s+)?(goal|instruction|answer)\s*(is\s*:?|:)\s*", re.IGNORECASE)
_BANNED = re.compile(
    r"[{}\[\]<>|\\`=_]|\b(the player|the user|i|as an ai|i'm|sorry|cannot|can't|image|picture|screenshot|clip|video)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class CheckConfig:
    """What a goal may look like."""

    min_words: int = 2
    """Fewest words."""
    max_words: int = 8
    """Most words."""
    max_chars: int = 60
    """Most characters."""

    def __post_init__(self) -> None:
        """Raise ConfigError for limits that let nothing through."""
        if not 1 <= self.min_words <= self.max_words or self.max_chars < 1:
            raise ConfigError(f"label limits let nothing through: {self}")


def clean_label(text: str) -> str:
    """Return the first line of a text without quotes, prefix, list mark and final stop, in lower case but for names.

    Only the first letter is lowered, so that `Open the Bank` and `open the Bank` are one goal.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    label = lines[0].strip().lstrip("-*•").strip() if lines else ""
    label = _PREFIX.sub("", label.strip("\"'“”‘’ "))
    label = " ".join(label.strip("\"'“”‘’ ").rstrip(".!").split())
    return label[:1].lower() + label[1:]


def find_problem(label: str, config: CheckConfig) -> LabelProblem | None:
    """Return why a cleaned label can't be a goal, or None if it can."""
    words = label.split()
    if not words:
        return LabelProblem.EMPTY
    if _BANNED.search(label):
        return LabelProblem.BANNED
    if len(words) < config.min_words:
        return LabelProblem.TOO_SHORT
    if len(words) > config.max_words or len(label) > config.max_chars:
        return LabelProblem.TOO_LONG
    return None
