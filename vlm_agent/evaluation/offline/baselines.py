"""Trivial answerers: whoever can't beat them has learnt nothing. They know the training windows and no model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random

import numpy as np
from numpy.typing import NDArray

from vlm_agent.actions.space import CoordinateSpace
from vlm_agent.actions.spec import ActionSpec
from vlm_agent.actions.types import ActionChunk
from vlm_agent.dataset.state_text import render_state
from vlm_agent.dataset.windows import Window
from vlm_agent.errors import DataError
from vlm_agent.policies import Decision, Observation

_PLACE = re.compile(r"@-?\d+,-?\d+")
_WORD = re.compile(r"[^\s;:]+")
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
        words = [_words(window.goal, window.state) for window in windows]
        self._index = {word: number for number, word in enumerate(sorted(set().union(*words)))}
        self._known = np.stack([self._encode(of_window) for of_window in words])
        self._sizes = self._known.sum(axis=1)

    def begin(self, goal: str, spec: ActionSpec, seed: int) -> None:
        """There is nothing to remember."""

    def decide(self, observation: Observation) -> Decision:
        """Return the answer of the nearest window; of several the first."""
        words = _words(observation.goal, observation.game_state)
        common = self._known @ self._encode(words)
        alike = common / np.maximum(self._sizes + len(words) - common, 1)
        return Decision(self._targets[int(alike.argmax())])

    def _encode(self, words: frozenset[str]) -> NDArray[np.float32]:
        row = np.zeros(len(self._index), np.float32)
        row[[self._index[word] for word in words if word in self._index]] = 1
        return row


def _words(goal: str, state: dict[str, object] | None) -> frozenset[str]:
    text = _PLACE.sub("", render_state(state or {}, _SPACE, _STATE_CHARS))
    named = set()
    for line in text.splitlines():
        head, _, rest = line.partition(": ")
        named |= {f"{head}:{word}" for word in _WORD.findall(rest)}
    return frozenset(named | {f"goal:{word}" for word in goal.lower().split()})
