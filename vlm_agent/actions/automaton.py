"""The answers a spec allows, token by token: what the constrained decoder may choose from at every step.

It emits only the canonical tokenization, the one the model was trained on: walking a chunk's path gives exactly
`tokenizer.encode(codec.encode(chunk))`. That needs one property of the tokenizer, checked when an automaton is built:
every digit is a token of its own and never merges with its neighbours. Then the tokens of an answer are the tokens of
the literal pieces between its numbers, with single digits in between, and each piece is tokenized once, as a whole.
It knows no model and no logits (see `decoding`).
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import NamedTuple, Protocol

from vlm_agent.actions.codecs import make_codec
from vlm_agent.actions.grammar import END, Piece, Slot, make_grammar
from vlm_agent.actions.invalid import InvalidActionError
from vlm_agent.actions.spec import ActionSpec
from vlm_agent.errors import ConfigError

_MAX_CACHED_PLACES = 20_000
_NUM_CHECKED_WALKS = 24


class Tokenizer(Protocol):
    """What the automaton needs of a tokenizer; a Hugging Face fast tokenizer has it."""

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text, no special tokens added."""
        ...

    def decode(self, token_ids: list[int]) -> str:
        """Return the text of token ids, byte for byte."""
        ...


@dataclass(frozen=True, eq=False, slots=True)
class _Node:
    # A place inside or at the end of a piece. With a slot, the piece may end here and that number follows.
    children: dict[int, _Node]
    slot: str | None


class _Digits(NamedTuple):
    # A place in a number after at least one digit; there are no leading zeros, so the value says it all.
    slot: str
    value: int


_Place = _Node | _Digits
_Edges = dict[int, _Place]


@dataclass(frozen=True, slots=True)
class State:
    """A place in an answer. Immutable: keep one to come back to it."""

    automaton: ActionAutomaton = field(repr=False, compare=False)
    """Whose state it is."""
    place: _Place
    """Where in the text; of no meaning outside this module."""
    num_actions: int = 0
    """Actions begun so far."""
    spent_ms: int = 0
    """Sum of the `dt` written so far, ms."""

    def allowed(self) -> tuple[int, ...]:
        """Return the token ids that may come next; empty when the answer is complete."""
        return self.automaton._step(self)[1]

    def advance(self, token: int) -> State:
        """Return the state after `token`.

        Raises:
            ValueError: the token is not allowed here.
        """
        place = self.automaton._step(self)[0].get(token)
        if place is None:
            raise ValueError(f"token {token} is not allowed here; allowed: {self.allowed()}")
        num_actions, spent_ms = self.num_actions, self.spent_ms
        if isinstance(place, _Digits) and isinstance(self.place, _Node):
            num_actions += self.automaton._slots[place.slot].is_dt
        elif isinstance(place, _Node) and isinstance(self.place, _Digits):
            spent_ms += self.place.value * self.automaton._slots[self.place.slot].is_dt
        return State(self.automaton, place, num_actions, spent_ms)

    def advance_all(self, tokens: Iterable[int]) -> State:
        """Return the state after several tokens; raises ValueError at the first that is not allowed."""
        state = self
        for token in tokens:
            state = state.advance(token)
        return state

    @property
    def is_complete(self) -> bool:
        """Whether the answer is whole."""
        return isinstance(self.place, _Node) and self.place.slot == END

    @property
    def number(self) -> int | None:
        """The value of the digits written so far, where the place is inside or right behind a number."""
        return self.place.value if isinstance(self.place, _Digits) else None


class ActionAutomaton:
    """All canonical token sequences of a spec's answers."""

    def __init__(self, spec: ActionSpec, codec_name: str, tokenizer: Tokenizer, *, allow_done: bool = True) -> None:
        """Tokenize the pieces of the grammar and check the tokenizer on them.

        Args:
            spec: What is allowed, in model coordinates.
            codec_name: `json` or `line`.
            tokenizer: The model's tokenizer.
            allow_done: Whether the answer that says the goal is reached may be given.

        Raises:
            ConfigError: the tokenizer merges digits with each other or with what stands beside them.
        """
        self.spec = spec
        self.codec = make_codec(codec_name)
        self._tokenizer = tokenizer
        self._grammar = make_grammar(spec, self.codec.layout, allow_done=allow_done)
        self._slots = self._grammar.slots
        self.digits = self._encode_digits()
        """Token ids of 0 to 9."""
        self._steps: dict[tuple[_Place, int, bool], tuple[_Edges, tuple[int, ...]]] = {}
        self._tries = _Tries()
        opening = [(piece, self._encode_piece(piece, at_start=True)) for piece in self._grammar.opening]
        self._start = self._tries.build([(tokens, piece.slot) for piece, tokens in opening])
        # After a slot: what may follow it, and what may follow it in the last action a chunk can have.
        self._roots: dict[tuple[str, bool], _Node] = {}
        encoded = {piece: self._encode_piece(piece) for slot in self._slots.values() for piece in slot.pieces}
        self._written = {None: tuple(opening)} | {
            name: tuple((piece, encoded[piece]) for piece in slot.pieces) for name, slot in self._slots.items()
        }
        for name, slot in self._slots.items():
            for is_last in (False, True):
                pieces = [p for p in slot.pieces if not (is_last and self._grammar.begins_action(p))]
                self._roots[name, is_last] = self._tries.build([(encoded[piece], piece.slot) for piece in pieces])
        self._check()

    def start(self) -> State:
        """Return the state before an answer."""
        return State(self, self._start)

    def walk(self, tokens: Sequence[int]) -> State:
        """Return the state after `tokens`; raises ValueError at the first that is not allowed."""
        return self.start().advance_all(tokens)

    def slot(self, name: str) -> Slot:
        """Return a number of the grammar by its name."""
        return self._slots[name]

    def pieces_after(self, slot: str | None) -> tuple[tuple[Piece, tuple[int, ...]], ...]:
        """Return what may follow a number, or with None how an answer may begin, and the tokens of each."""
        return self._written[slot]

    def _step(self, state: State) -> tuple[_Edges, tuple[int, ...]]:
        place = state.place
        slot_name = place.slot
        slot = self._slots.get(slot_name) if slot_name else None
        left_ms = self.spec.horizon_ms - state.spent_ms if slot and slot.is_dt else 0
        is_last = isinstance(place, _Digits) and state.num_actions >= self.spec.max_actions
        key = (place, left_ms, is_last)
        step = self._steps.get(key)
        if step is None:
            edges = self._edges(place, left_ms, is_last)
            step = (edges, tuple(edges))
            if len(self._steps) >= _MAX_CACHED_PLACES:
                self._steps.clear()
            self._steps[key] = step
        return step

    def _edges(self, place: _Place, left_ms: int, is_last: bool) -> _Edges:
        if isinstance(place, _Node):
            if place.slot is None or place.slot == END:
                return dict(place.children)
            return {**place.children, **self._digit_edges(place.slot, None, left_ms)}
        slot = self._slots[place.slot]
        edges = self._digit_edges(place.slot, place.value, left_ms)
        if slot.minimum <= place.value <= _maximum(slot, left_ms) and place.value % slot.step == 0:
            edges |= self._roots[place.slot, is_last].children
        return edges

    def _digit_edges(self, name: str, value: int | None, left_ms: int) -> _Edges:
        slot = self._slots[name]
        if value == 0:
            return {}
        values = ((digit, digit if value is None else 10 * value + digit) for digit in range(10))
        return {self.digits[digit]: _Digits(name, v) for digit, v in values if _is_prefix(v, slot, left_ms)}

    def _encode_digits(self) -> tuple[int, ...]:
        encoded = [self._tokenizer.encode(digit) for digit in "0123456789"]
        digits = tuple(tokens[0] for tokens in encoded)
        # Merges are made of pairs: where no two digits merge, no more do.
        for first, second in product(range(10), repeat=2):
            if self._tokenizer.encode(f"{first}{second}") != [digits[first], digits[second]]:
                raise ConfigError(f"the tokenizer must write every digit as one token; it merges '{first}{second}'")
        return digits

    def _encode_piece(self, piece: Piece, *, at_start: bool = False) -> tuple[int, ...]:
        # In its place, between digits: a tokenizer that merges across them shows it here.
        before, after = "" if at_start else "5", "" if piece.slot == END else "5"
        tokens = self._tokenizer.encode(before + piece.text + after)
        inner = tokens[len(before) : len(tokens) - len(after)]
        around = [*tokens[: len(before)], *tokens[len(tokens) - len(after) :]]
        if around != [self.digits[5]] * len(before + after):
            text = before + piece.text + after
            raise ConfigError(f"the tokenizer merges digits with the text beside them in {text!r}")
        return tuple(inner)

    def _check(self) -> None:
        rng = random.Random(0)
        for _ in range(_NUM_CHECKED_WALKS):
            tokens: list[int] = []
            state = self.start()
            while choices := state.allowed():
                tokens.append(rng.choice(choices))
                state = state.advance(tokens[-1])
            text = self._tokenizer.decode(tokens)
            try:
                self.codec.decode(text, self.spec)
            except InvalidActionError as error:
                raise ConfigError(f"the tokenizer does not give text back as it was: {error}") from error
            if self._tokenizer.encode(text) != tokens:
                raise ConfigError(f"the tokenizer writes {text!r} in another way than piece by piece")


class _Tries:
    """Builds tries of token sequences, sharing equal subtrees: the many ways to end an action differ only in front."""

    def __init__(self) -> None:
        self._nodes: dict[tuple[str | None, tuple[tuple[int, int], ...]], _Node] = {}

    def build(self, sequences: Sequence[tuple[tuple[int, ...], str]], depth: int = 0) -> _Node:
        """Return the root of a trie; each sequence leads to its slot."""
        slot = None
        groups: dict[int, list[tuple[tuple[int, ...], str]]] = {}
        for tokens, target in sequences:
            if len(tokens) == depth:
                slot = target
            else:
                groups.setdefault(tokens[depth], []).append((tokens, target))
        children = {token: self.build(group, depth + 1) for token, group in groups.items()}
        key = (slot, tuple((token, id(child)) for token, child in sorted(children.items(), key=lambda item: item[0])))
        return self._nodes.setdefault(key, _Node(children, slot))


def _maximum(slot: Slot, left_ms: int) -> int:
    return left_ms if slot.is_dt else slot.maximum


def _is_prefix(value: int, slot: Slot, left_ms: int) -> bool:
    # Whether a number that starts with the digits of `value`, or is it, may be written in `slot`.
    maximum = _maximum(slot, left_ms)
    if value == 0:
        return slot.minimum <= 0
    width = 1
    while value * width <= maximum:
        largest = min(value * width + width - 1, maximum) // slot.step * slot.step
        if largest >= max(value * width, slot.minimum):
            return True
        width *= 10
    return False
