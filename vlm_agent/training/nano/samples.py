"""What nano learns from: a screen, what is on it, and instructions with the right actions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vlm_agent.actions.types import Action, ActionChunk

CONDITIONAL = "conditional"
"""Kind of a question whose answer depends on a condition in its words."""


@dataclass(frozen=True)
class Thing:
    """A named thing on the screen; its box in thousandths of the screen's width and height."""

    name: str
    left: int
    top: int
    right: int
    bottom: int
    is_anywhere: bool = False
    """Whether it may be anywhere, as what stands in the world: its place is told by eye to within a patch."""

    @property
    def centre(self) -> tuple[int, int]:
        """Centre of the box, each 0..999."""
        return (
            min(max((self.left + self.right) // 2, 0), 999),
            min(max((self.top + self.bottom) // 2, 0), 999),
        )

    def holds(self, x: int, y: int) -> bool:
        """Return whether a place lies in the box."""
        return self.left <= x < self.right and self.top <= y < self.bottom

    @property
    def area(self) -> int:
        """Area of the box in square thousandths."""
        return max(self.right - self.left, 0) * max(self.bottom - self.top, 0)


@dataclass(frozen=True)
class Question:
    """An instruction and the right answer to it."""

    goal: str
    """The instruction as a person would give it."""
    answer: ActionChunk
    """What to do in the next horizon, in thousandths."""
    kind: str
    """The goal's name in the game or `CONDITIONAL`, for counting."""


@dataclass(frozen=True)
class NanoSample:
    """One moment of a game, with questions about it."""

    frame: np.ndarray
    """(256, 384, 3) uint8 RGB, as nano sees it."""
    state_text: str
    """The whole game-state text; training drops all or part of it at random."""
    recent: tuple[tuple[int, Action], ...]
    """Age in milliseconds and action, oldest first, in thousandths."""
    questions: tuple[Question, ...]
    """At least one."""
    things: tuple[Thing, ...]
    """Everything named that is visible."""
