"""Predictions whose numbers are known beforehand."""

from __future__ import annotations

import numpy as np

from vlm_agent.actions.spec import ActionSpec
from vlm_agent.actions.types import ActionChunk, Click, Key, Move
from vlm_agent.evaluation.offline.predictions import Prediction
from vlm_agent.evaluation.rectangles import Box

SPEC = ActionSpec(765, 503, keys=("space", "escape"))
NOTHING = ActionChunk()


def predict(
    target: ActionChunk = NOTHING,
    answer: ActionChunk | None = NOTHING,
    *,
    session: str = "s0",
    number: int = 0,
    boxes: tuple[Box | None, ...] = (),
) -> Prediction:
    """One window."""
    return Prediction(
        window_id=f"{session}/{number}/short",
        session=session,
        goal="open the bank",
        goal_level="short",
        target=target,
        answer=answer,
        reason=None if answer is not None else "truncated",
        boxes=boxes,
    )


def click(x: int = 100, y: int = 100, *, dt_ms: int = 200, button: str = "left") -> ActionChunk:
    return ActionChunk((Click(dt_ms, x, y, button),))


def key(name: str = "space", *, dt_ms: int = 200) -> ActionChunk:
    return ActionChunk((Key(dt_ms, name),))


def move(x: int = 100, y: int = 100, *, dt_ms: int = 200) -> ActionChunk:
    return ActionChunk((Move(dt_ms, x, y),))


def random_chunk(rng: np.random.Generator) -> ActionChunk:
    """Up to three actions of any kind."""
    kinds = (
        lambda: Click(int(rng.integers(20)) * 10, int(rng.integers(765)), int(rng.integers(503))),
        lambda: Key(int(rng.integers(20)) * 10, str(rng.choice(SPEC.keys))),
        lambda: Move(int(rng.integers(20)) * 10, int(rng.integers(765)), int(rng.integers(503))),
    )
    return ActionChunk(tuple(kinds[int(rng.integers(3))]() for _ in range(int(rng.integers(4)))))


def random_predictions(seed: int, sessions: int, windows: int) -> list[Prediction]:
    """Some windows of some sessions; half of the answers are right."""
    rng = np.random.default_rng(seed)
    made = []
    for session in range(sessions):
        for number in range(windows):
            target = random_chunk(rng)
            answer = target if rng.random() < 0.5 else random_chunk(rng)
            made.append(predict(target, answer, session=f"s{session}", number=number))
    return made
