"""A choice between known texts, token by token, in the form the engine follows.

It knows no model. Every text ends with the end-of-turn token, so one text may begin like another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Choice:
    """A place in the texts that may still be meant. Immutable."""

    texts: tuple[tuple[int, ...], ...]
    """Token ids of each, the end-of-turn token included."""
    depth: int = 0
    """How many tokens were written."""

    def allowed(self) -> tuple[int, ...]:
        """Return the ids that may come next; none when a text is complete."""
        return tuple(sorted({text[self.depth] for text in self.texts if len(text) > self.depth}))

    def forced(self) -> tuple[int, ...]:
        """Return the run of ids that leave no choice."""
        run: list[int] = []
        state = self
        while len(allowed := state.allowed()) == 1:
            run.append(allowed[0])
            state = state.advance(allowed[0])
        return tuple(run)

    def advance(self, token: int) -> Choice:
        """Return the place after one more token.

        Raises:
            ValueError: no text goes on like that.
        """
        kept = tuple(text for text in self.texts if len(text) > self.depth and text[self.depth] == token)
        if not kept:
            raise ValueError(f"token {token} is not allowed here; allowed: {self.allowed()}")
        return Choice(kept, self.depth + 1)

    @property
    def is_complete(self) -> bool:
        """Whether a text is whole."""
        return not self.allowed()


def choose_between(texts: Sequence[Sequence[int]], end_id: int) -> Choice:
    """Return the start of a choice between texts, given as token ids without their end."""
    return Choice(tuple((*text, end_id) for text in texts))
