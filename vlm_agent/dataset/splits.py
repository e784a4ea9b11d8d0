"""Which windows train and which judge: by session, so that no judged window has a trained neighbour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from vlm_agent.errors import ConfigError

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


@dataclass(frozen=True)
class SplitConfig:
    """How sessions are dealt out."""

    validation_fraction: float = 0.15
    """Share of the sessions (at least one, if above 0) that early stopping watches."""
    test_fraction: float = 0.0
    """Share of the sessions (at least one, if above 0) that training never sees."""
    seed: int = 0
    """Decides which sessions; the same seed and names give the same splits."""

    def __post_init__(self) -> None:
        """Raise ConfigError for shares that leave nothing to train on."""
        if min(self.validation_fraction, self.test_fraction) < 0 or self.validation_fraction + self.test_fraction >= 1:
            raise ConfigError(
                "validation_fraction and test_fraction must not be negative and must add up to less than 1,"
                f" got {self.validation_fraction} and {self.test_fraction}"
            )


@dataclass(frozen=True)
class TimeSpan:
    """A span of one session that belongs to one split, start <= t < stop."""

    start_ns: int
    stop_ns: int
    split: Split


def split_sessions(session_ids: Sequence[str], config: SplitConfig) -> dict[str, Split]:
    """Return the split of every session; at least one is left for training.

    The order in which the sessions are given does not matter.
    """
    names = sorted(session_ids)
    order = np.random.default_rng(config.seed).permutation(len(names))
    wanted = (("test", config.test_fraction), ("validation", config.validation_fraction))
    splits: dict[str, Split] = {}
    left = [names[i] for i in order]
    for split, fraction in wanted:
        number = max(1, round(len(names) * fraction)) if fraction > 0 else 0
        for name in left[: min(number, len(left) - 1)]:
            splits[name] = "test" if split == "test" else "validation"
        left = left[min(number, len(left) - 1) :]
    return {**splits, **dict.fromkeys(left, "train")}


def split_time(start_ns: int, stop_ns: int, guard_ns: int, config: SplitConfig) -> list[TimeSpan]:
    """Return spans of a lone session: train first, then validation, then test, with unused gaps of `guard_ns` between.

    The gap must hold a window's history and horizon, so that no window of one split sees into another.
    """
    length = stop_ns - start_ns
    shares: list[tuple[Split, float]] = [
        ("train", 1 - config.validation_fraction - config.test_fraction),
        ("validation", config.validation_fraction),
        ("test", config.test_fraction),
    ]
    spans: list[TimeSpan] = []
    begin = start_ns
    share_before = 0.0
    for split, share in shares:
        share_before += share
        end = start_ns + round(length * share_before)
        if share > 0 and end > begin:
            spans.append(TimeSpan(begin, end, split))
            begin = end + guard_ns
    return spans


def split_at(spans: Sequence[TimeSpan], t_ns: int) -> Split | None:
    """Return the split that a time belongs to, or None in a gap."""
    return next((span.split for span in spans if span.start_ns <= t_ns < span.stop_ns), None)
