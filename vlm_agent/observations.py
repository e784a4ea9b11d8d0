"""What a policy may know when it decides, and what it remembers of the decisions before.

Recordings and play give the same observation. Which earlier decisions are shown is the recipe's to say; `Memory`
follows the same rule as `dataset.histories`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlm_agent.actions.space import CoordinateSpace
from vlm_agent.actions.types import Action, ActionChunk
from vlm_agent.chat import HIDDEN_ANSWER, PromptInput, Recipe, Turn, render_answer
from vlm_agent.clips import NS_PER_MS
from vlm_agent.dataset.histories import Histories
from vlm_agent.dataset.state_text import render_state
from vlm_agent.dataset.store import Dataset
from vlm_agent.dataset.windows import Window


@dataclass(frozen=True, slots=True)
class RecentAction:
    """An executed action and how long ago that was."""

    age_ms: int
    """Milliseconds before the observation, 0 or more."""
    action: Action
    """In pixels of the observed frame."""


@dataclass(frozen=True)
class EarlierDecision:
    """A decision before the present one."""

    frame: NDArray[np.uint8]
    """The picture then, (height, width, 3) RGB."""
    game_state: dict[str, Any] | None
    """The game's export then, where there is one."""
    chunk: ActionChunk | None
    """What was done, in pixels of the frame; None where no answer could be read or carried out."""


@dataclass(frozen=True)
class Observation:
    """What a policy may know when it decides."""

    frame: NDArray[np.uint8]
    """The latest picture, (height, width, 3) RGB."""
    goal: str
    """The instruction in force."""
    t_ms: int
    """Milliseconds since the episode began."""
    game_state: dict[str, Any] | None = None
    """The game's export at this moment, where there is one."""
    recent: tuple[RecentAction, ...] = ()
    """Actions executed so far within the history, oldest first."""
    earlier: tuple[EarlierDecision, ...] | None = None
    """Decisions before this one, oldest first; None leaves it to the policy to remember its own."""


def see(observation: Observation, recipe: Recipe) -> PromptInput:
    """Return what a model of a recipe sees of an observation, in its own units.

    Of the earlier decisions in it those are shown that the recipe has room for.
    """
    height_px, width_px = observation.frame.shape[:2]
    space = recipe.space(width_px, height_px)
    actions = space.chunk_to_model(ActionChunk(tuple(past.action for past in observation.recent))).actions
    ages_ms = [past.age_ms for past in observation.recent]
    known = observation.earlier or ()
    earlier = known[max(0, len(known) - recipe.most_earlier) :]
    asked = PromptInput(
        frames=(observation.frame,),
        goal=observation.goal,
        state_text=render_state(observation.game_state or {}, space, recipe.state_text_max_chars),
        recent=tuple(zip(ages_ms, actions, strict=True)),
    )
    if recipe.is_conversation:
        return replace(asked, earlier=tuple(_see_turn(past, space, recipe) for past in earlier))
    return replace(asked, frames=(*(past.frame for past in earlier), observation.frame))


def _see_turn(past: EarlierDecision, space: CoordinateSpace, recipe: Recipe) -> Turn:
    state_text = render_state(past.game_state or {}, space, recipe.state_text_max_chars)
    if past.chunk is None:
        return Turn(past.frame, state_text, HIDDEN_ANSWER)
    return Turn(past.frame, state_text, render_answer(space.chunk_to_model(past.chunk), recipe))


class Observer:
    """Shows recorded windows as they would be seen in play, the player's decisions before them included."""

    def __init__(self, dataset: Dataset, recipe: Recipe | None = None) -> None:
        """Take the dataset, and the recipe that says which earlier decisions are shown; none shows none."""
        self.dataset = dataset
        self._recipe = recipe
        self._histories: dict[str, Histories] = {}
        self._frames: dict[str, NDArray[np.uint8]] = {}

    def observe(self, window: Window, said: Mapping[str, ActionChunk | None] | None = None) -> Observation:
        """Return what is to be seen of a window.

        Args:
            window: one of the dataset's.
            said: what was answered to earlier windows, by identifier, in place of what the player did; None where
                no answer could be read.
        """
        before = self._find_earlier(window)
        answers = {one.window_id: one.target for one in before} | dict(said or {})
        # Neighbouring windows show the same pictures.
        self._frames = {one.frame_id: self._read(one) for one in (*before, window)}
        return Observation(
            frame=self._frames[window.frame_id],
            goal=window.goal,
            t_ms=window.t_ns // NS_PER_MS,
            game_state=window.state,
            recent=tuple(RecentAction(age_ms, action) for age_ms, action in window.recent),
            earlier=tuple(
                EarlierDecision(self._frames[one.frame_id], one.state, answers[one.window_id]) for one in before
            ),
        )

    def _find_earlier(self, window: Window) -> tuple[Window, ...]:
        if self._recipe is None or not self._recipe.most_earlier:
            return ()
        histories = self._histories.get(window.split)
        if histories is None:
            histories = self._histories[window.split] = Histories(self.dataset.windows(window.split), self._recipe)
        return histories.before(window)

    def _read(self, window: Window) -> NDArray[np.uint8]:
        known = self._frames.get(window.frame_id)
        return self.dataset.frame(window) if known is None else known


class Memory:
    """The decisions of an episode so far, as many as a recipe shows."""

    def __init__(self, recipe: Recipe) -> None:
        """Take the recipe that says how many are shown."""
        self._recipe = recipe
        # One more than is shown: the last one may be asked again, and then those before it are shown as before.
        self._run: deque[tuple[Observation, ActionChunk | None]] = deque(maxlen=recipe.most_earlier + 1)
        self._count = 0

    def forget(self) -> None:
        """Begin anew."""
        self._run.clear()
        self._count = 0

    def recall(self, now: Observation) -> Observation:
        """Return an observation with the decisions before it that are shown; its picture is safe from being changed."""
        if not self._recipe.most_earlier:
            return now
        while self._run and self._run[-1][0].t_ms >= now.t_ms:
            # Asked once more: what was said before came to nothing.
            self._run.pop()
            self._count -= 1
        if self._run and not self._goes_on(now):
            self.forget()
        if self._run:
            self._settle(now)
        shown = self._recipe.count_earlier(self._count)
        run = list(self._run)[max(0, len(self._run) - shown) :]
        earlier = tuple(EarlierDecision(seen.frame, seen.game_state, chunk) for seen, chunk in run)
        return replace(now, frame=now.frame.copy(), earlier=earlier)

    def keep(self, seen: Observation, chunk: ActionChunk | None) -> None:
        """Remember a decision: what was recalled and seen, and what is to be done, in pixels of the frame."""
        if self._recipe.most_earlier:
            self._run.append((replace(seen, recent=(), earlier=None), chunk))
            self._count += 1

    def _goes_on(self, now: Observation) -> bool:
        last, _ = self._run[-1]
        has_same_goal = now.goal == last.goal or not self._recipe.is_conversation
        return has_same_goal and now.t_ms - last.t_ms <= self._recipe.most_gap_ms

    def _settle(self, now: Observation) -> None:
        """Take back what the last decision wanted if it was not carried out: refused, late, or half of it dropped."""
        last, chunk = self._run[-1]
        num_done = sum(past.age_ms <= now.t_ms - last.t_ms for past in now.recent)
        if chunk is not None and num_done < len(chunk.actions):
            self._run[-1] = (last, None)
