"""Asking a policy about recorded windows: it is shown what it would see in play, with the player's own history."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Protocol

from vlm_agent.actions.spec import ActionSpec
from vlm_agent.dataset.store import Dataset
from vlm_agent.dataset.windows import Window
from vlm_agent.errors import ConfigError
from vlm_agent.evaluation.offline.predictions import Prediction, make_prediction
from vlm_agent.observations import Observation, Observer
from vlm_agent.policies import Decision, Policy


class Answers(Protocol):
    """Where answers are kept: a `PredictionStore`, or memory."""

    done: dict[str, Prediction]
    """Those that are there, by window."""

    def add(self, prediction: Prediction) -> None:
        """Keep one more."""


class KeptAnswers:
    """Answers in memory alone."""

    def __init__(self) -> None:
        """Begin without any."""
        self.done: dict[str, Prediction] = {}

    def add(self, prediction: Prediction) -> None:
        """Keep one more."""
        self.done[prediction.window_id] = prediction


class LatePolicy:
    """A policy that is made when it is first asked: nobody loads a model whose answers are all there."""

    def __init__(self, make: Callable[[], Policy]) -> None:
        """Take how to make it."""
        self._make = make
        self._policy: Policy | None = None

    def begin(self, goal: str, spec: ActionSpec, seed: int) -> None:
        """Start an episode."""
        self._policy = self._policy or self._make()
        self._policy.begin(goal, spec, seed)

    def decide(self, observation: Observation) -> Decision:
        """Answer one observation."""
        if self._policy is None:
            raise ConfigError("call begin() before decide()")
        return self._policy.decide(observation)


def answer_windows(
    policy: Policy,
    observer: Observer,
    windows: Sequence[Window],
    store: Answers,
    advance: Callable[[], object] = lambda: None,
) -> None:
    """Ask about each window that the store has not got, and add the answers to it.

    Chance, where a policy takes any, depends on the window alone: a run that was killed gives the same answers.
    """
    for window in windows:
        if window.window_id not in store.done:
            store.add(answer_observation(policy, observer.dataset, window, observer.observe(window)))
        advance()


def answer_observation(policy: Policy, dataset: Dataset, window: Window, seen: Observation) -> Prediction:
    """Ask a policy about what it is shown of a window; its answer is held against the window's own actions."""
    spec = dataset.spec.with_extent(window.frame_width_px, window.frame_height_px)
    policy.begin(seen.goal, spec, seed_of(window))
    decision = policy.decide(seen)
    return make_prediction(window, decision.chunk, decision.reason)


def seed_of(window: Window) -> int:
    """Return a number that depends on the window's name alone."""
    return int.from_bytes(hashlib.sha256(window.window_id.encode()).digest()[:4], "big")
