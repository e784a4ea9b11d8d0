"""Which recorded moments are most alike, by the words of goal and game state."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_PLACE = re.compile(r"@-?\d+,-?\d+")
_WORD = re.compile(r"[^\s;:]+")


class WordIndex:
    """Sets of words, to be found by how much they have in common with another one.

    Alike is the share of common words (Jaccard).
    """

    def __init__(self, known: Sequence[frozenset[str]]) -> None:
        """Take the sets; at least one."""
        self._index = {word: number for number, word in enumerate(sorted(frozenset().union(*known)))}
        self._known = np.stack([self._encode(words) for words in known])
        self._sizes = self._known.sum(axis=1)

    def rank(self, words: frozenset[str]) -> list[int]:
        """Return the numbers of all sets, the most alike first; of equals the first one."""
        common = self._known @ self._encode(words)
        alike = common / np.maximum(self._sizes + len(words) - common, 1)
        order: list[int] = np.argsort(-alike, kind="stable").tolist()
        return order

    def _encode(self, words: frozenset[str]) -> NDArray[np.float32]:
        row = np.zeros(len(self._index), np.float32)
        row[[self._index[word] for word in words if word in self._index]] = 1
        return row


def words_of(goal: str, state_text: str) -> frozenset[str]:
    """Return the words of a goal and of a game state's text, each with the line it stands in.

    Places are left out: where things stand differs from scene to scene.
    """
    named = set()
    for line in _PLACE.sub("", state_text).splitlines():
        head, _, rest = line.partition(": ")
        named |= {f"{head}:{word}" for word in _WORD.findall(rest)}
    return frozenset(named | {f"goal:{word}" for word in goal.lower().split()})
