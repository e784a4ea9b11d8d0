"""What a token of an answer is about: the parts that losses and read-outs are told apart by."""

from __future__ import annotations

from enum import StrEnum


class Part(StrEnum):
    """One part of an answer."""

    EVENT = "event"
    """The kind of an action."""
    DT = "dt"
    """Its time after the one before."""
    X = "x"
    """Its column, or horizontal offset."""
    Y = "y"
    """Its row, or vertical offset."""
    DY = "dy"
    """Notches of the wheel."""
    BUTTON = "button"
    """Which mouse button."""
    KEY = "key"
    """Which key."""
    STATE = "state"
    """Full press, `down` or `up`."""
    STOP = "stop"
    """Whether another action follows, the answer ends, or the goal is said to be reached."""
    STRUCTURE = "structure"
    """What the grammar forces: names of fields, punctuation, the end of the turn."""
    STEP = "step"
    """The step towards a long goal, where that is what was asked for."""


FULL_PRESS, MORE, END_OF_LIST, DONE = "full", "more", "end", "done"
"""Values of STATE and STOP that the text has no word of its own for."""

Settled = tuple[Part, str]
"""A part and the value it has."""
