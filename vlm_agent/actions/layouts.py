"""How a chunk is written: for each codec a table of literal text and fields.

The encoder, the decoder's patterns and the token automaton are all read off these tables, so that they can't drift
apart. The tables know no ranges (see `actions.validation`).

    json   {"actions":[ACTION,ACTION]}         {"actions":[]}    {"actions":[],"done":true}
           ACTION  {"event":"CLICK","dt":DT,"x":X,"y":Y,"button":"BUTTON"}    {"event":"KEY","dt":DT,"key":"KEY"}
                   {"event":"SCROLL","dt":DT,"x":X,"y":Y,"dy":DY}             {"event":"MOVE","dt":DT,"x":X,"y":Y}
           holds   ,"state":"down"  or  ,"state":"up"  before the closing brace of CLICK and KEY
    line   ACTION newline ACTION .              .                 done.
           ACTION  DT click X Y BUTTON    DT key KEY    DT scroll X Y DY    DT move X Y
           holds   a last word, down or up, after CLICK and KEY

With a relative pointer MOVE has `"dx"` and `"dy"` (line: the same two numbers, signed), CLICK and SCROLL have no point.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from vlm_agent.actions.spec import EventName, PointerKind
from vlm_agent.actions.types import Action, Click, Key, Move, Scroll


class Field(Enum):
    """A place in an action's text that holds a value; the value is the attribute of the action."""

    DT = "dt_ms"
    X = "x"
    Y = "y"
    WHEEL = "dy"
    BUTTON = "button"
    KEY = "key"
    STATE = "state"


NUMBERS = (Field.DT, Field.X, Field.Y, Field.WHEEL)
"""Fields that are written as integers; the others are names."""

Template = tuple[str | Field, ...]
"""One action's text: literals and fields in order."""

ACTION_TYPES: dict[EventName, type[Action]] = {"CLICK": Click, "KEY": Key, "SCROLL": Scroll, "MOVE": Move}
"""The class of each event."""


@dataclass(frozen=True)
class Layout:
    """The text form of a codec."""

    opening: str
    """Before the first action."""
    separator: str
    """Between two actions."""
    closing: str
    """After the last action."""
    done: str
    """The whole answer that says the goal is reached."""
    state_affixes: tuple[str, str]
    """What stands before and after a state; both vanish for a full press."""
    templates: dict[PointerKind, dict[EventName, Template]]
    """Each event's text under each kind of pointer."""

    @property
    def empty(self) -> str:
        """The whole answer that does nothing."""
        return self.opening + self.closing


def _json_template(event: str, *body: str | Field, state: bool = False) -> Template:
    tail: tuple[str | Field, ...] = (Field.STATE, "}") if state else ("}",)
    return (f'{{"event":"{event}","dt":', Field.DT, *body, *tail)


def _line_template(event: str, *body: str | Field, state: bool = False) -> Template:
    return (Field.DT, f" {event.lower()} ", *body, *((Field.STATE,) if state else ()))


_JSON_POINT = (',"x":', Field.X, ',"y":', Field.Y)
_JSON_OFFSET = (',"dx":', Field.X, ',"dy":', Field.Y)
_JSON_BUTTON = (',"button":"', Field.BUTTON, '"')
_JSON_WHEEL = (',"dy":', Field.WHEEL)
_JSON_KEY = _json_template("KEY", ',"key":"', Field.KEY, '"', state=True)
_LINE_KEY = _line_template("KEY", Field.KEY, state=True)
_LINE_POINT = (Field.X, " ", Field.Y)

JSON_LAYOUT = Layout(
    opening='{"actions":[',
    separator=",",
    closing="]}",
    done='{"actions":[],"done":true}',
    state_affixes=(',"state":"', '"'),
    templates={
        "absolute": {
            "CLICK": _json_template("CLICK", *_JSON_POINT, *_JSON_BUTTON, state=True),
            "KEY": _JSON_KEY,
            "SCROLL": _json_template("SCROLL", *_JSON_POINT, *_JSON_WHEEL),
            "MOVE": _json_template("MOVE", *_JSON_POINT),
        },
        "relative": {
            "CLICK": _json_template("CLICK", *_JSON_BUTTON, state=True),
            "KEY": _JSON_KEY,
            "SCROLL": _json_template("SCROLL", *_JSON_WHEEL),
            "MOVE": _json_template("MOVE", *_JSON_OFFSET),
        },
        "none": {"KEY": _JSON_KEY},
    },
)
"""The codec `json`."""

LINE_LAYOUT = Layout(
    opening="",
    separator="\n",
    closing=".",
    done="done.",
    state_affixes=(" ", ""),
    templates={
        "absolute": {
            "CLICK": _line_template("CLICK", *_LINE_POINT, " ", Field.BUTTON, state=True),
            "KEY": _LINE_KEY,
            "SCROLL": _line_template("SCROLL", *_LINE_POINT, " ", Field.WHEEL),
            "MOVE": _line_template("MOVE", *_LINE_POINT),
        },
        "relative": {
            "CLICK": _line_template("CLICK", Field.BUTTON, state=True),
            "KEY": _LINE_KEY,
            "SCROLL": _line_template("SCROLL", Field.WHEEL),
            "MOVE": _line_template("MOVE", *_LINE_POINT),
        },
        "none": {"KEY": _LINE_KEY},
    },
)
"""The codec `line`: about half of json's tokens."""
