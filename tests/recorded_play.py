"""Small recorded sessions: a game of grey frames, a click a second, states every tick, goals that change."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vlm_agent.actions.events import ButtonChanged, InputEvent, KeyChanged, PointerMoved
from vlm_agent.actions.spec import ActionSpec
from vlm_agent.sessions.types import Goal
from vlm_agent.sessions.writer import SessionWriter

MS = 1_000_000
WIDTH_PX, HEIGHT_PX = 96, 64
SPEC = ActionSpec(WIDTH_PX, HEIGHT_PX, keys=("space", "left"), buttons=("left", "right"))
SHORT_GOALS = ("open the bank", "withdraw gold bars", "close the bank")
LONG_GOAL = "craft sapphire rings"


def click_events(t_ms: int, x: int, y: int) -> list[InputEvent]:
    return [
        PointerMoved(t_ms * MS, x, y),
        ButtonChanged((t_ms + 20) * MS, x, y, "left", True),
        ButtonChanged((t_ms + 100) * MS, x, y, "left", False),
    ]


def record_play(
    stem: Path,
    *,
    seconds: int = 12,
    seed: int = 0,
    long_goal: str | None = LONG_GOAL,
    short_goals: tuple[str, ...] = SHORT_GOALS,
    states: bool = True,
    spec: ActionSpec | None = SPEC,
    told: Sequence[Goal] = (),
    unseen_ms: range = range(0),
) -> Path:
    """Record a session and return its `.mcap` file; `told` are further goals, `unseen_ms` times without a frame."""
    meta = {"action_spec": spec.to_json()} if spec else {}
    rng = np.random.default_rng(seed)
    stem.parent.mkdir(parents=True, exist_ok=True)
    with SessionWriter(stem, width_px=WIDTH_PX, height_px=HEIGHT_PX, fps=5, meta=meta) as writer:
        if long_goal:
            writer.write_goal(0, Goal(0, long_goal, "long", "game"))
        for t_ms in range(0, seconds * 1000 + 1, 200):
            if short_goals and t_ms % 3600 == 0:
                text = short_goals[t_ms // 3600 % len(short_goals)]
                writer.write_goal(t_ms * MS, Goal(t_ms * MS, text, "short", "game"))
            for goal in (goal for goal in told if goal.t_ns == t_ms * MS):
                writer.write_goal(goal.t_ns, goal)
            if states and t_ms % 600 == 0:
                writer.write_game_state(t_ms * MS, game_state(t_ms // 600))
            if t_ms not in unseen_ms:
                writer.write_frame(t_ms * MS, paint(t_ms, seed))
            if t_ms % 1000 == 0:
                x, y = (int(value) for value in rng.integers(1, (WIDTH_PX - 1, HEIGHT_PX - 1)))
                for event in click_events(t_ms + 10, x, y):
                    writer.write_event(event)
            if t_ms % 3000 == 0:
                writer.write_event(KeyChanged((t_ms + 150) * MS, "space", True))
                writer.write_event(KeyChanged((t_ms + 190) * MS, "space", False))
    return stem.with_name(stem.name + ".mcap")


def paint(t_ms: int, seed: int) -> np.ndarray:
    return np.full((HEIGHT_PX, WIDTH_PX, 3), (seed * 50 + t_ms // 200) % 256, np.uint8)


def game_state(tick: int) -> dict[str, object]:
    return {
        "timestamp": tick * 600,
        "player": {"animation": -1, "isMoving": False},
        "inventory": {
            "slots": [{"slotId": 0, "itemId": 1592, "itemName": "Ring mould", "quantity": 1}],
            "emptySlots": 27,
        },
        "sim": {"seed": 987654321, "phase": "secretphase"},
    }
