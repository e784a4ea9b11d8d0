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
from vlm_agent.actions.parts import DONE, END_OF_LIST, FULL_PRESS, MORE, Part, Settled
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
    settles: tuple[Settled, ...] = ()
    """What it says, in the order of writing: the pieces that may stand in one place differ in it."""


@dataclass(frozen=True)
class Slot:
    """A number to be written in plain decimal digits, and the pieces that may follow it."""

    minimum: int
    """Smallest value."""
    maximum: int
    """Largest value; for a `dt` the whole horizon, of which only what is left may be used."""
    step: int
    """Values are multiples of this."""
    part: Part
    """What the number is."""
    pieces: tuple[Piece, ...]
    """What may follow."""

    @property
    def is_dt(self) -> bool:
        """Whether the number is an action's `dt`: it begins an action and uses up time."""
        return self.part is Part.DT


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


Spelling = tuple[str, tuple[Settled, ...]]
"""A text and what it says."""


@dataclass(frozen=True)
class _Stretch:
    # The text before a number in one action, all its spellings; after the last number the field is None.
    spellings: tuple[Spelling, ...]
    field: Field | None

    @property
    def text(self) -> str:
        # Before an action's first number there is but one spelling.
        return self.spellings[0][0]


_PARTS = {
    Field.DT: Part.DT,
    Field.X: Part.X,
    Field.Y: Part.Y,
    Field.WHEEL: Part.DY,
    Field.BUTTON: Part.BUTTON,
    Field.KEY: Part.KEY,
    Field.STATE: Part.STATE,
}


def make_grammar(spec: ActionSpec, layout: Layout, *, allow_done: bool = True) -> Grammar:
    """Return the grammar of `spec` in `layout`, without the `done` answer where it is not allowed."""
    actions = {event: _stretches(layout.templates[spec.pointer][event], spec, layout) for event in spec.events}
    events_by_head: dict[str, list[EventName]] = defaultdict(list)
    for event, stretches in actions.items():
        events_by_head[stretches[0].text].append(event)

    def begin(before: str) -> list[Piece]:
        return [
            Piece(before + head, _dt_name(head), ((Part.STOP, MORE), *_settle_event(events)))
            for head, events in events_by_head.items()
        ]

    opening = [Piece(layout.empty, END, ((Part.STOP, END_OF_LIST),))]
    opening += [Piece(layout.done, END, ((Part.STOP, DONE),))] if allow_done else []
    opening += begin(layout.opening)
    tails = [Piece(layout.closing, END, ((Part.STOP, END_OF_LIST),)), *begin(layout.separator)]
    slots: dict[str, Slot] = {}
    after_dt: dict[str, list[Piece]] = defaultdict(list)
    for event, stretches in actions.items():
        head = stretches[0].text
        # Where all actions begin alike, the kind is said after the time.
        said = () if len(events_by_head[head]) == 1 else ((Part.EVENT, str(event)),)
        after_dt[head] += _pieces(event, stretches, 1, spec, tails, said)
        for index, stretch in enumerate(stretches[1:-1], start=1):
            pieces = tuple(_pieces(event, stretches, index + 1, spec, tails))
            for name, minimum, maximum in _ranges(event, stretch.field, spec):
                slots[name] = Slot(minimum, maximum, 1, _part_of(stretch.field), pieces)
    for head, found in after_dt.items():
        slots[_dt_name(head)] = Slot(0, spec.horizon_ms, spec.time_unit_ms, Part.DT, tuple(found))
    return Grammar(tuple(opening), slots)


def _settle_event(events: list[EventName]) -> tuple[Settled, ...]:
    return ((Part.EVENT, str(events[0])),) if len(events) == 1 else ()


def _dt_name(head: str) -> str:
    return f"dt {head}"


def _part_of(field: Field | None) -> Part:
    assert field is not None
    return _PARTS[field]


def _stretches(template: Template, spec: ActionSpec, layout: Layout) -> list[_Stretch]:
    stretches: list[_Stretch] = []
    spellings: list[Spelling] = [("", ())]
    for part in template:
        if isinstance(part, str):
            spellings = [(text + part, said) for text, said in spellings]
        elif part in (Field.BUTTON, Field.KEY, Field.STATE):
            names = _names(part, spec, layout)
            spellings = [
                (text + written, (*said, (_PARTS[part], name)))
                for (text, said), (written, name) in product(spellings, names)
            ]
        else:
            stretches.append(_Stretch(tuple(spellings), part))
            spellings = [("", ())]
    return [*stretches, _Stretch(tuple(spellings), None)]


def _names(field: Field, spec: ActionSpec, layout: Layout) -> list[tuple[str, str]]:
    # How each is written, and what it is.
    if field is not Field.STATE:
        return [(name, name) for name in (spec.buttons if field is Field.BUTTON else spec.keys)]
    before, after = layout.state_affixes
    return [("", FULL_PRESS), *((f"{before}{state}{after}", state) for state in ("down", "up") if spec.holds)]


def _pieces(
    event: EventName,
    stretches: list[_Stretch],
    index: int,
    spec: ActionSpec,
    tails: list[Piece],
    said: tuple[Settled, ...] = (),
) -> Iterator[Piece]:
    stretch = stretches[index]
    if stretch.field is None:
        for (text, names), tail in product(stretch.spellings, tails):
            yield Piece(text + tail.text, tail.slot, (*said, *names, *tail.settles))
        return
    ranges = _ranges(event, stretch.field, spec)
    for (text, names), (name, _, _) in product(stretch.spellings, ranges):
        sign = "-" if name.endswith("-") else "+"
        signs = ((_part_of(stretch.field), sign),) if len(ranges) > 1 else ()
        yield Piece(text + sign * (sign == "-"), name, (*said, *names, *signs))


def _ranges(event: EventName, field: Field | None, spec: ActionSpec) -> list[tuple[str, int, int]]:
    # Name, smallest and largest value of a number; one that may be negative is two, the sign belongs to the text.
    assert field is not None
    name = f"{event}.{field.value}"
    if field is Field.WHEEL:
        return [(name, 1, spec.max_scroll), (name + "-", 1, spec.max_scroll)]
    if spec.pointer == "relative":
        return [(name, 0, spec.max_offset), (name + "-", 1, spec.max_offset)]
    return [(name, 0, (spec.extent_width if field is Field.X else spec.extent_height) - 1)]
