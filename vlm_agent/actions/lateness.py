"""What is left of a chunk when its decision took time and the game did not wait.

A chunk's times count from the observation. On a real clock the decision is there `latency` later, and what should have
been done before then can't be done any more: done late it would be another action. It is dropped and counted.
"""

from __future__ import annotations

from dataclasses import replace

from vlm_agent.actions.types import Action, ActionChunk, Click, Key

_Halves = set[tuple[str, str]]


def drop_late(chunk: ActionChunk, latency_ms: float) -> tuple[ActionChunk, int]:
    """Return the actions that are still ahead, each at its own time, and how many are not.

    The release of a press whose first half was late is dropped with it: nothing is down that could come up.
    """
    kept: list[Action] = []
    never_down: _Halves = set()
    at_ms = last_ms = 0
    for action in chunk.actions:
        at_ms += action.dt_ms
        if at_ms < latency_ms or _is_release_of(action, never_down):
            _note_half(action, never_down)
            continue
        kept.append(replace(action, dt_ms=at_ms - last_ms))
        last_ms = at_ms
    return replace(chunk, actions=tuple(kept)), len(chunk.actions) - len(kept)


def _is_release_of(action: Action, never_down: _Halves) -> bool:
    return isinstance(action, Click | Key) and action.state == "up" and _name(action) in never_down


def _note_half(action: Action, never_down: _Halves) -> None:
    if isinstance(action, Click | Key):
        if action.state == "down":
            never_down.add(_name(action))
        elif action.state == "up":
            never_down.discard(_name(action))


def _name(action: Click | Key) -> tuple[str, str]:
    return ("button", action.button) if isinstance(action, Click) else ("key", action.key)
