"""Sums that add up over windows in any grouping, and from which every metric is computed at the end."""

from __future__ import annotations

from dataclasses import dataclass, field

NONE = "none"
"""Stands for an action that nothing was matched to."""


@dataclass
class Tally:
    """Sums over windows. Both parts of a share are kept apart until the end."""

    sums: dict[str, float] = field(default_factory=dict)
    """Numerators by metric."""
    counts: dict[str, float] = field(default_factory=dict)
    """Denominators by metric."""
    confusion: dict[tuple[str, str], int] = field(default_factory=dict)
    """How often a kind of action of the player (or `none`) met a kind of the answer's (or `none`)."""

    def add(self, metric: str, amount: float, count: float = 1.0) -> None:
        """Add to a metric."""
        self.sums[metric] = self.sums.get(metric, 0.0) + amount
        self.counts[metric] = self.counts.get(metric, 0.0) + count

    def merge(self, other: Tally) -> None:
        """Add another tally to this one."""
        for metric, amount in other.sums.items():
            self.add(metric, amount, other.counts[metric])
        for pair, count in other.confusion.items():
            self.confusion[pair] = self.confusion.get(pair, 0) + count
