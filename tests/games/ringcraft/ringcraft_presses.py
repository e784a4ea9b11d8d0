"""Presses for tests: clicks and keys as device events, followed by time."""

from __future__ import annotations

from vlm_agent.actions.events import ButtonChanged, KeyChanged, PointerMoved
from vlm_agent.games.ringcraft.core import NS_PER_MS, Ringcraft
from vlm_agent.games.ringcraft.layout import Rect
from vlm_agent.games.ringcraft.targets import Target

HOLD_NS = 60 * NS_PER_MS


def click(game: Ringcraft, point: tuple[int, int] | Rect, button: str = "left", wait_ms: int = 600) -> None:
    x, y = point.centre if isinstance(point, Rect) else point
    now_ns = game.now_ns
    game.feed(
        [
            PointerMoved(now_ns, x, y),
            ButtonChanged(now_ns, x, y, button, True),
            ButtonChanged(now_ns + HOLD_NS, x, y, button, False),
        ]
    )
    game.advance(wait_ms)


def tap(game: Ringcraft, key: str, wait_ms: int = 600) -> None:
    game.feed([KeyChanged(game.now_ns, key, True), KeyChanged(game.now_ns + HOLD_NS, key, False)])
    game.advance(wait_ms)


def press(game: Ringcraft, target: Target, wait_ms: int = 600) -> None:
    if target.kind == "click" and target.rect is not None:
        click(game, target.rect, target.button, wait_ms)
    elif target.kind == "key":
        tap(game, target.key, wait_ms)
    else:
        game.advance(wait_ms)
