"""The answers a spec allows, as alternating pieces of literal text and numbers.

    start ──piece──▶ number ──piece──▶ number ──piece──▶ ... ──piece──▶ END

A piece is everything between two numbers: names (keys, buttons, states), punctuation and the start of the next action
are part of it. The cut is made at digits because that is the one place where a byte-level BPE tokenizer with single
digits never merges, whatever its vocabulary (see `actions.automaton`). It knows texts only, no tokens.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from vlm_agent.actions.layouts import Field, Layout, Template
from vlm_agent.actions.spec import ActionSpec, EventName

END = "END"
"""The slot after a last piece."""


@dataclass(frozen=True)
class Piece:
    """Literal text, and the number that follows it."""

    text: str
    """Never starts or ends with a digit of a number; digits inside belong to names (`f1`)."""
    slot: str
    """Name of the number that follows, or `END`."""


@dataclass(frozen=True)
class Slot:
    """A number to be written in plain decimal digits, and the pieces that may follow it."""

    minimum: int
    """Smallest value."""
    maximum: int
    """Largest value; for a `dt` the whole horizon, of which only what is left may be used."""
    step: int
    """Values are multiples of this."""
    is_dt: bool
    """Whether the number is an action's `dt`: it begins an action and uses up time."""
    pieces: tuple[Piece, ...]
    """What may follow."""


@dataclass(frozen=True)
class Grammar:
    """All answers of a spec in one layout."""

    opening: tuple[Piece, ...]
    """How an answer may begin."""
    slots: dict[str, Slot]
    """The numbers by name: `CLICK.x`, `MOVE.y-` (its digits after a minus sign), `dt` with its action's head."""

    def begins_action(self, piece: Piece) -> bool:
        """Return whether another action begins at the end of `piece`."""
        return piece.slot != END and self.slots[piece.slot].is_dt


@dataclass(frozen=True)
class _Stretch:
    # The text before a number in one action, all its spellings; after the last number the field is None.
    texts: tuple[str, ...]
    field: Field | None


def make_grammar(spec: ActionSpec, layout: Layout, *, allow_done: bool = True) -> Grammar:
    """Return the grammar of `spec` in `layout`, without the `done` answer where it is not allowed."""
    actions = {event: _stretches(layout.templates[spec.pointer][event], spec, layout) for event in spec.events}
    heads = dict.fromkeys(stretches[0].texts[0] for stretches in actions.values())
    opening = [Piece(layout.empty, END), *([Piece(layout.done, END)] if allow_done else [])]
    opening += [Piece(layout.opening + head, _dt_name(head)) for head in heads]
    tails = [Piece(layout.closing, END), *(Piece(layout.separator + head, _dt_name(head)) for head in heads)]
    slots: dict[str, Slot] = {}
    after_dt: dict[str, list[Piece]] = defaultdict(list)
    for event, stretches in actions.items():
        after_dt[stretches[0].texts[0]] += _pieces(event, stretches, 1, spec, tails)
        for index, stretch in enumerate(stretches[1:-1], start=1):
            pieces = tuple(_pieces(event, stretches, index + 1, spec, tails))
            for name, minimum, maximum in _ranges(event, stretch.field, spec):
                slots[name] = Slot(minimum, maximum, 1, False, pieces)
    for head, found in after_dt.items():
        slots[_dt_name(head)] = Slot(0, spec.horizon_ms, spec.time_unit_ms, True, tuple(found))
    return Grammar(tuple(opening), slots)


def _dt_name(head: str) -> str:
    return f"dt {head}"


def _stretches(template: Template, spec: ActionSpec, layout: Layout) -> list[_Stretch]:
    stretches: list[_Stretch] = []
    texts = [""]
    for part in template:
        if isinstance(part, str):
            texts = [text + part for text in texts]
        elif part in (Field.BUTTON, Field.KEY, Field.STATE):
            texts = [text + name for text, name in product(texts, _names(part, spec, layout))]
        else:
            stretches.append(_Stretch(tuple(texts), part))
            texts = [""]
    return [*stretches, _Stretch(tuple(texts), None)]


def _names(field: Field, spec: ActionSpec, layout: Layout) -> tuple[str, ...]:
    if field is Field.BUTTON:
        return spec.buttons
    if field is Field.KEY:
        return spec.keys
    before, after = layout.state_affixes
    return ("", *(f"{before}{state}{after}" for state in ("down", "up") if spec.holds))


def _pieces(
    event: EventName, stretches: list[_Stretch], index: int, spec: ActionSpec, tails: list[Piece]
) -> Iterator[Piece]:
    stretch = stretches[index]
    if stretch.field is None:
        for text, tail in product(stretch.texts, tails):
            yield Piece(text + tail.text, tail.slot)
        return
    for text, (name, _, _) in product(stretch.texts, _ranges(event, stretch.field, spec)):
        yield Piece(text + "-" * name.endswith("-"), name)


def _ranges(event: EventName, field: Field | None, spec: ActionSpec) -> list[tuple[str, int, int]]:
    # Name, smallest and largest value of a number; one that may be negative is two, the sign belongs to the text.
    assert field is not None
    name = f"{event}.{field.value}"
    if field is Field.WHEEL:
        return [(name, 1, spec.max_scroll), (name + "-", 1, spec.max_scroll)]
    if spec.pointer == "relative":
        return [(name, 0, spec.max_offset), (name + "-", 1, spec.max_offset)]
    return [(name, 0, (spec.extent_width if field is Field.X else spec.extent_height) - 1)]
