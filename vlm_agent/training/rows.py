"""Tokenized windows as rows: token trees in which what windows have in common is computed once.

A row is a token tree (see `models.token_trees`). A window is a path through it: it sees what lies on its path and
nothing else, and its positions are those it would have alone, so every loss is what it would be in a row of its own.
Tokens are shared up to where an answer begins, pictures where they are the same picture.
This module does not know where windows come from.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlm_agent.models.encoding import IGNORED_LABEL, ChatEncoder, Encoded
from vlm_agent.models.forward import rope_positions
from vlm_agent.models.token_trees import NO_PARENT, TokenTree
from vlm_agent.training.fields import NO_FIELD, AnswerTokens
from vlm_agent.training.numbers import LearntNumber

LEAST_SHARED = 16
"""Fewer tokens are not worth sharing: a segment costs an attention call a layer."""

NO_PICTURE = -1
"""Picture number of text."""


@dataclass(frozen=True)
class WindowNote:
    """What is known of one window beside its tokens."""

    numbers: tuple[LearntNumber, ...] = ()
    """Numbers of its answer of which more is asked than their digits."""
    stage: int = 0
    """From which stage of a curriculum on it is drawn."""
    source: int = 0
    """Its place among the windows that are trained on."""


@dataclass(frozen=True)
class Example:
    """One tokenized window."""

    encoded: Encoded
    """Prompt and answer."""
    image_keys: tuple[str, ...]
    """Identifiers of its pictures, in order."""
    weight: float = 1.0
    """How much each token of its answer counts."""
    is_step: bool = False
    """Whether its answer names a step; else it is of actions."""
    tokens: AnswerTokens | None = None
    """What its answer's tokens are about, and how much each counts beside `weight`; none where nobody said."""
    stage: int = 0
    """From which stage of a curriculum on it is drawn."""
    source: int = 0
    """Its place among the windows that are trained on."""


@dataclass(frozen=True)
class Spoken:
    """An answer within tokenized text."""

    start: int
    """Where its first token stands."""
    num_tokens: int
    """How many tokens are learnt, the end of the turn included."""
    weight: float = 1.0
    """How much each counts."""
    tokens: AnswerTokens | None = None
    """What they are about, and how much each counts beside `weight`; none where nobody said."""


@dataclass(frozen=True)
class Row:
    """Windows laid out as token trees of n tokens together."""

    ids: NDArray[np.int32]
    """Token ids, (n,)."""
    targets: NDArray[np.int32]
    """The token to be predicted at each place, (n,), `IGNORED_LABEL` where nothing is learnt."""
    weights: NDArray[np.float32]
    """How much the loss at each place counts, (n,), 0 where nothing is learnt."""
    positions: NDArray[np.int32]
    """M-RoPE positions, (3, n)."""
    pictures: NDArray[np.int16]
    """Index into `image_keys` where a picture's placeholders stand, (n,), `NO_PICTURE` at text."""
    image_keys: tuple[str, ...]
    """Identifiers of the row's pictures, in the order of their placeholders."""
    fields: NDArray[np.int8]
    """What the token to be predicted is about, index into `FIELDS`, (n,), `NO_FIELD` where nothing is learnt or no
    window said it."""
    tree: TokenTree
    """Who sees whom."""
    notes: tuple[WindowNote, ...] = ()
    """What else is known of each window, in the order of the tree's leaves; nothing where it is empty."""

    @property
    def num_windows(self) -> int:
        """How many windows the row holds: answers, each of which ends before a token that nothing is learnt at."""
        is_target = self.targets != IGNORED_LABEL
        return int(is_target[0]) + int((is_target[1:] & ~is_target[:-1]).sum())

    @property
    def has_branches(self) -> bool:
        """Whether some of its tokens don't see all that stand before them."""
        return len(self.tree.leaves) > 1

    @property
    def num_target_tokens(self) -> int:
        """How many tokens are learnt."""
        return int((self.targets != IGNORED_LABEL).sum())

    @property
    def target_fields(self) -> NDArray[np.int8]:
        """What each learnt token is about, index into `FIELDS`, (target tokens,)."""
        return self.fields[self.targets != IGNORED_LABEL]

    @property
    def total_weight(self) -> float:
        """What the row's loss is divided by for its mean."""
        return float(self.weights.sum(dtype=np.float64))

    @property
    def stage(self) -> int:
        """From which stage of a curriculum on all its windows are drawn."""
        return max((note.stage for note in self.notes), default=0)

    def list_numbers(self) -> list[tuple[int, LearntNumber]]:
        """Return its windows' numbers, each with where its first digit is to be predicted."""
        found = []
        for leaf, note in zip(self.tree.leaves, self.notes, strict=bool(self.notes)):
            start, stop = self.tree.spans[leaf]
            # An answer is never shared, so the first that is learnt in a leaf is its first token.
            answer = start + int((self.targets[start:stop] != IGNORED_LABEL).argmax()) if note.numbers else start
            found += [(answer + number.start, number) for number in note.numbers]
        return found

    def split(self) -> list[Row]:
        """Return every window as a row of its own."""
        if not self.has_branches:
            return [self]
        leaves = enumerate(self.tree.leaves)
        return [self._take(self.tree.path(leaf), self.notes[place : place + 1]) for place, leaf in leaves]

    def _take(self, spans: Sequence[tuple[int, int]], notes: tuple[WindowNote, ...]) -> Row:
        length = sum(stop - start for start, stop in spans)
        tree = TokenTree((0, length), (NO_PARENT,))
        return chain_pieces([Piece(self, start, stop) for start, stop in spans], tree, notes)


def make_row(examples: Sequence[Example], encoder: ChatEncoder) -> Row:
    """Lay windows out as one row, what they have in common once.

    Args:
        examples: at least one.
        encoder: what they were tokenized by.
    """
    return merge_rows([_make_single(example, encoder) for example in examples])


def _make_single(example: Example, encoder: ChatEncoder) -> Row:
    encoded = example.encoded
    spoken = Spoken(encoded.num_prompt_tokens, encoded.num_target_tokens, example.weight, example.tokens)
    note = WindowNote(example.tokens.numbers if example.tokens else (), example.stage, example.source)
    return replace(make_path(encoded, example.image_keys, [spoken], encoder), notes=(note,))


def make_path(encoded: Encoded, image_keys: tuple[str, ...], answers: Sequence[Spoken], encoder: ChatEncoder) -> Row:
    """Lay tokenized text out as a row in which every token sees all before it, and some answers are learnt.

    Args:
        encoded: the text.
        image_keys: identifiers of its pictures, in order.
        answers: what is learnt; they neither touch nor stand at the very beginning.
        encoder: what it was tokenized by.
    """
    ids = np.asarray(encoded.input_ids, np.int32)
    targets = np.full(len(ids), IGNORED_LABEL, np.int32)
    weights = np.zeros(len(ids))
    fields = np.full(len(ids), NO_FIELD, np.int8)
    for answer in answers:
        # What is to be predicted is one further on.
        place = slice(answer.start - 1, answer.start - 1 + answer.num_tokens)
        targets[place] = ids[answer.start : answer.start + answer.num_tokens]
        weights[place] = answer.weight
        if answer.tokens is not None:
            weights[place] *= answer.tokens.weights
            fields[place] = answer.tokens.fields
    positions = rope_positions(encoded, encoder.images, encoder.image_token_id)
    pictures = np.full(len(ids), NO_PICTURE, np.int16)
    num_tokens = [rows * columns // encoder.images.merge**2 for _, rows, columns in encoded.image_grids]
    pictures[ids == encoder.image_token_id] = np.repeat(np.arange(len(num_tokens)), num_tokens)
    return Row(
        ids,
        targets,
        weights.astype(np.float32),
        positions.numpy().astype(np.int32),
        pictures,
        image_keys,
        fields,
        TokenTree((0, len(ids)), (NO_PARENT,)),
    )


def group_examples(examples: Sequence[Example], max_windows: int) -> list[list[Example]]:
    """Return examples grouped by their pictures, in order of first sight, at most `max_windows` to a group.

    Those without a picture stay alone: they share next to nothing.
    """
    open_groups: dict[tuple[int, tuple[str, ...]], list[Example]] = {}
    groups = []
    for example in examples:
        # Windows that a curriculum draws at different times don't share a row.
        kind = (example.stage, example.image_keys)
        group = open_groups.get(kind) if example.image_keys else None
        if group is None or len(group) == max_windows:
            group = open_groups[kind] = []
            groups.append(group)
        group.append(example)
    return groups


@dataclass(frozen=True)
class Piece:
    """Neighbouring tokens of a row."""

    row: Row
    """The row."""
    start: int
    """The first of them."""
    stop: int
    """The one behind the last of them."""

    def __len__(self) -> int:
        return self.stop - self.start


def join_rows(rows: Sequence[Row]) -> Row:
    """Put rows side by side in one; none of them sees another."""
    if len(rows) == 1:
        return rows[0]
    bounds = [0]
    parents: list[int] = []
    for row in rows:
        first_token, first_segment = bounds[-1], len(parents)
        bounds += [first_token + bound for bound in row.tree.bounds[1:]]
        parents += [parent if parent == NO_PARENT else first_segment + parent for parent in row.tree.parents]
    notes = tuple(note for row in rows for note in row.notes)
    return chain_pieces([Piece(row, 0, len(row.ids)) for row in rows], TokenTree(tuple(bounds), tuple(parents)), notes)


def merge_rows(rows: Sequence[Row]) -> Row:
    """Lay the windows of rows out as one row in which what any of them have in common is there once."""
    windows = [window for row in rows for window in row.split()]
    if len(windows) == 1:
        return windows[0]
    growth = _Growth(windows)
    growth.grow(range(len(windows)), 0, NO_PARENT)
    bounds = (0, *accumulate(map(len, growth.pieces)))
    notes = tuple(note for member in growth.members for note in windows[member].notes)
    return chain_pieces(growth.pieces, TokenTree(bounds, tuple(growth.parents)), notes)


class _Growth:
    """A tree of windows under way: a radix tree over their tokens."""

    def __init__(self, windows: Sequence[Row]) -> None:
        self.pieces: list[Piece] = []
        self.parents: list[int] = []
        self.members: list[int] = []
        """The windows in the order of their leaves."""
        self._windows = windows
        numbers: dict[str, int] = defaultdict(lambda: len(numbers) + 1)
        self._marks = [_mark(window, numbers) for window in windows]
        # The last prompt token predicts the first answer token, so it always belongs to the window alone.
        self._limits = [int((window.targets != IGNORED_LABEL).argmax()) for window in windows]

    def grow(self, members: Sequence[int], start: int, parent: int) -> None:
        """Hang what windows that agree up to `start` have below it under a segment."""
        if len(members) == 1:
            self._add(members[0], start, len(self._marks[members[0]]), parent)
            self.members.append(members[0])
            return
        agreed = self._count_agreed(members, start)
        if agreed - start >= LEAST_SHARED:
            parent, start = self._add(members[0], start, agreed, parent), agreed
        for group in self._part(members, agreed):
            self.grow(group, start, parent)

    def _add(self, member: int, start: int, stop: int, parent: int) -> int:
        self.pieces.append(Piece(self._windows[member], start, stop))
        self.parents.append(parent)
        return len(self.pieces) - 1

    def _count_agreed(self, members: Sequence[int], start: int) -> int:
        limit = min(self._limits[member] for member in members)
        first = self._marks[members[0]][start:limit]
        for member in members[1:]:
            differs = first != self._marks[member][start : start + len(first)]
            if differs.any():
                first = first[: int(differs.argmax())]
        return start + len(first)

    def _part(self, members: Sequence[int], at: int) -> list[list[int]]:
        """Group windows by their token at a place; whose answer is near stays alone."""
        groups: dict[tuple[str, int], list[int]] = defaultdict(list)
        for member in members:
            is_near = at >= self._limits[member]
            groups[("alone", member) if is_near else ("token", int(self._marks[member][at]))].append(member)
        return list(groups.values())


def _mark(window: Row, numbers: dict[str, int]) -> NDArray[np.int64]:
    """Return what tells tokens apart: ids of text, numbers below 0 of pictures."""
    marks = window.ids.astype(np.int64)
    if window.image_keys:
        known = np.asarray([-numbers[key] for key in window.image_keys])
        seen = window.pictures != NO_PICTURE
        marks[seen] = known[window.pictures[seen]]
    return marks


def chain_pieces(pieces: Sequence[Piece], tree: TokenTree, notes: tuple[WindowNote, ...] = ()) -> Row:
    """Put pieces one after the other, as the segments of a tree; notes are those of its leaves."""
    pictures = []
    keys: list[str] = []
    for piece in pieces:
        found, numbers = np.unique(piece.row.pictures[piece.start : piece.stop], return_inverse=True)
        shown = found[found != NO_PICTURE]
        first = len(keys) - (len(found) - len(shown))  # `NO_PICTURE` comes first among those found
        pictures.append(np.where(found[numbers] == NO_PICTURE, NO_PICTURE, numbers + first))
        keys += [piece.row.image_keys[number] for number in shown]

    def join(arrays: Iterable[NDArray[Any]]) -> NDArray[Any]:
        cut = [whole[..., piece.start : piece.stop] for whole, piece in zip(arrays, pieces, strict=True)]
        return np.concatenate(cut, axis=-1)

    return Row(
        join(piece.row.ids for piece in pieces),
        join(piece.row.targets for piece in pieces),
        join(piece.row.weights for piece in pieces),
        join(piece.row.positions for piece in pieces),
        np.concatenate(pictures).astype(np.int16),
        tuple(keys),
        join(piece.row.fields for piece in pieces),
        tree,
        notes,
    )
