"""What read-outs are worth: bits, times, places and confidence, given the player's own answer so far.

Kept apart from what answers are worth (`scores`): there a model goes on from its own mistakes, here it never makes one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import hypot, sqrt
from typing import Any

import numpy as np

from vlm_agent.errors import DataError
from vlm_agent.evaluation.offline.distributions import pinball, pit_histogram, share_between
from vlm_agent.evaluation.offline.estimates import Estimate, Gap, compare, estimate
from vlm_agent.evaluation.offline.metrics import EVENT_ALL, FORCED_METRICS
from vlm_agent.evaluation.offline.readouts import EventSlot, NumberSlot, Readout
from vlm_agent.evaluation.offline.tallies import Tally

LOW, MIDDLE, HIGH = 0.1, 0.5, 0.9
"""The quantiles; 80 % lie between the outer ones."""
STOP = "none"
"""The event of a place where the player does nothing more."""
NUM_BINS = 10
"""Parts of the confidence and of the PIT."""
MOST_GROUPS, LEAST_IN_GROUP = 5, 10
"""Numbers are grouped by their spread into so many groups at most, of so many numbers at least."""


@dataclass(frozen=True)
class ConfidenceBin:
    """Places where a model was about equally sure of the next event."""

    count: int
    """How many."""
    confidence: float
    """Mean probability of the event it took for likeliest."""
    right: float
    """How often that was the player's."""


@dataclass(frozen=True)
class SpreadGroup:
    """Click coordinates that a model was about equally unsure of."""

    count: int
    """How many, x and y each by itself."""
    spread_px: float
    """Root of the mean variance that it expected."""
    error_px: float
    """Root of the mean squared error of its median."""


@dataclass(frozen=True)
class ForcedReader:
    """One contender's numbers."""

    name: str
    """What it is called."""
    estimates: Mapping[str, Estimate]
    """By metric; those that nothing can be divided by are missing."""
    confidence: tuple[ConfidenceBin, ...]
    """From the least sure to the surest; empty bins are missing."""
    pit: tuple[float, ...]
    """How many of the player's times fall into each tenth of the distribution they were expected by."""
    spreads: tuple[SpreadGroup, ...]
    """From the surest to the least sure."""
    gaps: Mapping[str, Gap]
    """What the first contender is better or worse by, by metric; empty for the first."""

    def to_json(self) -> dict[str, Any]:
        """Return the plain-data form."""
        return {
            "metrics": {key: found.to_json() for key, found in self.estimates.items()},
            "confidence": [_round(asdict(one)) for one in self.confidence],
            "pit": [round(count, 6) for count in self.pit],
            "spreads": [_round(asdict(one)) for one in self.spreads],
            "first_minus_this": {key: gap.to_json() for key, gap in self.gaps.items()},
        }

    @classmethod
    def from_json(cls, name: str, value: Mapping[str, Any]) -> ForcedReader:
        """Rebuild it from `to_json`."""
        return cls(
            name=name,
            estimates={key: Estimate.from_json(found) for key, found in value["metrics"].items()},
            confidence=tuple(ConfidenceBin(**one) for one in value["confidence"]),
            pit=tuple(value["pit"]),
            spreads=tuple(SpreadGroup(**one) for one in value["spreads"]),
            gaps={key: Gap.from_json(gap) for key, gap in value["first_minus_this"].items()},
        )


@dataclass(frozen=True)
class ForcedEvaluation:
    """All contenders whose expectations could be read."""

    windows: int
    """How many windows of the first were read."""
    sessions: int
    """Of how many sessions."""
    readers: tuple[ForcedReader, ...]
    """The first is the one that is asked about."""

    def to_json(self) -> dict[str, Any]:
        """Return the plain-data form."""
        return {
            "windows": self.windows,
            "sessions": self.sessions,
            "contenders": {one.name: one.to_json() for one in self.readers},
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ForcedEvaluation:
        """Rebuild it from `to_json`."""
        readers = (ForcedReader.from_json(name, one) for name, one in value["contenders"].items())
        return cls(value["windows"], value["sessions"], tuple(readers))


def evaluate_readouts(readouts: Mapping[str, Sequence[Readout]]) -> ForcedEvaluation | None:
    """Compute all numbers from read-outs by contender; none where nothing was read.

    Raises:
        DataError: two were read at other moments.
    """
    read = {name: of_one for name, of_one in readouts.items() if of_one}
    if not read:
        return None
    moments = {name: {_moment_of(one) for one in of_one} for name, of_one in read.items()}
    first, *others = read
    for name in others:
        if moments[name] != moments[first]:
            num = len(moments[name] ^ moments[first])
            raise DataError(f"{name} and {first} were read at other moments ({num} differ): let the evaluation finish")
    tallies = {name: tally_readouts(of_one) for name, of_one in read.items()}
    keys = [metric.key for metric in FORCED_METRICS]
    readers = tuple(
        ForcedReader(
            name=name,
            estimates={key: found for key in (*keys, EVENT_ALL) if (found := estimate(sessions, key)) is not None},
            confidence=bin_confidence(slot for one in read[name] for slot in one.events),
            pit=tuple(pit_histogram([_levels(slot) for slot in _numbers(read[name], "dt")], NUM_BINS).tolist()),
            spreads=group_spreads([slot for part in "xy" for slot in _numbers(read[name], part)]),
            gaps={} if name == first else compare(tallies[first], sessions, keys),
        )
        for name, sessions in tallies.items()
    )
    return ForcedEvaluation(len(read[first]), len(tallies[first]), readers)


def tally_readouts(readouts: Sequence[Readout]) -> Mapping[str, Tally]:
    """Return one tally a session."""
    tallies: dict[str, Tally] = {}
    for one in readouts:
        tally = tallies.setdefault(one.session, Tally())
        _tally_bits(tally, one)
        for place in one.events:
            is_right = likeliest(place)[0] == place.truth
            # Most places are ends: whoever expects nothing anywhere would be right there, and nowhere else.
            tally.add("stop_right" if place.truth == STOP else "event_right", is_right)
            tally.add(EVENT_ALL, is_right)
        for slot in one.numbers:
            if slot.part == "dt":
                _tally_time(tally, slot)
        _tally_clicks(tally, one.numbers)
    _tally_calibration(tallies, readouts)
    return tallies


def likeliest(slot: EventSlot) -> tuple[str, float]:
    """Return the likeliest event of a place and its probability; of equals the first in order of name."""
    name = min(slot.ppm, key=lambda one: (-slot.ppm[one], one))
    return name, slot.ppm[name] / sum(slot.ppm.values())


def bin_confidence(slots: Iterable[EventSlot]) -> tuple[ConfidenceBin, ...]:
    """Return places by how sure the model was, in bins of equal width.

    Those of Naeini et al. 2015, "Obtaining well calibrated probabilities using Bayesian binning", and Guo et al. 2017,
    "On calibration of modern neural networks".
    """
    binned: dict[int, list[tuple[float, bool]]] = {}
    for slot in slots:
        name, p = likeliest(slot)
        binned.setdefault(_bin_of(p), []).append((p, name == slot.truth))
    return tuple(
        ConfidenceBin(
            len(inside),
            sum(p for p, _ in inside) / len(inside),
            sum(is_right for _, is_right in inside) / len(inside),
        )
        for _, inside in sorted(binned.items())
    )


def group_spreads(slots: Sequence[NumberSlot]) -> tuple[SpreadGroup, ...]:
    """Return numbers by the spread that was expected of them, in groups of equal size (Levi et al. 2022).

    "Evaluating and calibrating uncertainty prediction in regression tasks": where the expectation is honest, a group's
    error is its spread.
    """
    pairs = sorted((slot.distribution.std, slot.true_value - slot.distribution.quantile(MIDDLE)) for slot in slots)
    num_groups = min(MOST_GROUPS, len(pairs) // LEAST_IN_GROUP)
    groups = np.array_split(np.asarray(pairs, dtype=float), num_groups) if num_groups else []
    return tuple(SpreadGroup(len(group), *(sqrt(float(np.mean(column**2))) for column in group.T)) for group in groups)


def _tally_bits(tally: Tally, one: Readout) -> None:
    for part, bits in one.bits.items():
        # Structure is what a whole answer costs beside what it says.
        tally.add(f"bits_{part}", bits, one.counts.get(part, 1))
    if one.has_actions:
        tally.add("bits_window", sum(bits for part, bits in one.bits.items() if part != "step"))
    if one.step_right is not None:
        tally.add("step_right", one.step_right)
    if one.choices:
        tally.add("off_grammar", one.off_grammar, one.choices)


def _tally_time(tally: Tally, slot: NumberSlot) -> None:
    expected, truth = slot.distribution, slot.true_value
    low, middle, high = (expected.quantile(level) for level in (LOW, MIDDLE, HIGH))
    tally.add("dt_error_ms", abs(truth - middle))
    for level, quantile in ((LOW, low), (MIDDLE, middle), (HIGH, high)):
        tally.add(f"dt_pinball_{level * 100:.0f}_ms", pinball(quantile, truth, level))
    tally.add("dt_crps_ms", expected.crps(truth))
    tally.add("dt_inside", low <= truth <= high)
    tally.add("dt_covered", share_between(_levels(slot), LOW, HIGH))


def _tally_clicks(tally: Tally, slots: Sequence[NumberSlot]) -> None:
    errors: dict[int, dict[str, float]] = {}
    for slot in slots:
        if slot.part == "dt":
            continue
        errors.setdefault(slot.action, {})[slot.part] = slot.true_value - slot.distribution.quantile(MIDDLE)
        tally.add("click_crps_px", slot.distribution.crps(slot.true_value))
        tally.add("click_covered", share_between(_levels(slot), LOW, HIGH))
    for error in errors.values():
        tally.add("click_error_px", hypot(error["x"], error["y"]))


def _tally_calibration(tallies: Mapping[str, Tally], readouts: Sequence[Readout]) -> None:
    """Add the expected calibration error: by how much confidence and accuracy differ, averaged over all places.

    The error of a bin is the size of a sum. With the sign that it has over all sessions, each session's part of it can
    be told, so that the error is a ratio of sums like every other metric. Of few places it is too large, by chance.
    """
    apart: dict[int, float] = {}
    parts: list[tuple[str, int, float]] = []
    for one in readouts:
        for slot in one.events:
            name, p = likeliest(slot)
            difference = p - (name == slot.truth)
            parts.append((one.session, _bin_of(p), difference))
            apart[_bin_of(p)] = apart.get(_bin_of(p), 0.0) + difference
    for session, number, difference in parts:
        tallies[session].add("event_ece", difference if apart[number] >= 0 else -difference)


def _round(values: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 6) for name, value in values.items()}


def _bin_of(p: float) -> int:
    return min(int(p * NUM_BINS), NUM_BINS - 1)


def _levels(slot: NumberSlot) -> tuple[float, float]:
    return slot.distribution.levels_of(slot.true_value)


def _numbers(readouts: Sequence[Readout], part: str) -> list[NumberSlot]:
    return [slot for one in readouts for slot in one.numbers if slot.part == part]


def _moment_of(one: Readout) -> str:
    # The same moment may be read with other goals where a contender's recipe names no steps.
    return one.window_id.rpartition("/")[0]
