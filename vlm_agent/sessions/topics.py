"""The topics of a session and their JSON messages, in both directions.

Standard topics (`screen`, `keyboard`, `mouse`, ...) follow the OWAMcap profile, so that its tools read our files; ours
(`gamestate`, `goal`, `control`, `decision`, `placement`, `excluded`, `session`) have schemas named `vlm_agent/...`.
Messages are told apart by topic, not by schema name: OWAMcap renamed its schemas in 0.4. This module knows no container
and no video.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

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


def decode_mouse(t_ns: int, message: dict[str, Any], origin: tuple[int, int]) -> InputEvent:
    """Return the event of a `mouse` message, its point relative to `origin`.

    Buttons beyond the three keep OWAMcap's names (`x1`, `x2`, `unknown`).
    """
    x, y = _integer(message, "x") - origin[0], _integer(message, "y") - origin[1]
    kind = _choice(message, "event_type", ("move", "click", "scroll"))
    if kind == "move":
        return PointerMoved(t_ns, x, y)
    if kind == "scroll":
        return WheelTurned(t_ns, x, y, int(message.get("dx") or 0), int(message.get("dy") or 0))
    button = message.get("button")
    if not isinstance(button, str):
        raise DataError(f"field 'button' must be a text, got {button!r}")
    return ButtonChanged(t_ns, x, y, button, bool(message.get("pressed")))


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
    width_px, height_px = message.get("shape") or (None, None)
    return ScreenRef(t_ns, uri, pts_ns, width_px, height_px)


def decode_motion(message: dict[str, Any]) -> tuple[int, int] | None:
    """Return (dx, dy) of a `mouse/raw` message; None for absolute motion (tablets, remote desktops)."""
    if int(message.get("us_flags") or 0) & 1:
        return None
    if "last_x" in message:
        return _integer(message, "last_x"), _integer(message, "last_y")
    return _integer(message, "dx"), _integer(message, "dy")


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


def _choice(message: dict[str, Any], field: str, allowed: tuple[str, ...]) -> str:
    value = message.get(field)
    if value not in allowed:
        raise DataError(f"field {field!r} must be one of {', '.join(allowed)}, got {value!r}")
    return str(value)
