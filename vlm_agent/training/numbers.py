"""Which numbers of an answer are learnt as numbers, and how: times and places, by the settings.

To cross entropy a click one thousandth beside the true place is as wrong as one at the other end of the screen. Here
each time, x and y of an answer gets its digit tree and what is asked of it; `number_losses` computes it. This module
knows tokens, but no model.
"""

from __future__ import annotations

from dataclasses import dataclass

from vlm_agent.actions.labelling import LabeledAnswer, NumberPlace
from vlm_agent.actions.parts import Part
from vlm_agent.training.config import TrainConfig
from vlm_agent.training.digit_trees import DigitTree, NumberRange, grow_tree


@dataclass(frozen=True)
class NumberGoals:
    """What is asked of numbers."""

    soft_points: float = 0.0
    """Width of the targets of x and y, thousandths of the largest value that may stand there."""
    soft_dt_ms: float = 0.0
    """Width of the targets of times, milliseconds."""
    pinball: float = 0.0
    """How much the quantile loss of times counts."""
    gaussian: float = 0.0
    """How much the Gaussian loss of x and y counts."""

    @classmethod
    def of(cls, config: TrainConfig) -> NumberGoals:
        """Return what settings ask."""
        return cls(
            config.soft_points or 0.0,
            config.soft_dt_ms or 0.0,
            config.pinball_weight or 0.0,
            config.gaussian_weight or 0.0,
        )

    def asks(self, part: Part) -> bool:
        """Tell whether anything is asked of a part."""
        if part is Part.DT:
            return bool(self.soft_dt_ms or self.pinball)
        return part in (Part.X, Part.Y) and bool(self.soft_points or self.gaussian)


@dataclass(frozen=True)
class LearntNumber:
    """A number of an answer, and what is asked of it."""

    start: int
    """Index of its first digit among the answer's tokens."""
    tree: DigitTree
    """The way to its value; J nodes, as many as it has digits, and one for the token behind them."""
    digits: tuple[int, ...]
    """Token ids of 0 to 9."""
    ends: tuple[tuple[int, ...], ...]
    """Token ids that may end it at each node, J tuples; there are several where they also say what follows."""
    is_soft: bool
    """Whether the tree's targets are learnt instead of the true digits."""
    pinball: float = 0.0
    """How much its quantile loss counts; 0 asks for none."""
    gaussian: float = 0.0
    """How much its Gaussian loss counts; 0 asks for none."""


def find_numbers(answer: LabeledAnswer, goals: NumberGoals) -> tuple[LearntNumber, ...]:
    """Return the numbers of an answer of which something is asked; of a signed one its digits, the sign is given."""
    return tuple(_make_number(answer, place, goals) for place in answer.numbers if goals.asks(place.part))


def _make_number(answer: LabeledAnswer, place: NumberPlace, goals: NumberGoals) -> LearntNumber:
    state = answer.states[place.start]
    automaton = state.automaton
    slot = automaton.slot(place.slot)
    maximum = automaton.spec.horizon_ms - state.spent_ms if slot.is_dt else slot.maximum
    width = goals.soft_dt_ms if slot.is_dt else goals.soft_points / 1000 * (slot.maximum + 1)
    tree = grow_tree(NumberRange(slot.minimum, maximum, slot.step), place.value, width)
    allowed = [answer.tokens[place.start + node].allowed for node in range(len(tree.taken))]
    # Before its first digit a number can't end: what else is allowed there is another number, or none.
    ends = ((), *(tuple(token for token in tokens if token not in automaton.digits) for tokens in allowed[1:]))
    return LearntNumber(
        place.start,
        tree,
        automaton.digits,
        ends,
        is_soft=width > 0,
        pinball=goals.pinball if slot.is_dt else 0.0,
        gaussian=0.0 if slot.is_dt else goals.gaussian,
    )
