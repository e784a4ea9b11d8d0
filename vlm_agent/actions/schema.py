"""What a model is told about the actions: the JSON schema for endpoints, and the short table for the prompt."""

from __future__ import annotations

from typing import Any

from vlm_agent.actions.codecs import Codec
from vlm_agent.actions.spec import ActionSpec, EventName
from vlm_agent.actions.types import Action, ActionChunk, Click, Key, Move, Scroll


def json_schema(spec: ActionSpec) -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of the codec `json`.

    It can't say the sum of `dt`, the field order, or that an integer is not written `1.0`; the decoder checks those.
    """
    answer: dict[str, Any] = {
        "type": "array",
        "maxItems": spec.max_actions,
        "items": {"anyOf": [_event_schema(event, spec) for event in spec.events]},
    }
    if not spec.events:
        answer = {"type": "array", "maxItems": 0}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "ActionChunk",
        "anyOf": [
            _closed({"actions": answer}),
            _closed({"actions": {"type": "array", "maxItems": 0}, "done": {"const": True}}),
        ],
    }


def action_table(spec: ActionSpec, codec: Codec) -> str:
    """Return what the prompt says about the actions of `spec`, in two or three short lines.

    It stands in every prompt, so every word is paid for at every decision.
    """
    kinds = "; ".join(_describe(event, spec) for event in spec.events)
    lines = [
        f"Actions: {kinds}.",
        f"dt: ms after the action before, steps of {spec.time_unit_ms}, sum at most {spec.horizon_ms}; "
        f"at most {spec.max_actions} actions.{_describe_extent(spec)}{_describe_holds(spec)}",
        f"Form: {codec.encode(_example(spec), spec)}; nothing to do: {codec.encode(ActionChunk(), spec)}; "
        f"goal reached: {codec.encode(ActionChunk(done=True), spec)}",
    ]
    return "\n".join(lines)


def _event_schema(event: EventName, spec: ActionSpec) -> dict[str, Any]:
    dt = {"type": "integer", "minimum": 0, "maximum": spec.horizon_ms, "multipleOf": spec.time_unit_ms}
    fields: dict[str, Any] = {"event": {"const": event}, "dt": dt}
    absolute = spec.pointer == "absolute"
    if event == "MOVE" and not absolute:
        offset = {"type": "integer", "minimum": -spec.max_offset, "maximum": spec.max_offset}
        fields |= {"dx": offset, "dy": offset}
    elif event != "KEY" and absolute:
        fields["x"] = {"type": "integer", "minimum": 0, "maximum": spec.extent_width - 1}
        fields["y"] = {"type": "integer", "minimum": 0, "maximum": spec.extent_height - 1}
    if event == "CLICK":
        fields["button"] = {"enum": list(spec.buttons)}
    elif event == "KEY":
        fields["key"] = {"enum": list(spec.keys)}
    elif event == "SCROLL":
        fields["dy"] = {"enum": [n for n in range(-spec.max_scroll, spec.max_scroll + 1) if n]}
    optional = {"state": {"enum": ["down", "up"]}} if event in ("CLICK", "KEY") and spec.holds else {}
    return _closed(fields, optional)


def _closed(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {**required, **(optional or {})},
        "required": list(required),
        "additionalProperties": False,
    }


def _describe(event: EventName, spec: ActionSpec) -> str:
    point = "x,y," if spec.pointer == "absolute" else ""
    if event == "CLICK":
        return f"CLICK {point}button ({'|'.join(spec.buttons)})"
    if event == "KEY":
        return f"KEY key ({'|'.join(spec.keys)})"
    if event == "SCROLL":
        return f"SCROLL {point}dy (-{spec.max_scroll} to {spec.max_scroll})"
    return "MOVE x,y" if spec.pointer == "absolute" else f"MOVE dx,dy (-{spec.max_offset} to {spec.max_offset})"


def _describe_extent(spec: ActionSpec) -> str:
    if spec.pointer != "absolute":
        return ""
    return f" x 0-{spec.extent_width - 1}, y 0-{spec.extent_height - 1}."


def _describe_holds(spec: ActionSpec) -> str:
    return " state down|up holds or lets go." if spec.holds else ""


def _example(spec: ActionSpec) -> ActionChunk:
    # The richest event there is: the reader takes the others from it.
    dt_ms = min(4 * spec.time_unit_ms, spec.horizon_ms)
    x, y = (spec.extent_width // 2, spec.extent_height // 3) if spec.pointer == "absolute" else (0, 0)
    examples: dict[EventName, Action] = {"MOVE": Move(dt_ms, x, y), "SCROLL": Scroll(dt_ms, x, y, 1)}
    if spec.keys:
        examples["KEY"] = Key(dt_ms, spec.keys[0])
    if spec.buttons:
        examples["CLICK"] = Click(dt_ms, x, y, spec.buttons[0])
    first = next(iter(spec.events), None)
    return ActionChunk((examples[first],)) if first else ActionChunk()
