"""Ringcraft's clock and input: device events in, states and exports out.

The game reads input on client ticks of 20 ms and changes its world on ticks of 600 ms, all on a virtual clock that
moves only in `advance`. Same seed and same events at the same times give the same states. This module knows no drawing.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import asdict
from typing import Any

from vlm_agent.actions.events import ButtonChanged, InputEvent, KeyChanged, PointerMoved, WheelTurned
from vlm_agent.errors import ConfigError, DataError
from vlm_agent.games.ringcraft.commands import carry_out, close_window
from vlm_agent.games.ringcraft.config import RingcraftConfig
from vlm_agent.games.ringcraft.export import export_game_state
from vlm_agent.games.ringcraft.geometry import (
    PITCH_MAX,
    PITCH_MIN,
    ZOOM_MAX,
    ZOOM_MIN,
    menu_rect,
    menu_row_rects,
    player_position,
)
from vlm_agent.games.ringcraft.interface import open_menu, options_at
from vlm_agent.games.ringcraft.layout import LAYOUT
from vlm_agent.games.ringcraft.presses import is_same_game
from vlm_agent.games.ringcraft.scene import make_scene
from vlm_agent.games.ringcraft.snapshots import decode_plain, encode_plain, hash_plain
from vlm_agent.games.ringcraft.state import CLIENT_TICK_MS, FULL_TURN, TICK_MS, State
from vlm_agent.games.ringcraft.world import run_world_tick

NS_PER_MS = 1_000_000
KEY_TURN_SPEED = 32
"""Speed of turning that a held arrow key eases to, in half units a client tick."""
ZOOM_PER_NOTCH = 30
MENU_MARGIN_PX = 10
"""The right-click menu closes when the pointer leaves it by more than this."""
_FOCUS_EASE = 0.1
_EVENT_KINDS = {kind.__name__: kind for kind in (PointerMoved, ButtonChanged, WheelTurned, KeyChanged)}


class Ringcraft:
    """One game: a state, its clock, and the events that have not been read yet.

    Example:
        >>> game = Ringcraft(seed=1)
        >>> game.advance(600)
        >>> game.now_ns, game.state.tick
        (600000000, 1)
    """

    def __init__(self, seed: int, config: RingcraftConfig | None = None, *, state: State | None = None) -> None:
        """Begin the game of a seed, or go on from a given state."""
        self.config = config or RingcraftConfig()
        self.state = state if state is not None else make_scene(seed, self.config)
        self._pending: list[InputEvent] = []

    @property
    def now_ns(self) -> int:
        """Game time since the start, nanoseconds."""
        return self.state.now_ms * NS_PER_MS

    def feed(self, events: Sequence[InputEvent]) -> None:
        """Hand over device events; each is read on the first client tick that ends at or after its time."""
        for event in events:
            insort(self._pending, event, key=lambda pending: pending.t_ns)

    def advance(self, ms: int) -> None:
        """Let time pass, in client ticks of 20 ms.

        Raises:
            ConfigError: the time is not a positive multiple of 20 ms.
        """
        if ms <= 0 or ms % CLIENT_TICK_MS:
            raise ConfigError(f"advance takes a positive multiple of {CLIENT_TICK_MS} ms, got {ms}")
        for _ in range(ms // CLIENT_TICK_MS):
            self._run_client_tick()

    def export(self) -> dict[str, Any]:
        """Return the game state as the recorder's plugin would write it; see `export`."""
        return export_game_state(self.state)

    def snapshot(self) -> dict[str, Any]:
        """Return all there is to know of this game as JSON values."""
        pending = [{"kind": type(event).__name__, "fields": asdict(event)} for event in self._pending]
        return {"state": encode_plain(self.state), "pending": pending}

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go back to a snapshot of any Ringcraft game; raises DataError if it is none."""
        try:
            raw_state = snapshot["state"]
            pending = [_EVENT_KINDS[raw["kind"]](**raw["fields"]) for raw in snapshot["pending"]]
        except (KeyError, TypeError) as error:
            raise DataError(f"not a snapshot of Ringcraft: {error}") from error
        self.state = decode_plain(State, raw_state)
        self._pending = pending

    def hash(self) -> str:
        """Return the SHA-256 of the state."""
        return hash_plain(self.state)

    def _run_client_tick(self) -> None:
        state = self.state
        state.ms_in_tick += CLIENT_TICK_MS
        if self._pending:
            now_ns = state.now_ms * NS_PER_MS
            while self._pending and self._pending[0].t_ns <= now_ns:
                self._read(self._pending.pop(0))
        _ease_camera(state)
        if state.cross is not None:
            state.cross.ticks_left -= 1
            if state.cross.ticks_left <= 0:
                state.cross = None
        if state.ms_in_tick >= TICK_MS:
            state.ms_in_tick = 0
            state.tick += 1
            run_world_tick(state)

    def _read(self, event: InputEvent) -> None:
        state = self.state
        if not _is_press(state, event):
            self._obey(event)
            return
        before = deepcopy(state)
        self._obey(event)
        state.num_presses += 1
        state.num_wasted_presses += is_same_game(before, state)

    def _obey(self, event: InputEvent) -> None:
        state = self.state
        if isinstance(event, KeyChanged):
            _read_key(state, event)
            return
        _move_pointer(state, event.x, event.y)
        if isinstance(event, ButtonChanged):
            _read_button(state, event)
        elif isinstance(event, WheelTurned) and LAYOUT.viewport.contains(event.x, event.y):
            camera = state.camera
            aim = (camera.zoom_target or camera.zoom) + event.dy * ZOOM_PER_NOTCH
            camera.zoom_target = min(max(aim, ZOOM_MIN), ZOOM_MAX)


def _is_press(state: State, event: InputEvent) -> bool:
    """Tell whether a button or key goes down; a key that is down already only repeats itself."""
    if isinstance(event, KeyChanged):
        return event.pressed and event.key not in state.held_keys
    return isinstance(event, ButtonChanged) and event.pressed


def _move_pointer(state: State, x: int, y: int) -> None:
    pointer = state.pointer
    if pointer.is_dragging:
        camera = state.camera
        camera.yaw = (camera.yaw + 2 * (x - pointer.x)) % FULL_TURN
        camera.pitch = min(max(camera.pitch + (y - pointer.y), PITCH_MIN), PITCH_MAX)
    pointer.x, pointer.y = x, y
    if state.menu is not None:
        rect = menu_rect(state.menu)
        inside_x = rect.x - MENU_MARGIN_PX <= x < rect.right + MENU_MARGIN_PX
        if not (inside_x and rect.y - MENU_MARGIN_PX <= y < rect.bottom + MENU_MARGIN_PX):
            state.menu = None


def _read_button(state: State, event: ButtonChanged) -> None:
    if event.button == "middle":
        state.pointer.is_dragging = event.pressed and LAYOUT.viewport.contains(event.x, event.y)
        return
    if not event.pressed:
        return
    if event.button == "left":
        _click(state, event.x, event.y)
    elif state.menu is None and LAYOUT.frame.contains(event.x, event.y):
        options = options_at(state, event.x, event.y)
        state.menu = open_menu(options, event.x, event.y) if options else None


def _click(state: State, x: int, y: int) -> None:
    if state.menu is not None:
        menu, state.menu = state.menu, None
        for option, rect in zip(menu.options, menu_row_rects(menu), strict=True):
            if rect.contains(x, y):
                carry_out(state, option)
        return
    options = options_at(state, x, y)
    if options:
        carry_out(state, options[0])
    else:
        state.selected_slot = -1


def _read_key(state: State, event: KeyChanged) -> None:
    if not event.pressed:
        if event.key in state.held_keys:
            state.held_keys.remove(event.key)
        return
    if event.key in state.held_keys:
        return
    state.held_keys.append(event.key)
    if event.key == "escape":
        if state.menu is not None:
            state.menu = None
        elif state.mode in ("bank", "furnace"):
            close_window(state)
    elif event.key == "space" and state.mode == "levelup":
        close_window(state)


def _ease_camera(state: State) -> None:
    camera, held = state.camera, state.held_keys
    turn = KEY_TURN_SPEED * (("left" in held) - ("right" in held)) if held else 0
    tilt = KEY_TURN_SPEED // 2 * (("up" in held) - ("down" in held)) if held else 0
    if turn or camera.yaw_speed:
        camera.yaw_speed += _half(turn - camera.yaw_speed)
        camera.yaw = (camera.yaw + _half(camera.yaw_speed)) % FULL_TURN
    if tilt or camera.pitch_speed:
        camera.pitch_speed += _half(tilt - camera.pitch_speed)
        camera.pitch = min(max(camera.pitch + _half(camera.pitch_speed), PITCH_MIN), PITCH_MAX)
    if camera.zoom_target and camera.zoom != camera.zoom_target:
        gap = camera.zoom_target - camera.zoom
        camera.zoom += _half(_half(gap)) or (1 if gap > 0 else -1)
    _follow_player(state)


def _half(value: int) -> int:
    # Rounds away from nothing, so that a speed of one dies out instead of turning the camera for ever.
    return int(value / 2) or (value > 0) - (value < 0)


def _follow_player(state: State) -> None:
    camera, player = state.camera, state.player
    if not player.trail and camera.focus_x == player.x and camera.focus_y == player.y:
        return
    x, y = player_position(state)
    camera.focus_x = _approach(camera.focus_x, x)
    camera.focus_y = _approach(camera.focus_y, y)


def _approach(value: float, goal: float) -> float:
    # Rounding makes it arrive, and keeps snapshots short; a thousandth of a tile is far below a pixel.
    step = round(value + (goal - value) * _FOCUS_EASE, 4)
    return goal if abs(goal - step) < 0.01 else step
