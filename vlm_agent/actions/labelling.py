"""What each token of an answer is about, read off the automaton's pieces.

A token may settle several parts at once (`"},{"` ends a place, says "full press" and "another action follows"), so each
one has a list of choices, in the order of writing. A choice names the allowed tokens that agree with the one written in
this part and all before it; the sets shrink from choice to choice down to the token alone. So the probability of a
token among those allowed is exactly the product of its choices' shares, and its bits fall to parts without a rest.
It knows no model: what a text costs is computed in `decoding.readout`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vlm_agent.actions.automaton import ActionAutomaton, State
from vlm_agent.actions.grammar import END, Piece
from vlm_agent.actions.parts import Part, Settled

Written = tuple[Piece, tuple[int, ...]]
"""A piece and its tokens."""


@dataclass(frozen=True)
class Choice:
    """What one token decides about one part."""

    part: Part
    """Which part."""
    agreeing: tuple[int, ...]
    """The allowed tokens that decide it in the same way; those of the choice before are a true superset."""


@dataclass(frozen=True)
class LabeledToken:
    """One token of an answer."""

    token: int
    """Its id."""
    part: Part
    """The part it counts for where each token counts for one: its digits' number, else the last part it decides."""
    allowed: tuple[int, ...]
    """The ids the grammar allows in its place."""
    settled: tuple[Settled, ...]
    """What is certain from this token on, forced or chosen; of a number each digit."""
    choices: tuple[Choice, ...]
    """What it decides; empty where it is forced."""


@dataclass(frozen=True)
class PiecePlace:
    """Where a piece stands in an answer."""

    start: int
    """Index of its first token."""
    slot: str | None
    """The number before it; none at the answer's start."""
    piece: Piece
    """Which one it is."""


@dataclass(frozen=True)
class NumberPlace:
    """Where a number stands in an answer."""

    start: int
    """Index of its first digit."""
    slot: str
    """Its name in the grammar."""
    part: Part
    """What it is."""
    value: int
    """Without its sign."""


@dataclass(frozen=True)
class LabeledAnswer:
    """A whole answer, token by token."""

    tokens: tuple[LabeledToken, ...]
    """In order."""
    states: tuple[State, ...]
    """The automaton before each token."""
    pieces: tuple[PiecePlace, ...]
    """All pieces, in order."""
    numbers: tuple[NumberPlace, ...]
    """All numbers, in order."""


def label_answer(automaton: ActionAutomaton, token_ids: Sequence[int]) -> LabeledAnswer:
    """Return what each token of a canonical answer is about.

    Args:
        automaton: of the answer's spec and codec.
        token_ids: the answer, without the end-of-turn token.

    Raises:
        ValueError: the tokens are no canonical answer.
    """
    tokens: list[LabeledToken] = []
    pieces: list[PiecePlace] = []
    numbers: list[NumberPlace] = []
    states = [automaton.start()]
    for token in token_ids:
        states.append(states[-1].advance(token))
    slot: str | None = None
    while slot != END:
        written = _find_piece(automaton.pieces_after(slot), token_ids, len(tokens))
        if written is None:
            raise ValueError(f"not an answer: nothing that may stand behind {slot or 'its start'} follows")
        piece, piece_ids = written
        pieces.append(PiecePlace(len(tokens), slot, piece))
        for place in range(len(piece_ids)):
            tokens.append(_label_text(automaton, states[len(tokens)], slot, written, place))
        slot = piece.slot
        if slot == END:
            break
        start = len(tokens)
        while len(tokens) < len(token_ids) and token_ids[len(tokens)] in automaton.digits:
            pending = _pending(automaton, pieces[-1], piece_ids) if len(tokens) == start else None
            tokens.append(_label_digit(automaton, states[len(tokens)], slot, token_ids[len(tokens)], pending))
        value = states[len(tokens)].number
        assert value is not None
        numbers.append(NumberPlace(start, slot, automaton.slot(slot).part, value))
    if len(tokens) != len(token_ids):
        raise ValueError(f"not an answer: {len(token_ids) - len(tokens)} tokens follow its end")
    return LabeledAnswer(tuple(tokens), tuple(states[:-1]), tuple(pieces), tuple(numbers))


def agreeing_pieces(written: Sequence[Written], prefix: tuple[int, ...]) -> list[Written]:
    """Return the pieces that begin with some tokens."""
    return [one for one in written if one[1][: len(prefix)] == prefix]


def _find_piece(written: Sequence[Written], token_ids: Sequence[int], start: int) -> Written | None:
    # Of two that both stand there one begins the other, as `"dy":` begins `"dy":-`: the longer one is meant.
    fitting = [one for one in written if tuple(token_ids[start : start + len(one[1])]) == one[1]]
    return max(fitting, key=lambda one: len(one[1]), default=None)


def _label_text(
    automaton: ActionAutomaton, state: State, slot: str | None, written: Written, place: int
) -> LabeledToken:
    piece, ids = written
    allowed = state.allowed()
    here = agreeing_pieces(automaton.pieces_after(slot), ids[:place])
    after = agreeing_pieces(here, ids[: place + 1])
    settled = piece.settles[_count_settled(here, piece) if place else 0 : _count_settled(after, piece)]
    choices: list[Choice] = []
    left = allowed
    if state.number is not None and slot is not None:
        # The number could go on: ending it is a choice of its own.
        left = tuple(token for token in allowed if token not in automaton.digits)
        choices += [Choice(automaton.slot(slot).part, left)] if len(left) < len(allowed) else []
    for known, (part, _) in enumerate(piece.settles, start=1):
        leading = {ids[place] for _, ids in _that_agree(here, piece, known) if len(ids) > place}
        agreeing = tuple(token for token in left if token in leading)
        if len(agreeing) < len(left):
            choices.append(Choice(part, agreeing))
            left = agreeing
    return LabeledToken(ids[place], choices[-1].part if choices else Part.STRUCTURE, allowed, settled, tuple(choices))


def _label_digit(
    automaton: ActionAutomaton, state: State, slot: str, token: int, pending: tuple[Settled, ...] | None
) -> LabeledToken:
    part, allowed = automaton.slot(slot).part, state.allowed()
    choices = []
    left = allowed
    if pending and pending[0][0] is not part:
        # Where an action's first number begins the answer, its first digit also says that there is an action.
        left = tuple(one for one in allowed if one in automaton.digits)
        choices += [Choice(pending[0][0], left)] if len(left) < len(allowed) else []
    if len(left) > 1:
        choices.append(Choice(part, (token,)))
    digit: Settled = (part, str(automaton.digits.index(token)))
    return LabeledToken(token, part, allowed, (*(pending or ()), digit), tuple(choices))


def _pending(automaton: ActionAutomaton, place: PiecePlace, ids: tuple[int, ...]) -> tuple[Settled, ...]:
    """What only the digit behind a piece settles: that no sign was written."""
    candidates = agreeing_pieces(automaton.pieces_after(place.slot), ids)
    return place.piece.settles[_count_settled(candidates, place.piece) :]


def _count_settled(written: Sequence[Written], piece: Piece) -> int:
    """How many of a piece's settled parts all candidates share, from the first on."""
    count = 0
    while count < len(piece.settles) and len(_that_agree(written, piece, count + 1)) == len(written):
        count += 1
    return count


def _that_agree(written: Sequence[Written], piece: Piece, known: int) -> list[Written]:
    return [one for one in written if one[0].settles[:known] == piece.settles[:known]]
