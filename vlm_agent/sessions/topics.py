"""The topics of a session and their JSON messages, in both directions.

Standard topics (`screen`, `keyboard`, `mouse`, ...) follow the OWAMcap profile, so that its tools read our files; ours
(`gamestate`, `goal`, `control`, `decision`, `placement`, `excluded`, `session`) have schemas named `vlm_agent/...`.
Messages are told apart by topic, not by schema name: OWAMcap renamed its schemas in 0.4. This module knows no container
and no video.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

from vlm_agent.actions.events import ButtonChanged, InputEvent, KeyChanged, PointerMoved, WheelTurned
from vlm_agent.actions.placement import Placement, Rect
from vlm_agent.errors import ConfigError, DataError
from vlm_agent.sessions.keys import key_code, key_name
from vlm_agent.sessions.types import Excluded, Goal

FORMAT_VERSION = 1
"""Written into the `session` message; a reader of this version refuses greater ones."""
LIBRARY = f"vlm-agent, session format {FORMAT_VERSION}"
"""How our files name their writer."""
PROFILE = "owa"
"""The MCAP profile that OWAMcap's tools look for."""

_INTEGER = {"type": "integer"}
_TEXT = {"type": "string"}
_OPEN = {"type": "object"}


def _schema(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"type": "object", "properties": {**required, **(optional or {})}, "required": list(required)}


def _pair(count: int) -> dict[str, Any]:
    return {"type": "array", "items": _INTEGER, "minItems": count, "maxItems": count}


_BUTTON = {"enum": ["unknown", "left", "middle", "right", "x1", "x2"]}

SCHEMAS: dict[str, tuple[str, dict[str, Any]]] = {
    "session": (
        "vlm_agent/Session",
        _schema(
            {"format": _INTEGER, "meta": _OPEN},
            {"width_px": _INTEGER, "height_px": _INTEGER, "fps": {"type": "number"}, "codec_private": _TEXT},
        ),
    ),
    "screen": (
        "desktop/ScreenCaptured",
        _schema(
            {"media_ref": _schema({"uri": _TEXT}, {"pts_ns": _INTEGER})},
            {"utc_ns": _INTEGER, "source_shape": _pair(2), "shape": _pair(2)},
        ),
    ),
    "keyboard": (
        "desktop/KeyboardEvent",
        _schema({"event_type": {"enum": ["press", "release"]}, "vk": _INTEGER}, {"timestamp": _INTEGER}),
    ),
    "keyboard/state": (
        "desktop/KeyboardState",
        _schema({"buttons": {"type": "array", "items": _INTEGER}}, {"timestamp": _INTEGER}),
    ),
    "mouse": (
        "desktop/MouseEvent",
        _schema(
            {"event_type": {"enum": ["move", "click", "scroll"]}, "x": _INTEGER, "y": _INTEGER},
            {"button": _BUTTON, "pressed": {"type": "boolean"}, "dx": _INTEGER, "dy": _INTEGER, "timestamp": _INTEGER},
        ),
    ),
    "mouse/raw": (
        "desktop/RawMouseEvent",
        _schema({"last_x": _INTEGER, "last_y": _INTEGER}, {"timestamp": _INTEGER}),
    ),
    "mouse/state": (
        "desktop/MouseState",
        _schema(
            {"x": _INTEGER, "y": _INTEGER, "buttons": {"type": "array", "items": _BUTTON}}, {"timestamp": _INTEGER}
        ),
    ),
    "window": ("desktop/WindowInfo", _schema({"title": _TEXT, "rect": _pair(4), "hWnd": _INTEGER})),
    "placement": (
        "vlm_agent/Placement",
        _schema({"screen": _pair(4), "frame": _pair(2), "content": _pair(4), "scale": {"type": "number"}}),
    ),
    "gamestate": ("vlm_agent/GameState", _OPEN),
    "goal": (
        "vlm_agent/Goal",
        _schema(
            {
                "text": _TEXT,
                "level": {"enum": ["long", "short"]},
                "source": {"enum": ["human", "model", "game"]},
                "confidence": {"type": "number"},
            }
        ),
    ),
    "control": ("vlm_agent/Control", _schema({"who": {"enum": ["human", "agent"]}})),
    "decision": ("vlm_agent/Decision", _OPEN),
    "excluded": ("vlm_agent/Excluded", _schema({"start_ns": _INTEGER, "stop_ns": _INTEGER, "reason": _TEXT})),
}
"""Topic -> schema name and JSON schema."""


@dataclass(frozen=True, slots=True)
class ScreenRef:
    """Where the picture of one `screen` message is."""

    t_ns: int
    """When the frame was captured."""
    uri: str
    """Relative path of the video or image, or a `data:` URI; as the file says it, not yet judged."""
    pts_ns: int | None
    """Presentation time in the video, nanoseconds; None for a still image."""
    width_px: int | None
    """True width of the frame where the message tells it; the video may be padded to an even size."""
    height_px: int | None
    """True height of the frame where the message tells it."""


class WheelReport(NamedTuple):
    """A turn of the wheel as it is written."""

    t_ns: int
    """When."""
    x: int
    """Where the pointer was."""
    y: int
    """Where the pointer was."""
    dx: float
    """To the right, in the recorder's unit."""
    dy: float
    """Up, in the recorder's unit."""


class RawMouseReport(NamedTuple):
    """What the mouse itself reported."""

    motion: tuple[int, int] | None
    """Counts to the right and down; None of a device that tells places (tablets, remote desktops)."""
    buttons: tuple[tuple[str, bool], ...]
    """Buttons that went down (True) or came up."""
    wheel: tuple[int, int]
    """Turns to the right and up, 120 a notch."""


_RAW_BUTTONS = tuple(name for name in ("left", "right", "middle", "x1", "x2") for _ in range(2))
"""Of the bits of `button_flags`, from the lowest: each button went down, came up."""
_RAW_WHEEL, _RAW_WHEEL_ACROSS, _RAW_ABSOLUTE = 0x400, 0x800, 1


def encode_json(value: Any) -> bytes:
    """Return the compact JSON of a message.

    Raises:
        DataError: If the value is not plain JSON data (NaN and infinity are not).
    """
    try:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise DataError(f"a message must be plain JSON data: {error}") from error


def encode_event(event: InputEvent) -> tuple[str, dict[str, Any]]:
    """Return the topic and the message of an input event."""
    match event:
        case KeyChanged(key=key, pressed=pressed):
            return "keyboard", {"event_type": "press" if pressed else "release", "vk": key_code(key)}
        case PointerMoved(x=x, y=y):
            return "mouse", {"event_type": "move", "x": x, "y": y}
        case ButtonChanged(x=x, y=y, button=button, pressed=pressed):
            return "mouse", {"event_type": "click", "x": x, "y": y, "button": button, "pressed": pressed}
        case WheelTurned(x=x, y=y, dx=dx, dy=dy):
            return "mouse", {"event_type": "scroll", "x": x, "y": y, "dx": dx, "dy": dy}


def decode_key(t_ns: int, message: dict[str, Any]) -> KeyChanged:
    """Return the event of a `keyboard` message."""
    return KeyChanged(
        t_ns, key_name(_integer(message, "vk")), _choice(message, "event_type", ("press", "release")) == "press"
    )


def decode_pointer(t_ns: int, message: dict[str, Any]) -> PointerMoved | ButtonChanged | WheelReport:
    """Return what a `mouse` message tells, its point as it is written.

    Buttons beyond the three keep OWAMcap's names (`x1`, `x2`, `unknown`).
    """
    x, y = _pixel(message, "x"), _pixel(message, "y")
    kind = _choice(message, "event_type", ("move", "click", "scroll"))
    if kind == "move":
        return PointerMoved(t_ns, x, y)
    if kind == "scroll":
        return WheelReport(t_ns, x, y, _number(message, "dx"), _number(message, "dy"))
    button = message.get("button")
    if not isinstance(button, str):
        raise DataError(f"field 'button' must be a text, got {button!r}")
    return ButtonChanged(t_ns, x, y, button, bool(message.get("pressed")))


def read_pointer(message: dict[str, Any]) -> tuple[int, int] | None:
    """Return where a `mouse/state` message tells the pointer to be, None where it does not."""
    x, y = message.get("x"), message.get("y")
    return (x, y) if isinstance(x, int) and isinstance(y, int) else None


def decode_screen(t_ns: int, message: dict[str, Any]) -> ScreenRef:
    """Return the reference of a `screen` message of OWAMcap 0.3 to 0.6.

    Up to 0.4 the fields were `path` and `pts`; 0.5.0 had `media_ref.path`; since 0.5.1 it is `media_ref.uri`.
    """
    media = message.get("media_ref")
    where = media if isinstance(media, dict) else {"path": message.get("path"), "pts_ns": message.get("pts")}
    uri = where.get("uri", where.get("path"))
    pts_ns = where.get("pts_ns")
    if not isinstance(uri, str) or not (pts_ns is None or _is_integer(pts_ns)):
        raise DataError("a screen message names no picture")
    width_px, height_px = read_shapes(message)[1] or (None, None)
    return ScreenRef(t_ns, uri, pts_ns, width_px, height_px)


def read_shapes(message: dict[str, Any]) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
    """Return the (width, height) of what a `screen` message's picture was made of, and of the picture; None if untold.

    Up to 0.4 the first was named `original_shape`.
    """
    shape = _size(message.get("shape"))
    return _size(message.get("source_shape", message.get("original_shape"))) or shape, shape


def is_raw_mouse(message: dict[str, Any]) -> bool:
    """Return whether a message of the mouse is a raw one, whatever its topic."""
    return "event_type" not in message and not message.keys().isdisjoint(("last_x", "button_flags", "us_flags", "dx"))


def decode_raw_mouse(message: dict[str, Any]) -> RawMouseReport:
    """Return what a raw message tells: Windows' RAWMOUSE, by whose names its fields go."""
    flags = _optional_integer(message, "button_flags")
    turned = (_optional_integer(message, "button_data") & 0xFFFF ^ 0x8000) - 0x8000  # 16 bits with a sign
    wheel = turned if flags & _RAW_WHEEL_ACROSS else 0, turned if flags & _RAW_WHEEL else 0
    buttons = [(name, place % 2 == 0) for place, name in enumerate(_RAW_BUTTONS) if flags >> place & 1]
    motion: tuple[int, int] | None = None
    if not _optional_integer(message, "us_flags") & _RAW_ABSOLUTE:
        names = ("last_x", "last_y") if "last_x" in message else ("dx", "dy")
        motion = _integer(message, names[0]), _integer(message, names[1])
    return RawMouseReport(motion, tuple(buttons), wheel)


def encode_goal(goal: Goal) -> dict[str, Any]:
    """Return the message of a goal."""
    return {"text": goal.text, "level": goal.level, "source": goal.source, "confidence": goal.confidence}


def decode_goal(t_ns: int, message: dict[str, Any]) -> Goal:
    """Return the goal of a `goal` message."""
    text = message.get("text")
    if not isinstance(text, str):
        raise DataError(f"a goal needs a text, got {text!r}")
    level = _choice(message, "level", ("long", "short"))
    source = _choice(message, "source", ("human", "model", "game"))
    return Goal(t_ns, text, level, source, float(message.get("confidence", 1.0)))  # type: ignore[arg-type]


def encode_placement(placement: Placement) -> dict[str, Any]:
    """Return the message of where the frame is on the screen; rectangles are left, top, width, height."""
    screen, content = placement.screen, placement.content
    return {
        "screen": [screen.x, screen.y, screen.width, screen.height],
        "frame": [placement.frame_width_px, placement.frame_height_px],
        "content": [content.x, content.y, content.width, content.height],
        "scale": placement.scale,
    }


def decode_placement(message: dict[str, Any]) -> Placement:
    """Return the placement of a `placement` message."""
    try:
        width_px, height_px = message["frame"]
        return Placement(
            Rect(*message["screen"]), width_px, height_px, Rect(*message["content"]), float(message["scale"])
        )
    except (ConfigError, KeyError) as error:
        raise DataError(f"a placement message breaks the format: {error}") from error


def decode_excluded(message: dict[str, Any]) -> Excluded:
    """Return the span of an `excluded` message."""
    return Excluded(_integer(message, "start_ns"), _integer(message, "stop_ns"), str(message.get("reason")))


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _integer(message: dict[str, Any], field: str) -> int:
    value = message.get(field)
    if not isinstance(value, int) or isinstance(value, bool):
        raise DataError(f"field {field!r} must be an integer, got {value!r}")
    return value


def _optional_integer(message: dict[str, Any], field: str) -> int:
    return 0 if message.get(field) is None else _integer(message, field)


def _number(message: dict[str, Any], field: str) -> float:
    value = message.get(field) or 0
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise DataError(f"field {field!r} must be a number, got {value!r}")
    return value


def _pixel(message: dict[str, Any], field: str) -> int:
    value = message.get(field)
    if isinstance(value, float) and math.isfinite(value):
        return math.floor(value)
    return _integer(message, field)


def _size(value: Any) -> tuple[int, int] | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 2 or not all(_is_integer(side) and side > 0 for side in value):
        raise DataError(f"a message breaks the format: a size must be width and height, got {value!r}")
    return value[0], value[1]


def _choice(message: dict[str, Any], field: str, allowed: tuple[str, ...]) -> str:
    value = message.get(field)
    if value not in allowed:
        raise DataError(f"field {field!r} must be one of {', '.join(allowed)}, got {value!r}")
    return str(value)
