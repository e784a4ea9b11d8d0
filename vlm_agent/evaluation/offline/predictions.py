"""What someone answered to recorded windows, kept so that every number can be computed anew without a model.

A file of JSON lines: the first says what was asked of whom, each other holds one window with the player's actions, the
answer or the reason why there is none, and what of the window the scores need: the rectangles of the game state that
clicks fell into, what was held down, and where the pointer was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlm_agent.actions.codecs import make_codec
from vlm_agent.actions.invalid import InvalidActionError
from vlm_agent.actions.spec import ActionSpec
from vlm_agent.actions.types import ActionChunk, Click, Key
from vlm_agent.dataset.windows import Window
from vlm_agent.errors import ConfigError, DataError
from vlm_agent.evaluation.offline.lines import LineFile, read_lines
from vlm_agent.evaluation.rectangles import Box, list_boxes

FORMAT = 2
_LEAST_PX, _MOST_SHARE = 4.0, 0.2
"""Rectangles narrower than this, or that cover more than this share of the frame, are no targets of a click."""


@dataclass(frozen=True)
class Prediction:
    """One window: what the player did, and what was answered. In pixels of the window's frame."""

    window_id: str
    """Name of the window in its dataset."""
    session: str
    """Its session: the unit that numbers are resampled by."""
    goal: str
    """What was asked for."""
    goal_level: str
    """`long` or `short`."""
    target: ActionChunk
    """What the player did."""
    answer: ActionChunk | None
    """What was answered; none where nothing could be read from it."""
    reason: str | None = None
    """Why there is no answer; from a closed list (see `policies.Decision`)."""
    boxes: tuple[Box | None, ...] = ()
    """For each click of the player the smallest rectangle of the game state around it, if any."""
    on_something: tuple[bool, ...] | None = None
    """For each click of the answer whether a rectangle of the game state is around it; none without a game state."""
    held: tuple[str, ...] = ()
    """Keys and mouse buttons that the player held down when the window began, as far as its history tells."""
    pointer: tuple[int, int, int] | None = None
    """Where the player's last action with a place was, and how many milliseconds before the window."""
    last_click: tuple[int, int, str] | None = None
    """Place and button of the player's last click within the history."""
    goal_source: str = ""
    """Whose the goal is (`sessions.types.GoalSource`); empty where an older file does not say."""


def find_boxes(window: Window, chunk: ActionChunk | None = None) -> tuple[Box | None, ...]:
    """Return for each click of a chunk the smallest rectangle of the window's game state that holds it, if any.

    Args:
        window: whose game state, and whose actions where no chunk is given.
        chunk: the actions.
    """
    limit = _MOST_SHARE * window.frame_width_px * window.frame_height_px
    boxes = [box for box in list_boxes(window.state) if min(box[2:]) >= _LEAST_PX and box[2] * box[3] <= limit]

    def smallest(click: Click) -> Box | None:
        around = [box for box in boxes if is_inside(click.x, click.y, box)]
        return min(around, key=lambda box: box[2] * box[3], default=None)

    return tuple(smallest(action) for action in (chunk or window.target).actions if isinstance(action, Click))


def find_held(window: Window) -> tuple[str, ...]:
    """Return the keys and mouse buttons whose last half in a window's history is `down`, in order of name."""
    held: set[str] = set()
    for _, action in window.recent:
        if isinstance(action, Click | Key) and action.state is not None:
            (held.add if action.state == "down" else held.discard)(name_held(action))
    return tuple(sorted(held))


def name_held(action: Click | Key) -> str:
    """Return what a press holds down."""
    return f"key {action.key}" if isinstance(action, Key) else f"button {action.button}"


def _find_pointer(window: Window) -> tuple[int, int, int] | None:
    placed = [(action.x, action.y, age_ms) for age_ms, action in window.recent if not isinstance(action, Key)]
    return placed[-1] if placed else None


def _find_last_click(window: Window) -> tuple[int, int, str] | None:
    clicks = [(action.x, action.y, action.button) for _, action in window.recent if isinstance(action, Click)]
    return clicks[-1] if clicks else None


def make_prediction(window: Window, answer: ActionChunk | None, reason: str | None) -> Prediction:
    """Return what was answered to a window, with all that scoring it needs."""
    on_something = None
    if window.state is not None and answer is not None:
        on_something = tuple(box is not None for box in find_boxes(window, answer))
    return Prediction(
        window_id=window.window_id,
        session=window.session,
        goal=window.goal,
        goal_level=window.goal_level,
        target=window.target,
        answer=answer,
        reason=reason,
        boxes=find_boxes(window),
        on_something=on_something,
        held=find_held(window),
        pointer=_find_pointer(window),
        last_click=_find_last_click(window),
        goal_source=window.goal_source,
    )


_WHOSE = {
    "human": "told by a person",
    "game": "known from the game",
    "model": "written by a model",
    "": "of unknown source",
}


def tell_source(goal_source: str) -> str:
    """Return in words whose a goal is."""
    return _WHOSE.get(goal_source, f"from {goal_source}")


def is_inside(x: float, y: float, box: Box) -> bool:
    """Tell whether a point lies in a rectangle, left and top edge included."""
    left, top, width, height = box
    return left <= x < left + width and top <= y < top + height


class PredictionStore:
    """The file of one contender's predictions."""

    def __init__(self, path: Path, about: Mapping[str, Any], spec: ActionSpec) -> None:
        """Open a file, or begin one.

        Args:
            path: the file; its folder is made.
            about: what was asked of whom; a file that says something else is not gone on with.
            spec: the dataset's, in frame pixels of its largest frame.

        Raises:
            DataError: the file is not one of predictions, or is about something else.
        """
        self._codec = _Codec(spec)
        self._file = LineFile(path, "predictions", FORMAT, {**about, "spec": spec.to_json()})
        found = _from_lines(path, self._file.found, self._codec)
        self.done: dict[str, Prediction] = {prediction.window_id: prediction for prediction in found}
        """The predictions that are there, by window."""

    def add(self, prediction: Prediction) -> None:
        """Write one more prediction."""
        self._file.add(self._codec.to_json(prediction))
        self.done[prediction.window_id] = prediction


def read_predictions(path: Path) -> tuple[dict[str, Any], list[Prediction]]:
    """Return what a file of predictions is about, and what is in it.

    Raises:
        DataError: there is no such file, or it is not one of predictions.
    """
    head, values = read_lines(path, "predictions", FORMAT)
    try:
        codec = _Codec(ActionSpec.from_json(head["spec"]))
    except (KeyError, TypeError, ConfigError) as error:
        raise DataError(f"{path}: not a file of predictions ({error})") from error
    return head, _from_lines(path, values, codec)


def _from_lines(path: Path, values: Sequence[Mapping[str, Any]], codec: _Codec) -> list[Prediction]:
    try:
        return [codec.from_json(value) for value in values]
    except (ValueError, KeyError, TypeError, InvalidActionError) as error:
        raise DataError(f"{path}: not a file of predictions ({error})") from error


class _Codec:
    """Predictions as JSON values, and back; exact."""

    def __init__(self, spec: ActionSpec) -> None:
        self._codec = make_codec("json")
        self._spec = spec

    def to_json(self, one: Prediction) -> dict[str, Any]:
        """Return a prediction as plain data."""
        value: dict[str, Any] = {
            "window": one.window_id,
            "session": one.session,
            "goal": one.goal,
            "level": one.goal_level,
            "target": self._codec.encode(one.target, self._spec),
            "answer": None if one.answer is None else self._codec.encode(one.answer, self._spec),
        }
        if one.reason is not None:
            value["reason"] = one.reason
        if any(one.boxes):
            value["boxes"] = one.boxes
        # What is mostly not there is left out.
        if one.on_something is not None:
            value["on_something"] = one.on_something
        value |= {"held": one.held} if one.held else {}
        value |= {"pointer": one.pointer} if one.pointer else {}
        value |= {"last_click": one.last_click} if one.last_click else {}
        value |= {"goal_source": one.goal_source} if one.goal_source else {}
        return value

    def from_json(self, value: Mapping[str, Any]) -> Prediction:
        """Return the prediction that plain data tells of."""
        target = self._codec.decode(value["target"], self._spec)
        answer = None if value["answer"] is None else self._codec.decode(value["answer"], self._spec)
        num_clicks = sum(isinstance(action, Click) for action in target.actions)
        boxes = tuple(None if box is None else _as_box(box) for box in value.get("boxes", [None] * num_clicks))
        return Prediction(
            window_id=value["window"],
            session=value["session"],
            goal=value["goal"],
            goal_level=value["level"],
            target=target,
            answer=answer,
            reason=value.get("reason"),
            boxes=boxes,
            on_something=None if "on_something" not in value else tuple(map(bool, value["on_something"])),
            held=tuple(map(str, value.get("held", ()))),
            pointer=_as_pointer(value["pointer"]) if "pointer" in value else None,
            last_click=_as_click(value["last_click"]) if "last_click" in value else None,
            goal_source=str(value.get("goal_source", "")),
        )


def _as_pointer(value: Any) -> tuple[int, int, int]:
    x, y, age_ms = map(int, value)
    return x, y, age_ms


def _as_click(value: Any) -> tuple[int, int, str]:
    x, y, button = value
    return int(x), int(y), str(button)


def _as_box(value: Any) -> Box:
    left, top, width, height = (float(side) for side in value)
    return left, top, width, height
