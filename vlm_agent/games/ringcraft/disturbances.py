"""What may go wrong in a game, done to a state on purpose: to see who notices, and finds back.

A disturbance is planted only at a moment at which it matters. Rings that are being made go on being made whatever the
camera shows, so while they are, only what stops them counts; a window can be closed only while one is open.
Each function changes the state it is given, or leaves it and says that now is no such moment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from random import Random

from vlm_agent.errors import ConfigError
from vlm_agent.games.ringcraft.commands import carry_out, carry_out_queued, close_window, stop_crafting
from vlm_agent.games.ringcraft.geometry import ZOOM_MAX, ZOOM_MIN, click_point, visible_widgets, visible_world
from vlm_agent.games.ringcraft.interface import options_at
from vlm_agent.games.ringcraft.layout import LAYOUT
from vlm_agent.games.ringcraft.plan import choose_step, locate
from vlm_agent.games.ringcraft.presses import is_same_game
from vlm_agent.games.ringcraft.random_scenes import free_tile, put_player
from vlm_agent.games.ringcraft.skill import Habits
from vlm_agent.games.ringcraft.state import FULL_TURN, State
from vlm_agent.games.ringcraft.world import level_up

Point = tuple[int, int]

FAR_TILES = 5
"""Who is moved is moved at least so far along one axis."""
LEAST_ZOOM_CHANGE = 80
"""By so much the scale of a camera changes at least, pixels."""
_TRIES = 200
_GROUND_POINTS = 8
"""Places on the ground among which a misclick may fall, beside all things in view."""


def disturb(state: State, kind: str, rng: Random) -> bool:
    """Plant a disturbance in a state, and return whether this was a moment for it; if not, nothing was changed.

    Args:
        state: the game, between two client ticks.
        kind: one of `DISTURBANCES`.
        rng: decides what is left to chance.

    Raises:
        ConfigError: there is no such disturbance.
    """
    if kind not in DISTURBANCES:
        raise ConfigError(f"unknown disturbance {kind!r}; ringcraft knows {', '.join(DISTURBANCES)}")
    return DISTURBANCES[kind](state, rng)


def misclick(state: State, rng: Random) -> bool:
    """Click on something that does something, and is not what should be clicked now."""
    if state.menu is not None or state.mode == "levelup":
        return False
    due = locate(state, choose_step(state, Habits()))
    wanted = _click_copy(state, due.centre) if due is not None else None
    for point in _draw_points(state, rng):
        after = _click_copy(state, point)
        # Another slot of the same item, say, is as good a place as the one that is due.
        if _matters(state, after) and (wanted is None or not is_same_game(wanted, after)):
            _click(state, point)
            return True
    return False


def turn_camera(state: State, rng: Random) -> bool:
    """Turn the camera by a quarter to half a turn, and bring it much nearer or further."""
    if state.mode != "none" or state.crafting.product:
        return False
    camera = state.camera
    camera.yaw = (camera.yaw + rng.choice((-1, 1)) * rng.randint(FULL_TURN // 4, FULL_TURN // 2)) % FULL_TURN
    zooms = range(ZOOM_MIN, ZOOM_MAX + 1)
    camera.zoom = rng.choice([zoom for zoom in zooms if abs(zoom - camera.zoom) >= LEAST_ZOOM_CHANGE])
    camera.zoom_target = camera.zoom
    camera.yaw_speed = camera.pitch_speed = 0
    return True


def shut_window(state: State, _: Random) -> bool:
    """Close the open bank or furnace window."""
    if state.mode not in ("bank", "furnace"):
        return False
    close_window(state)
    return True


def open_level_up(state: State, _: Random) -> bool:
    """Open the dialog that comes with a level: as in the game while something is being made, which it stops."""
    if not state.crafting.product:
        return False
    level_up(state)
    return True


def move_player(state: State, rng: Random) -> bool:
    """Put the player on a free tile some way off; whatever was being done is over."""
    if state.mode == "levelup":
        return False
    player = state.player
    for _ in range(_TRIES):
        tile = free_tile(state, rng)
        if max(abs(tile[0] - player.x), abs(tile[1] - player.y)) >= FAR_TILES:
            break
    else:
        return False
    close_window(state)
    stop_crafting(state)
    state.queued, state.menu = [], None
    player.path, player.trail, player.errand, player.animation = [], [], None, "idle"
    put_player(state, tile)
    return True


DISTURBANCES: dict[str, Callable[[State, Random], bool]] = {
    "misclick": misclick,
    "camera": turn_camera,
    "window": shut_window,
    "levelup": open_level_up,
    "moved": move_player,
}
"""By name."""


def _draw_points(state: State, rng: Random) -> list[Point]:
    """Return a point on each thing in view, and a few on the ground, in random order.

    Left out are things of the kind that the player goes to, or should go to: one booth is as good as another.
    """
    step, errand = choose_step(state, Habits()), state.player.errand
    wanted = step.index if step.place == "object" else errand.index if errand and errand.verb == "interact" else None
    kind = state.objects[wanted].kind if wanted is not None else None
    points = [point for name, point in [*_list_things(state), *_draw_ground(rng)] if name != kind]
    rng.shuffle(points)
    return points


def _list_things(state: State) -> Iterator[tuple[str, Point]]:
    for widget in visible_widgets(state):
        yield widget.name, widget.rect.centre
    world = visible_world(state)
    for seen in world:
        point = click_point(state, seen, world) if seen.kind != "player" else None
        if point is not None:
            yield seen.name, point


def _draw_ground(rng: Random) -> Iterator[tuple[str, Point]]:
    view = LAYOUT.viewport
    for _ in range(_GROUND_POINTS):
        yield "ground", (rng.randrange(view.x, view.right), rng.randrange(view.y, view.bottom))


def _click(state: State, point: Point) -> None:
    state.pointer.x, state.pointer.y = point
    for option in options_at(state, *point)[:1]:
        carry_out(state, option)


def _click_copy(state: State, point: Point) -> State:
    after = deepcopy(state)
    _click(after, point)
    return after


def _matters(before: State, after: State) -> bool:
    if is_same_game(before, after):
        return False
    if not before.crafting.product:
        return True
    heard = deepcopy(after)
    carry_out_queued(heard)
    return not heard.crafting.product
