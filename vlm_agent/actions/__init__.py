"""Actions: what an agent can do, what a game allows, how a chunk is written, and how it becomes device events.

One `ActionSpec` is the source of everything: codecs, JSON schema, prompt table, token automaton and validator are all
read off it. This package is the only one that knows the text form of actions; it knows no game, no model and no clock.
"""

from vlm_agent.actions.codecs import Codec, CodecName, JsonCodec, LineCodec, make_codec
from vlm_agent.actions.events import ButtonChanged, InputEvent, KeyChanged, PointerMoved, WheelTurned
from vlm_agent.actions.invalid import InvalidActionError, Reason, RejectionCounts
from vlm_agent.actions.playback import expand
from vlm_agent.actions.schema import action_table, json_schema
from vlm_agent.actions.space import CoordinateSpace
from vlm_agent.actions.spec import ActionSpec, EventName, PointerKind
from vlm_agent.actions.types import Action, ActionChunk, Button, Click, Key, Move, PressState, Scroll
from vlm_agent.actions.validation import check_action, check_chunk

__all__ = [
    "Action",
    "ActionChunk",
    "ActionSpec",
    "Button",
    "ButtonChanged",
    "Click",
    "Codec",
    "CodecName",
    "CoordinateSpace",
    "EventName",
    "InputEvent",
    "InvalidActionError",
    "JsonCodec",
    "Key",
    "KeyChanged",
    "LineCodec",
    "Move",
    "PointerKind",
    "PointerMoved",
    "PressState",
    "Reason",
    "RejectionCounts",
    "Scroll",
    "WheelTurned",
    "action_table",
    "check_action",
    "check_chunk",
    "expand",
    "json_schema",
    "make_codec",
]
