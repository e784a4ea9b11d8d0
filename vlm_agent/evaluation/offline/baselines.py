"""Trivial answerers: whoever can't beat them has learnt nothing. They know the training windows and no model."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from vlm_agent.actions.space import CoordinateSpace
from vlm_agent.actions.spec import ActionSpec
from vlm_agent.actions.types import ActionChunk
from vlm_agent.dataset.state_text import render_state
from vlm_agent.dataset.windows import Window
from vlm_agent.errors import DataError
from vlm_agent.evaluation.offline.word_index import WordIndex, words_of
from vlm_agent.observations import Observation
from vlm_agent.policies import Decision

_SPACE = CoordinateSpace(1000, 1000)
_STATE_CHARS = 4000
"""All of a state is compared, not only what fits into a prompt."""


class MarginalPolicy:
    """Answers with what the player did in some training window, drawn at random: the right mix at the wrong moments."""

    def __init__(self, windows: Sequence[Window]) -> None:
        """Take the training windows.

        Raises:
            DataError: there are none.
        """
        self._targets = [window.target for window in windows]
        if not self._targets:
            raise DataError("a baseline needs training windows, and the dataset has none")
        self._chosen = ActionChunk()

    def begin(self, goal: str, spec: ActionSpec, seed: int) -> None:
        """Draw the answer."""
        self._chosen = Random(seed).choice(self._targets)

    def decide(self, observation: Observation) -> Decision:
        """Return it."""
        return Decision(self._chosen)


class NearestPolicy:
    """Answers with what the player did in the training window whose goal and game state are most alike.

    Alike is the share of common words (Jaccard), places left out: where things stand differs from scene to scene.
    """

    def __init__(self, windows: Sequence[Window]) -> None:
        """Take the training windows.

        Raises:
            DataError: there are none.
        """
        if not windows:
            raise DataError("a baseline needs training windows, and the dataset has none")
        self._targets = [window.target for window in windows]
        self._known = WordIndex([_words(window.goal, window.state) for window in windows])

    def begin(self, goal: str, spec: ActionSpec, seed: int) -> None:
        """There is nothing to remember."""

    def decide(self, observation: Observation) -> Decision:
        """Return the answer of the nearest window; of several the first."""
        return Decision(self._targets[self._known.rank(_words(observation.goal, observation.game_state))[0]])


def _words(goal: str, state: dict[str, object] | None) -> frozenset[str]:
    return words_of(goal, render_state(state or {}, _SPACE, _STATE_CHARS))
