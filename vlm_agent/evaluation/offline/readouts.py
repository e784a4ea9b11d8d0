"""What a model expected of the player's answers, kept so that every number can be computed anew without a model.

A file of JSON lines beside the predictions. Probabilities are whole millionths, so that a line read back is the line
that was written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlm_agent.errors import DataError
from vlm_agent.evaluation.offline.distributions import Distribution
from vlm_agent.evaluation.offline.lines import LineFile, read_lines

FORMAT = 1
MILLION = 1_000_000


@dataclass(frozen=True)
class EventSlot:
    """A place where the player went on or stopped."""

    truth: str
    """The player's next event, `none` where there is none, `done` where the goal is said to be reached."""
    ppm: Mapping[str, int]
    """Probability of each that may follow, millionths; `act` for an event whose kind is not told apart."""


@dataclass(frozen=True)
class NumberSlot:
    """A number that the player's action has."""

    part: str
    """`dt`, `x` or `y`."""
    event: str
    """The action's kind."""
    action: int
    """Its index in the answer."""
    truth: int
    """The player's, in the model's units."""
    first: int
    """The smallest number that might have stood there."""
    ppm: tuple[int, ...]
    """Probability of it and of each that follows on the grid, millionths."""
    step: int
    """The grid that they lie on, in the model's units."""
    unit: float
    """How much one of these units is: milliseconds for a time, frame pixels for a place."""

    @property
    def true_value(self) -> float:
        """The player's number, milliseconds or frame pixels."""
        return self.truth * self.unit

    @cached_property
    def distribution(self) -> Distribution:
        """What the model expected, milliseconds or frame pixels."""
        ppm = np.asarray(self.ppm, dtype=np.float64)
        places = ppm.nonzero()[0]
        values = np.asarray((self.first + places * self.step) * self.unit, dtype=np.float64)
        shares: NDArray[np.float64] = ppm[places] / ppm.sum()
        return Distribution(values, shares, self.step * self.unit)


@dataclass(frozen=True)
class Readout:
    """One window."""

    window_id: str
    """Name of the window in its dataset."""
    session: str
    """Its session: the unit that numbers are resampled by."""
    bits: Mapping[str, float]
    """By part of the answer (see `actions.parts`)."""
    counts: Mapping[str, int]
    """How often each part occurs."""
    choices: int
    """Tokens of which more than one was allowed."""
    off_grammar: float
    """Probability of everything that was not allowed, summed over these."""
    events: tuple[EventSlot, ...] = ()
    """Places where the player went on or stopped."""
    numbers: tuple[NumberSlot, ...] = ()
    """Times of all actions, and places of clicks."""
    step_right: bool | None = None
    """Whether the model would have named the player's step; none where no step was asked for."""
    has_actions: bool = True
    """Whether the player's actions were read, or only the step."""


class ReadoutStore:
    """The file of one contender's read-outs."""

    def __init__(self, path: Path, about: Mapping[str, Any]) -> None:
        """Open a file, or begin one.

        Args:
            path: the file; its folder is made.
            about: who was asked what; a file that says something else is not gone on with.

        Raises:
            DataError: the file is not one of read-outs, or is about something else.
        """
        self._file = LineFile(path, "read-outs", FORMAT, about)
        self.done: dict[str, Readout] = {one.window_id: one for one in map(_from_json, self._file.found)}
        """The read-outs that are there, by window."""

    def add(self, readout: Readout) -> None:
        """Write one more."""
        self._file.add(asdict(readout))
        self.done[readout.window_id] = readout


def read_readouts(path: Path) -> tuple[dict[str, Any], list[Readout]]:
    """Return what a file of read-outs is about, and what is in it.

    Raises:
        DataError: there is no such file, or it is not one of read-outs.
    """
    head, values = read_lines(path, "read-outs", FORMAT)
    try:
        return head, [_from_json(value) for value in values]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: not a file of read-outs ({error})") from error


def _from_json(value: Mapping[str, Any]) -> Readout:
    events = tuple(EventSlot(**one) for one in value["events"])
    numbers = tuple(NumberSlot(**{**one, "ppm": tuple(one["ppm"])}) for one in value["numbers"])
    return Readout(**{**value, "events": events, "numbers": numbers})
