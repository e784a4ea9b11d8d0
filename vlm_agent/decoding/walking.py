"""Following questions through a model: all branches of one depth in one pass, until each is settled or too small."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vlm_agent.decoding.questions import Branch, Question

Run = tuple[int, tuple[int, ...]]
"""The forked token that tokens follow (see `CachedSequence.fork`), and those tokens."""


@dataclass(frozen=True)
class Place:
    """What a model says at one place."""

    allowed: tuple[int, ...]
    """The tokens that the grammar allows here."""
    logits: NDArray[np.float64]
    """Theirs, (allowed,)."""
    log_total: float
    """Log of the sum of exponentials over the whole vocabulary."""
    fork: int
    """The forked token in front of it; -1 for the prompt's last."""

    def log_shares(self) -> NDArray[np.float64]:
        """Return log probabilities among the allowed tokens, (allowed,)."""
        shares: NDArray[np.float64] = self.logits - np.logaddexp.reduce(self.logits)
        return shares


LookAll = Callable[[Sequence[Run], Sequence[tuple[int, ...]]], list[Place]]
"""Runs forks and returns what the model says behind each, given the tokens allowed there."""


@dataclass(frozen=True)
class _Step:
    """A place that a question was followed to."""

    branch: Branch
    mass: float
    place: Place
    index: int | None
    """Which token of the player's answer stands here, as long as the branch is that answer."""


@dataclass(frozen=True)
class _Sprout:
    """A branch that the model must be run for."""

    question: int
    branch: Branch
    mass: float
    run: Run


class Walk:
    """Finds the distributions behind questions about one answer."""

    def __init__(
        self, token_ids: Sequence[int], places: Sequence[Place], look_all: LookAll, *, least_mass: float
    ) -> None:
        """Take the answer, what the model says before each of its tokens, and how to run it for others.

        Args:
            token_ids: the player's answer.
            places: one for each token.
            look_all: runs forks of the answer.
            least_mass: branches below this are not walked: what lies in them gets equal shares.
        """
        self._token_ids = token_ids
        self._places = places
        self._look_all = look_all
        self._least_mass = least_mass
        self._sprouts: list[_Sprout] = []
        self._found: list[dict[str, float]] = []

    def find(self, questions: Sequence[Question]) -> list[Mapping[str, float]]:
        """Return for each question the probability of everything that may come out; each adds up to 1."""
        self._found = [defaultdict(float) for _ in questions]
        for number, question in enumerate(questions):
            place = self._places[question.start]
            # What has nothing to do with a question (a number that goes on, where it is asked what follows it) is
            # left out here, so that small branches are those that are small among what matters.
            related = sum(np.exp(share) for share, _ in _part_ways(question.branch, place))
            self._expand(number, _Step(question.branch, 1 / float(related), place, question.start))
        while self._sprouts:
            sprouts, self._sprouts = self._sprouts, []
            allowed = [sprout.branch.state.allowed() for sprout in sprouts]
            places = self._look_all([sprout.run for sprout in sprouts], allowed)
            for sprout, place in zip(sprouts, places, strict=True):
                self._expand(sprout.question, _Step(sprout.branch, sprout.mass, place, None))
        return [_normalise(outcomes) for outcomes in self._found]

    def _expand(self, question: int, step: _Step) -> None:
        for share, (token, branch) in _part_ways(step.branch, step.place):
            mass = step.mass * float(np.exp(share))
            settled = branch.settled
            if settled is not None:
                self._found[question][settled] += mass
            elif mass < self._least_mass:
                for outcome, part in branch.spread().items():
                    self._found[question][outcome] += mass * part
            elif step.index is not None and token == self._token_ids[step.index]:
                self._expand(question, _Step(branch, mass, self._places[step.index + 1], step.index + 1))
            else:
                self._sprout(question, branch, mass, step.place.fork, token)

    def _sprout(self, question: int, branch: Branch, mass: float, fork: int, token: int) -> None:
        """Remember a branch for the next pass; tokens that are forced ride along."""
        run = [token]
        while branch.settled is None and len(allowed := branch.state.allowed()) == 1:
            after = branch.follow(allowed[0])
            assert after is not None
            run.append(allowed[0])
            branch = after
        settled = branch.settled
        if settled is not None:
            self._found[question][settled] += mass
        else:
            self._sprouts.append(_Sprout(question, branch, mass, (fork, tuple(run))))


def _part_ways(branch: Branch, place: Place) -> list[tuple[float, tuple[int, Branch]]]:
    """The log shares of the tokens that a question follows, and where they lead."""
    ways = []
    for token, share in zip(place.allowed, place.log_shares().tolist(), strict=True):
        after = branch.follow(token)
        if after is not None:
            ways.append((share, (token, after)))
    return ways


def _normalise(outcomes: Mapping[str, float]) -> dict[str, float]:
    total = sum(outcomes.values())
    return {outcome: mass / total for outcome, mass in outcomes.items()}
