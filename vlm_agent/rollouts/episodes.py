"""What is known of an episode when it is over: plain numbers, counted apart so that none can hide another."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Literal

from vlm_agent.errors import DataError

Clock = Literal["paused", "real"]
"""`paused`: the game waits for every decision. `real`: it goes on, and what is decided too late is not played."""


class Outcome(StrEnum):
    """What became of one decision."""

    EXECUTED = "executed"
    """Its actions were carried out."""
    EMPTY = "empty"
    """The policy chose to do nothing for this horizon; so nothing was done."""
    DONE = "done"
    """The policy said that the goal is reached."""
    INVALID = "invalid"
    """There was no chunk: an answer that can't be read, or none in time."""
    REFUSED = "refused"
    """The chunk was legal and not allowed by the safety rules."""
    LATE = "late"
    """On a real clock: the decision took longer than the horizon it was for, or than all of its actions could wait."""


@dataclass
class DecisionCounts:
    """Decisions of an episode by what became of them."""

    outcomes: dict[str, int] = field(default_factory=dict)
    """By `Outcome`."""
    invalid_reasons: dict[str, int] = field(default_factory=dict)
    """Invalid decisions by reason."""
    refused_reasons: dict[str, int] = field(default_factory=dict)
    """Refused decisions by reason."""

    def add(self, outcome: Outcome, reason: str | None = None) -> None:
        """Count one decision."""
        _count(self.outcomes, outcome)
        if outcome is Outcome.INVALID:
            _count(self.invalid_reasons, reason or "unknown")
        elif outcome is Outcome.REFUSED:
            _count(self.refused_reasons, reason or "unknown")

    def __getitem__(self, outcome: Outcome) -> int:
        return self.outcomes.get(outcome, 0)

    @property
    def total(self) -> int:
        """All decisions."""
        return sum(self.outcomes.values())


@dataclass(frozen=True)
class Episode:
    """One run of a policy."""

    seed: int
    """Decides the scene, and the policy's chance."""
    goal: str
    """What was asked for."""
    duration_ms: int
    """Game time played."""
    score: float
    """What the environment counts for the goal: rings made, say."""
    is_success: bool
    """Whether the environment says that the goal was reached; what the policy says does not matter."""
    counts: DecisionCounts
    """Decisions by what became of them."""
    num_actions: int
    """Actions carried out."""
    latencies_ms: tuple[float, ...]
    """Time of every decision, real milliseconds."""
    mean_p_allowed: float | None
    """Mean probability that the model gave to allowed tokens; None for policies that have none."""
    session: str | None = None
    """Stem of the recorded session, if it was recorded."""
    score_times_ms: tuple[int, ...] = ()
    """Game time at which the score rose past each whole number, milliseconds; seen at the end of a horizon."""
    success_ms: int | None = None
    """Game time at which the environment first said that the goal was reached, milliseconds; None if it never did."""
    clock: Clock | None = None
    """Whether the game waited for decisions; None where an older file does not say."""
    num_late_actions: int = 0
    """Actions that were decided too late to be played; there are none on a paused clock."""
    num_presses: int | None = None
    """Buttons and keys pressed in the game; None where the environment does not count them."""
    num_wasted_presses: int | None = None
    """Those of them that changed nothing in the game; None where the environment does not tell."""
    disturbed_ms: int | None = None
    """Game time at which a disturbance was planted, milliseconds; None if none was."""

    @property
    def score_per_min(self) -> float:
        """Score in a minute of game time."""
        return self.score * 60_000 / self.duration_ms if self.duration_ms else 0.0

    @property
    def first_success_ms(self) -> int | None:
        """Game time until the goal was first reached, or for a score the first point made; None if it never was."""
        times_ms = [time_ms for time_ms in (self.success_ms, *self.score_times_ms[:1]) if time_ms is not None]
        return min(times_ms, default=None)

    def to_json(self) -> dict[str, Any]:
        """Return the plain-data form; latencies to a hundredth of a millisecond."""
        return {**asdict(self), "latencies_ms": [round(value, 2) for value in self.latencies_ms]}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Episode:
        """Rebuild an episode from `to_json`; raises DataError if it is none.

        What older files lack is taken as not known.
        """
        try:
            counts = DecisionCounts(**value["counts"])
            tuples = {name: tuple(value[name]) for name in ("latencies_ms", "score_times_ms")}
            return cls(**{**value, **tuples, "counts": counts})
        except (TypeError, KeyError) as error:
            raise DataError(f"not an episode: {error}") from error


def _count(counts: dict[str, int], name: str) -> None:
    counts[str(name)] = counts.get(str(name), 0) + 1
