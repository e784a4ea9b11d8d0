"""Playing in a real window: a person at mouse and keyboard, or the demonstrator moving this desktop's own.

The demonstrator decides as it does inside the game, and its events go out through the desktop's devices: who records
the screen hears what a person's hand would have done. It stands in for the person; what an agent presses goes through
an executor process, with all its limits.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from vlm_agent.actions.events import ButtonChanged, InputEvent, KeyChanged, PointerMoved, WheelTurned
from vlm_agent.actions.placement import Placement
from vlm_agent.rollouts.recording import WindowConfig, play_in_window, record_person

if TYPE_CHECKING:
    from vlm_agent.executors.devices import InjectionDevice
    from vlm_agent.games.ringcraft.core import Ringcraft

WINDOW_TITLE = "Ringcraft"
"""What stands in the game's title bar."""
_LOOK_NS = 500_000_000
"""How often it is looked up where the window is."""


def play_window(
    stem: Path,
    config: WindowConfig,
    *,
    records: bool = True,
    is_demonstrated: bool = False,
    on_url: Callable[[str], object] | None = None,
) -> Path | None:
    """Open ringcraft's window and let someone play until it is closed.

    Args:
        stem: path of the session without suffix.
        config: the window.
        records: whether a session is recorded from inside the game.
        is_demonstrated: whether the demonstrator plays, through this desktop's mouse and keyboard.
        on_url: called with the address of the game state, where one is offered.

    Returns:
        The session's `.mcap`, where one is recorded.

    Raises:
        ConfigError: no window can be opened, the port can't be had, or this desktop's devices can't be moved.
        DataError: the session exists, or can't be written.
    """
    from vlm_agent.games.ringcraft.core import Ringcraft

    hand = DesktopHand(config.seed) if is_demonstrated else None
    try:
        if records:
            player = "demonstrator 0" if is_demonstrated else "person"
            return record_person(stem, config, player=player, on_tick=hand, on_url=on_url)
        play_in_window(Ringcraft(config.seed), config, on_tick=hand, on_url=on_url)
        return None
    finally:
        if hand is not None:
            hand.close()


class DesktopHand:
    """The demonstrator's hand on this desktop's mouse and keyboard; called before every client tick."""

    def __init__(self, seed: int, *, player: int = 0) -> None:
        """Open the devices.

        Raises:
            ConfigError: there is no screen, or its devices can't be moved.
        """
        from vlm_agent.desktop.windows import open_desktop
        from vlm_agent.executors.opening import open_device
        from vlm_agent.games.ringcraft.demonstrator import Demonstrator

        self._desktop = open_desktop()
        self._device: InjectionDevice = open_device()
        self._demonstrator = Demonstrator(seed, player=player)
        self._placement: Placement | None = None
        self._looked_ns = 0
        self._held: set[tuple[str, str]] = set()

    def __call__(self, game: Ringcraft) -> None:
        """Send out what the demonstrator does in the coming client tick."""
        placement = self._find_window(game)
        if placement is None:
            return
        for event in self._demonstrator.act(game):
            self._send(event, placement)

    def close(self) -> None:
        """Let go of what is held, and of the devices."""
        from vlm_agent.executors.devices import Control

        for kind, name in sorted(self._held):
            self._device.release(Control("key" if kind == "key" else "button", name))
        self._held.clear()
        self._device.close()
        self._desktop.close()

    def _find_window(self, game: Ringcraft) -> Placement | None:
        from vlm_agent.games.ringcraft.layout import LAYOUT

        if self._placement is None or game.now_ns - self._looked_ns >= _LOOK_NS:
            self._looked_ns = game.now_ns
            windows = [window for window in self._desktop.list_windows() if window.title == WINDOW_TITLE]
            frame = LAYOUT.frame
            self._placement = Placement.fit(windows[-1].rect, frame.width, frame.height) if windows else None
        return self._placement

    def _send(self, event: InputEvent, placement: Placement) -> None:
        if isinstance(event, KeyChanged):
            self._press("key", event.key, event.pressed)
            return
        self._device.move(*placement.to_screen(event.x, event.y))
        if isinstance(event, ButtonChanged):
            self._press("button", event.button, event.pressed)
        elif isinstance(event, WheelTurned):
            self._device.turn(event.dx, event.dy)
        else:
            assert isinstance(event, PointerMoved)

    def _press(self, kind: str, name: str, is_down: bool) -> None:
        from vlm_agent.executors.devices import Control

        control = Control("key" if kind == "key" else "button", name)
        if is_down:
            self._held.add((kind, name))
            self._device.press(control)
        else:
            self._held.discard((kind, name))
            self._device.release(control)
