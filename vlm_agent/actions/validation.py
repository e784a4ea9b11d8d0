"""Whether a chunk is allowed by a spec. The one place that knows what the numbers of an `ActionSpec` mean."""

from __future__ import annotations

from vlm_agent.actions.invalid import InvalidActionError, Reason
from vlm_agent.actions.spec import ActionSpec, EventName
from vlm_agent.actions.types import Action, ActionChunk, Click, Key, Move, Scroll

EVENT_NAMES: dict[type[Action], EventName] = {Click: "CLICK", Key: "KEY", Scroll: "SCROLL", Move: "MOVE"}
"""What each action is called in text."""


def check_chunk(chunk: ActionChunk, spec: ActionSpec) -> None:
    """Raise InvalidActionError unless `spec` allows `chunk`."""
    if chunk.done and chunk.actions:
        raise InvalidActionError(Reason.DONE_WITH_ACTIONS, f"done with {len(chunk.actions)} actions")
    if len(chunk.actions) > spec.max_actions:
        raise InvalidActionError(Reason.TOO_MANY_ACTIONS, f"{len(chunk.actions)} actions, at most {spec.max_actions}")
    end_ms = 0
    for action in chunk.actions:
        check_action(action, spec)
        end_ms += action.dt_ms
        if end_ms > spec.horizon_ms:
            raise InvalidActionError(Reason.OVER_HORIZON, f"dt adds up to {end_ms} ms, at most {spec.horizon_ms}")


def check_action(action: Action, spec: ActionSpec) -> None:
    """Raise InvalidActionError unless `spec` allows `action` by itself."""
    event = EVENT_NAMES[type(action)]
    if event not in spec.events:
        raise InvalidActionError(Reason.EVENT_NOT_ALLOWED, f"{event}; allowed: {', '.join(spec.events) or 'nothing'}")
    _check_dt(action.dt_ms, spec)
    if isinstance(action, Key):
        if action.key not in spec.keys:
            raise InvalidActionError(Reason.KEY_NOT_ALLOWED, repr(action.key))
        _check_state(action.state, spec)
        return
    _check_point(action, spec)
    if isinstance(action, Click):
        if action.button not in spec.buttons:
            raise InvalidActionError(Reason.BUTTON_NOT_ALLOWED, repr(action.button))
        _check_state(action.state, spec)
    elif isinstance(action, Scroll):
        _check_integer("dy", action.dy)
        if not 1 <= abs(action.dy) <= spec.max_scroll:
            raise InvalidActionError(Reason.BAD_SCROLL, f"dy {action.dy}, 1 to {spec.max_scroll} either way")


def _check_dt(dt_ms: int, spec: ActionSpec) -> None:
    _check_integer("dt", dt_ms)
    if dt_ms < 0:
        raise InvalidActionError(Reason.DT_NEGATIVE, f"dt {dt_ms}")
    if dt_ms % spec.time_unit_ms:
        raise InvalidActionError(Reason.DT_NOT_MULTIPLE, f"dt {dt_ms}, multiples of {spec.time_unit_ms}")


def _check_point(action: Click | Scroll | Move, spec: ActionSpec) -> None:
    _check_integer("x", action.x)
    _check_integer("y", action.y)
    if spec.pointer == "absolute":
        if not (0 <= action.x < spec.extent_width and 0 <= action.y < spec.extent_height):
            where = f"{action.x},{action.y} outside {spec.extent_width}x{spec.extent_height}"
            raise InvalidActionError(Reason.OUT_OF_EXTENT, where)
    elif isinstance(action, Move):
        if max(abs(action.x), abs(action.y)) > spec.max_offset:
            raise InvalidActionError(Reason.OFFSET_TOO_LARGE, f"{action.x},{action.y}, at most {spec.max_offset}")
    elif (action.x, action.y) != (0, 0):
        raise InvalidActionError(Reason.OUT_OF_EXTENT, "a relative pointer has no point: x and y are 0")


def _check_state(state: object, spec: ActionSpec) -> None:
    if state is not None and (state not in ("down", "up") or not spec.holds):
        raise InvalidActionError(Reason.STATE_NOT_ALLOWED, repr(state))


def _check_integer(name: str, value: object) -> None:
    # `True` is an int to Python, and would be written as "True".
    if type(value) is not int:
        raise InvalidActionError(Reason.BAD_TYPE, f"{name} must be an integer, got {value!r}")
