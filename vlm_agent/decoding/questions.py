"""Questions to a model about the player's own answer: what it expected where a number or the next event was written.

A question begins at a place of the answer and follows the tokens that the grammar allows from there until what was
asked is settled: digits until the number has ended, text until the next event is known. Here it is said where tokens
lead; `readout` walks the branches in the model's cache.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self

from vlm_agent.actions.automaton import State
from vlm_agent.actions.grammar import Slot
from vlm_agent.actions.labelling import LabeledAnswer, NumberPlace, PiecePlace, Written, agreeing_pieces
from vlm_agent.actions.parts import DONE, END_OF_LIST, MORE, Part, Settled

NONE = "none"
"""No event: the answer ends here."""
ACT = "act"
"""Some event whose kind is not said yet, where the codec writes the time first."""


class Branch(Protocol):
    """A place that a question has been followed to."""

    @property
    def state(self) -> State:
        """The automaton there."""

    @property
    def settled(self) -> str | None:
        """What comes out of it, once that is certain."""

    def follow(self, token: int) -> Self | None:
        """Return the place after one more allowed token; none where that has nothing to do with the question."""

    def spread(self) -> Mapping[str, float]:
        """Return what may still come out of it, all in equal shares."""


@dataclass(frozen=True)
class NumberBranch:
    """A number without a sign, some of its digits written."""

    state: State
    """The automaton there."""
    slot: Slot
    """The number."""
    maximum: int
    """Largest value that may be written."""
    digits: tuple[int, ...]
    """Token ids of 0 to 9."""
    is_ended: bool = False
    """Whether something else than a digit was written."""
    value: int | None = None
    """What the digits say; none before the first."""

    @property
    def settled(self) -> str | None:
        """The value, once no digit can follow."""
        if self.is_ended or (self.value is not None and not set(self.digits).intersection(self.state.allowed())):
            return str(self.value)
        return None

    def follow(self, token: int) -> Self | None:
        """Return the place after one more token."""
        state = self.state.advance(token)
        if token in self.digits:
            return replace(self, state=state, value=state.number)
        # Before the first digit something else may stand: a sign, or the end of an answer without actions.
        return None if self.value is None else replace(self, state=state, is_ended=True)

    def spread(self) -> Mapping[str, float]:
        """Return the values that begin with the digits."""
        start = "" if self.value is None else str(self.value)
        step = self.slot.step
        values = map(str, range(-(-self.slot.minimum // step) * step, self.maximum + 1, step))
        found = [value for value in values if value.startswith(start)]
        return dict.fromkeys(found, 1 / len(found))


@dataclass(frozen=True)
class TextBranch:
    """A text between two numbers, some of its tokens written."""

    state: State
    """The automaton there."""
    written: tuple[Written, ...]
    """The pieces that are still possible; before the part in question all say what the player said."""
    known: int
    """How many parts come before it."""
    prefix: tuple[int, ...] = ()
    """The tokens written."""

    @property
    def settled(self) -> str | None:
        """The next event, or that there is none."""
        names = {name_event(piece.settles[self.known :]) for piece, _ in self.written}
        return names.pop() if len(names) == 1 else None

    def follow(self, token: int) -> Self | None:
        """Return the place after one more token."""
        prefix = (*self.prefix, token)
        left = agreeing_pieces(self.written, prefix)
        if not left and token in self.state.automaton.digits:
            # A digit goes on behind a piece that is whole.
            left = [one for one in self.written if one[1] == self.prefix]
        if not left:
            return None
        return replace(self, state=self.state.advance(token), written=tuple(left), prefix=prefix)

    def spread(self) -> Mapping[str, float]:
        """Return the events that may follow, and whether none may."""
        names = sorted({name_event(piece.settles[self.known :]) for piece, _ in self.written})
        return dict.fromkeys(names, 1 / len(names))


@dataclass(frozen=True)
class Question:
    """What is asked, and where."""

    part: Part
    """`EVENT`, or which number."""
    start: int
    """Index of the token of the answer that it begins with."""
    branch: Branch
    """The place before that token."""
    truth: str
    """What the player did, as it would come out."""
    action: int
    """Index of the action it is about; behind the last one, how many there are."""
    event: str
    """The event of that action; `none` behind the last one."""


def ask_numbers(answer: LabeledAnswer, asked: Mapping[str, Sequence[Part]]) -> list[Question]:
    """Return a question for each number that is asked about.

    Args:
        answer: the player's.
        asked: which numbers of which event; none that can have a sign.
    """
    events = _events(answer)
    questions = []
    action = -1
    for place in answer.numbers:
        action += place.part is Part.DT
        if place.part in asked.get(events[action], ()):
            questions.append(_ask_number(answer, place, action, events[action]))
    return questions


def _ask_number(answer: LabeledAnswer, place: NumberPlace, action: int, event: str) -> Question:
    state = answer.states[place.start]
    slot = state.automaton.slot(place.slot)
    maximum = state.automaton.spec.horizon_ms - state.spent_ms if slot.is_dt else slot.maximum
    branch = NumberBranch(state, slot, maximum, state.automaton.digits)
    return Question(place.part, place.start, branch, str(place.value), action, event)


def ask_events(answer: LabeledAnswer) -> list[Question]:
    """Return a question for each place where another action may begin, and for each kind that is only said later.

    Where a codec writes the time before the kind, the first question only tells whether there is another action.
    """
    events = [*_events(answer), NONE]
    questions = []
    begun = 0
    for place in answer.pieces:
        parts = [part for part, _ in place.piece.settles]
        if parts and parts[0] is Part.EVENT:
            questions.append(_ask_event(answer, place, 0, begun - 1, events[begun - 1]))
        if Part.STOP in parts:
            questions.append(_ask_event(answer, place, parts.index(Part.STOP), begun, events[begun]))
            begun += (Part.STOP, MORE) in place.piece.settles
    # Behind the most actions that a chunk can have there is nothing to be asked.
    return [one for one in questions if one.branch.settled is None]


def _ask_event(answer: LabeledAnswer, place: PiecePlace, known: int, action: int, event: str) -> Question:
    state = answer.states[place.start]
    said = place.piece.settles
    written = tuple(
        one
        for one in state.automaton.pieces_after(place.slot)
        if one[0].settles[:known] == said[:known] and _may_follow(one, state)
    )
    return Question(Part.EVENT, place.start, TextBranch(state, written, known), name_event(said[known:]), action, event)


def _may_follow(written: Written, state: State) -> bool:
    is_last = state.num_actions >= state.automaton.spec.max_actions
    return not is_last or (Part.STOP, MORE) not in written[0].settles


def name_event(settles: Sequence[Settled]) -> str:
    """Return the event that parts begin with, or how the answer ends."""
    said = dict(settles)
    if settles[0][0] is Part.EVENT:
        return said[Part.EVENT]
    ends = {END_OF_LIST: NONE, DONE: DONE}
    return ends.get(said[Part.STOP]) or said.get(Part.EVENT, ACT)


def _events(answer: LabeledAnswer) -> list[str]:
    return [value for place in answer.pieces for part, value in place.piece.settles if part is Part.EVENT]
