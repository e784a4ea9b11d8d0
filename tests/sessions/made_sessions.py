"""Small sessions made for tests, and everything a session holds as plain values to compare."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vlm_agent.actions.events import ButtonChanged, InputEvent, KeyChanged, PointerMoved, WheelTurned
from vlm_agent.sessions.types import Goal
from vlm_agent.sessions.writer import SessionWriter

MS = 1_000_000


def draw(number: int, width_px: int, height_px: int) -> NDArray[np.uint8]:
    """A picture that differs clearly from that of every other number."""
    rgb = np.zeros((height_px, width_px, 3), dtype=np.uint8)
    rgb[:, :, 0] = (number * 37) % 200
    rgb[:, :, 1] = np.linspace(0, 120, width_px, dtype=np.uint8)
    column = (number * 5) % (width_px - 8)
    rgb[8:24, column : column + 8] = (20, 250, 60)
    return rgb


def events_of(step: int, t_ns: int) -> list[InputEvent]:
    """Some input of every kind."""
    return [
        PointerMoved(t_ns, step, 2 * step),
        ButtonChanged(t_ns + MS, step, 3, ("left", "right", "middle")[step % 3], step % 2 == 0),
        WheelTurned(t_ns + 2 * MS, 1, 2, 0, -1 if step % 2 else 2),
        KeyChanged(t_ns + 3 * MS, ("a", "space", "f1", "leftshift")[step % 4], step % 2 == 0),
    ]


def write_session(
    stem: Path, *, seconds: float = 3.0, fps: int = 10, start_ns: int = 0, width_px: int = 65, height_px: int = 47
) -> Path:
    """Write a session with something in every topic; return its `.mcap`."""
    with SessionWriter(
        stem, width_px=width_px, height_px=height_px, fps=fps, meta={"game": "test", "seed": 7}
    ) as writer:
        writer.write_goal(start_ns, Goal(start_ns, "craft sapphire rings", "long", "human"))
        writer.write_control(start_ns, "human")
        for step in range(round(seconds * fps)):
            t_ns = start_ns + step * 1_000_000_000 // fps
            writer.write_frame(t_ns, draw(step, width_px, height_px))
            for event in events_of(step, t_ns):
                writer.write_event(event)
            writer.write_game_state(t_ns, {"tick": step, "inventory": [1, None, {"name": "Ring – ☃"}]})
            if step % 7 == 3:
                writer.write_goal(t_ns, Goal(t_ns, f"step {step}", "short", "game", 0.5))
                writer.write_decision(t_ns, {"text": "[]", "latency_ms": 12.5})
    return writer.path
